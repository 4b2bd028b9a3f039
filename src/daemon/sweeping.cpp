// SPDX-License-Identifier: Apache-2.0
#include "daemon/sweeping.h"

#include <algorithm>
#include <utility>

namespace featherlb {

namespace {

using namespace std::chrono_literals;

constexpr std::uint32_t sets_a_slice = 4096;
constexpr Loop::Clock::duration shortest_pause = 100ms;
constexpr Loop::Clock::duration shortest_pass = 1s;
constexpr int processor_share = 100; // one part of so many of a processor
constexpr int idle_share = 1000;

} // namespace

Sweeping::Sweeping(Loop& loop, Plane& plane, Log& log, std::function<void()> on_pass, std::function<bool()> awaited)
    : loop_(loop), plane_(plane), log_(log), on_pass_(std::move(on_pass)), awaited_(std::move(awaited))
{
}

void Sweeping::start()
{
    pass_began_ = loop_.now();
    timer_ = loop_.after(shortest_pause, [this] { slice(); });
}

void Sweeping::slice()
{
    const auto began = loop_.now();
    const Result<bool> ended = plane_.sweep(sets_a_slice);
    const auto took = loop_.now() - began;
    const std::string failure = ended ? "" : describe(ended.error());
    if (!failure.empty() && failure != failure_)
        log_.error("the flow table is not swept: {}", failure);
    failure_ = failure;
    const bool pass_ended = ended && *ended;
    timer_ = loop_.after(pause(took, pass_ended), [this] { slice(); });
    if (pass_ended)
        on_pass_();
}

Loop::Clock::duration Sweeping::pause(Loop::Clock::duration took, bool pass_ended)
{
    const bool hurry = !plane_.idle() || awaited_();
    auto length = std::max(shortest_pause, took * (hurry ? processor_share : idle_share));
    if (pass_ended) {
        length = std::max(length, pass_began_ + shortest_pass - loop_.now());
        pass_began_ = loop_.now() + length;
    }
    return length;
}

} // namespace featherlb
