// SPDX-License-Identifier: Apache-2.0
#include "daemon/lateness.h"

#include <algorithm>

namespace featherlb {

namespace {

constexpr std::chrono::milliseconds worth_noting{10};

} // namespace

void Lateness::watch(Loop::Clock::duration period)
{
    if (period == period_)
        return;
    period_ = period;
    timer_.reset();
    if (period_ > Loop::Clock::duration::zero())
        look_again();
}

void Lateness::look_again()
{
    due_ = loop_.now() + period_;
    timer_ = loop_.after(period_, [this] {
        note(due_);
        look_again();
    });
}

void Lateness::note(Loop::Clock::time_point due)
{
    const auto now = loop_.now();
    const Delay delay{now, now - due};
    if (delay.length < worth_noting)
        return;
    while (!delays_.empty() && delays_.back().length <= delay.length)
        delays_.pop_back();
    delays_.push_back(delay);
    while (now - delays_.front().noticed > memory)
        delays_.pop_front();
}

Loop::Clock::duration Lateness::since(Loop::Clock::time_point begin) const
{
    auto longest = Loop::Clock::duration::zero();
    for (const Delay& delay : delays_)
        longest = std::max(longest, std::min(delay.length, delay.noticed - begin));
    return longest;
}

} // namespace featherlb
