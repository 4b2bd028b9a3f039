// SPDX-License-Identifier: Apache-2.0
#include "daemon/round.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "config/values.h"

namespace featherlb {

namespace {

using namespace std::chrono_literals;
using Duration = Loop::Clock::duration;

constexpr Duration shortest_look = 25ms;
constexpr Duration longest_look = 250ms;

} // namespace

Round::Round(Loop& loop, Lateness& lateness, Times times, Ask ask, TimedOut timed_out)
    : loop_(loop), lateness_(lateness), times_(times), ask_(std::move(ask)), timed_out_(std::move(timed_out))
{
}

void Round::start(Duration delay)
{
    schedule(loop_.now() + delay);
}

void Round::schedule(Loop::Clock::time_point turn)
{
    turn_ = turn;
    const auto most = times_.interval.count() * times_.jitter / 100;
    const Duration jitter(most == 0 ? 0 : std::uniform_int_distribution<Duration::rep>(0, most)(random_));
    due_ = std::max(turn + jitter, loop_.now());
    timer_ = loop_.after(due_ - loop_.now(), [this] { begin(); });
}

void Round::begin()
{
    const auto now = loop_.now();
    lateness_.note(due_);
    if (now - due_ > times_.interval / 2)
        return schedule(turn_ + ((now - turn_) / times_.interval + 1) * times_.interval);
    began_ = now;
    timer_ = loop_.after(times_.timeout, [this] { on_timeout(); });
    question_ = ask_();
}

void Round::hurry()
{
    if (question_)
        return;
    turn_ -= times_.interval; // the next one is the one that was to come
    due_ = loop_.now();
    begin();
}

void Round::on_timeout()
{
    lateness_.note(began_ + times_.timeout);
    question_->look();
    if (!question_)
        return;
    if (question_->silence_is_good())
        return timed_out_({});
    timed_out_(fmt::format("timeout after {}, waiting for {}", write_duration(times_.timeout), question_->waits_for()));
}

bool Round::end()
{
    question_.reset();
    took_ = loop_.now() - began_;
    const bool late = lateness_.since(began_) > times_.timeout / 2;
    last_ = turn_;
    const auto next = last_ + times_.interval, now = loop_.now();
    // A turn whose time came while a question was under way is taken at once and moves no other; those that are past
    // are left out.
    schedule(next < now ? next + (now - next) / times_.interval * times_.interval : next);
    return late;
}

void Round::set_interval(Duration interval)
{
    if (interval == times_.interval)
        return;
    times_.interval = interval;
    schedule(std::max({last_ + interval, began_ + interval, loop_.now()}));
}

void LookPeriod::add(std::chrono::milliseconds timeout)
{
    period_ = std::clamp<Duration>(timeout / 4, shortest_look, period_ == Duration::zero() ? longest_look : period_);
}

} // namespace featherlb
