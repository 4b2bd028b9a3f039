// SPDX-License-Identifier: Apache-2.0
#include "daemon/waking.h"

#include <algorithm>
#include <utility>

#include "kernel/wake_frames.h"

namespace featherlb {

namespace {

using namespace std::chrono_literals;

constexpr std::uint32_t sets_a_turn = 16384;
constexpr std::size_t clients_a_turn = 200;
constexpr Loop::Clock::duration between_turns = 10ms;
constexpr Loop::Clock::duration between_passes = 1s;
constexpr int passes_each = 3;

} // namespace

Waking::Waking(Loop& loop, Plane& plane, Log& log, Open open)
    : loop_(loop), plane_(plane), log_(log), open_(std::move(open))
{
}

void Waking::prepare()
{
    if (!open_ || std::exchange(tried_, true))
        return;
    auto opened = open_();
    if (opened)
        sender_ = std::move(*opened);
    else
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
    if (sender_ && walking_.empty())
        timer_ = loop_.after(0ms, [this] { turn(); });
}

void Waking::turn()
{
    if (walking_.empty()) { // a new pass
        for (const auto& [backend, left] : passes_)
            walking_.insert(backend);
        woken_ = 0;
        failure_.clear();
        if (walking_.empty())
            return;
        plane_.rewind_clients();
    }
    found_.clear();
    const bool ended = plane_.walk_clients(sets_a_turn, clients_a_turn, walking_, found_);
    for (const WaitingClient& client : found_)
        wake(client);
    if (ended)
        return finish_pass();
    timer_ = loop_.after(between_turns, [this] { turn(); });
}

void Waking::wake(const WaitingClient& client)
{
    const auto out = plane_.link_out(client.hop);
    if (!out)
        return;
    for (const FrameBytes& frame : wake_frames(client, out->mac, 0)) {
        if (const Result<void> sent = sender_->send(out->ifindex, frame); !sent) {
            failure_ = describe(sent.error());
            return;
        }
    }
    woken_++;
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
    if (!failure_.empty())
        log_.warning("not every client that waits could be told that its connection is reset: {}", failure_);
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
