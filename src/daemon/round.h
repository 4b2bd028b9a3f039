// SPDX-License-Identifier: Apache-2.0
// Round: asks one backend again and again. A question begins an interval after the last one began, and is over when it
// is answered or its timeout has passed; an answer that is there then counts, even if the loop had not told of it.
// Questions that should have begun long ago, because the daemon was stopped, wait for their next turn instead of all
// beginning at once. With jitter each begins somewhat later than its turn, at random, which turns do not follow.
//
// Thread rule: the loop's thread. Its place must not change. Loop and Lateness must outlive it.
#pragma once

#include <functional>
#include <memory>
#include <random>
#include <string>

#include "base/loop.h"
#include "daemon/lateness.h"
#include "daemon/probe.h"

namespace featherlb {

class Round {
public:
    struct Times {
        Loop::Clock::duration interval{};
        std::chrono::milliseconds timeout{};
        std::uint32_t jitter = 0; // percent of the interval
    };
    // Begins a question; its answer must lead to end().
    using Ask = std::function<std::unique_ptr<Probe>()>;
    // The time was up; must lead to end() as well. `reason`: a whole phrase; empty: there was no need to answer.
    using TimedOut = std::function<void(std::string reason)>;

    Round(Loop& loop, Lateness& lateness, Times times, Ask ask, TimedOut timed_out);
    Round(const Round&) = delete;
    Round& operator=(const Round&) = delete;

    // The first question comes after that.
    void start(Loop::Clock::duration delay);
    // Unless a question is under way, one begins now; the turns stay as they were.
    void hurry();
    // The question is over. True: the daemon itself was late by more than half the timeout meanwhile.
    [[nodiscard]] bool end();
    // From its beginning to end(), of the last question.
    [[nodiscard]] Loop::Clock::duration took() const { return took_; }
    // After end(): from now on the interval is this, counted from the question that has ended.
    void set_interval(Loop::Clock::duration interval);

private:
    void schedule(Loop::Clock::time_point turn);
    void begin();
    void on_timeout();

    Loop& loop_;
    Lateness& lateness_;
    Times times_;
    Ask ask_;
    TimedOut timed_out_;
    Loop::Clock::time_point last_{};  // turn of the last question
    Loop::Clock::time_point turn_{};  // of the next question, or of the one that runs
    Loop::Clock::time_point due_{};   // when it is to begin: then, or later by jitter
    Loop::Clock::time_point began_{}; // when it did
    Loop::Clock::duration took_{};
    std::minstd_rand random_{std::random_device{}()};
    Handle timer_;
    std::unique_ptr<Probe> question_; // while one runs
};

// What Lateness has to watch for, so that a delay of half of any of these timeouts shows. Zero: there are none.
class LookPeriod {
public:
    void add(std::chrono::milliseconds timeout);
    [[nodiscard]] Loop::Clock::duration get() const { return period_; }

private:
    Loop::Clock::duration period_{};
};

} // namespace featherlb
