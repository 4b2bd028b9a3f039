// SPDX-License-Identifier: Apache-2.0
#include "daemon/waking.h"

#include <algorithm>
#include <utility>

namespace featherlb {

namespace {

using namespace std::chrono_literals;

constexpr std::uint32_t sets_a_turn = 16384;
constexpr std::size_t clients_a_turn = 200;
constexpr Loop::Clock::duration between_turns = 10ms;
constexpr Loop::Clock::duration between_passes = 1s;
constexpr int passes_each = 3;

} // namespace

Waking::Waking(Loop& loop, Plane& plane, Log& log, Waker::Open open)
    : loop_(loop), plane_(plane), log_(log), waker_(plane, std::move(open))
{
}

void Waking::prepare()
{
    if (!waker_.is_possible() || std::exchange(tried_, true))
        return;
    if (const Result<void> opened = waker_.open(); !opened)
        log_.warning("clients that only wait are not told when their connection is reset, but at their next packet: {}",
            describe(opened.error()));
}

void Waking::look()
{
    const std::set<BackendId> now = plane_.resetting();
    std::erase_if(passes_, [&now](const auto& entry) { return !now.contains(entry.first); });
    bool more = false;
    for (const BackendId backend : now) {
        if (known_.contains(backend))
            continue;
        passes_[backend] = passes_each;
        more = true;
    }
    known_ = now;
    if (!more)
        return;
    prepare();
    if (waker_.is_open() && walking_.empty())
        timer_ = loop_.after(0ms, [this] { turn(); });
}

void Waking::turn()
{
    if (walking_.empty()) { // a new pass
        for (const auto& [backend, left] : passes_)
            walking_.insert(backend);
        woken_ = 0;
        position_ = 0;
        if (walking_.empty())
            return;
    }
    std::vector<bool> backends(*walking_.rbegin() + 1);
    for (const BackendId backend : walking_)
        backends[backend] = true;
    const FlowFilter waiting{
        .backends = std::move(backends), .client = {}, .protocol = Protocol::tcp, .states = states_waiting};
    std::vector<Flow> found;
    const Result<bool> ended = plane_.list_flows(position_, sets_a_turn, clients_a_turn, waiting, found);
    for (const Flow& flow : found)
        woken_ += waker_.wake({flow.client, flow.listener, flow.hop}) ? 1 : 0;
    if (!ended)
        log_.warning(
            "not every client that waits could be told that its connection is reset: {}", describe(ended.error()));
    if (!ended || *ended)
        return finish_pass();
    timer_ = loop_.after(between_turns, [this] { turn(); });
}

// A backend that came under the flag meanwhile was not, or not wholly, looked at: its own pass begins at once.
void Waking::finish_pass()
{
    const bool first = std::ranges::any_of(walking_, [this](BackendId backend) {
        const auto left = passes_.find(backend);
        return left != passes_.end() && left->second == passes_each;
    });
    if (woken_ > 0 && first)
        log_.info("{} connections are reset; their clients were made to speak", woken_);
    if (const std::string failure = waker_.take_failure(); !failure.empty())
        log_.warning("not every client that waits could be told that its connection is reset: {}", failure);
    bool fresh = false;
    for (auto entry = passes_.begin(); entry != passes_.end();) {
        if (!walking_.contains(entry->first))
            fresh = true;
        else if (--entry->second == 0) {
            entry = passes_.erase(entry);
            continue;
        }
        ++entry;
    }
    walking_.clear();
    timer_.reset();
    if (!passes_.empty())
        timer_ = loop_.after(fresh ? Loop::Clock::duration{between_turns} : between_passes, [this] { turn(); });
}

} // namespace featherlb
