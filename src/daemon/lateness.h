// SPDX-License-Identifier: Apache-2.0
// Lateness: how late the loop has been lately. A timer that fires late tells it: the process was stopped, the machine
// was busy, or a handler took long. Who judges others by how soon they answer asks here first.
#pragma once

#include <deque>

#include "base/loop.h"

namespace featherlb {

class Lateness {
public:
    static constexpr std::chrono::minutes memory{2};

    explicit Lateness(Loop& loop) : loop_(loop) {}

    // Looks at the clock that often from now on; zero: not at all. A delay shows if it is longer than `period`.
    void watch(Loop::Clock::duration period);
    // Something that was due then happens now.
    void note(Loop::Clock::time_point due);
    // The longest delay since then; of one that had begun before, what is left.
    [[nodiscard]] Loop::Clock::duration since(Loop::Clock::time_point begin) const;

private:
    struct Delay {
        Loop::Clock::time_point noticed;
        Loop::Clock::duration length;
    };
    void look_again();

    Loop& loop_;
    Loop::Clock::duration period_{};
    Loop::Clock::time_point due_{};
    std::deque<Delay> delays_; // the longest of those after it: lengths fall from front to back
    Handle timer_;
};

} // namespace featherlb
