// SPDX-License-Identifier: Apache-2.0
// Sweeping: walks the flow table in slices between other events. A slice takes about a millisecond; the pause after
// it is a hundred times as long as it took, and at least 100 ms, so that sweeping costs at most a hundredth of a
// processor. A pass over 262,144 connections takes some 15 s, and a small table is passed once a second. While there
// are no connections and nobody waits for a pass, it is ten times slower.
#pragma once

#include <functional>
#include <string>

#include "base/log.h"
#include "base/loop.h"
#include "daemon/plane.h"

namespace featherlb {

class Sweeping {
public:
    // `on_pass` is called after each whole pass: plane.flow_counts() is new. `awaited`: does somebody wait for that?
    Sweeping(Loop& loop, Plane& plane, Log& log, std::function<void()> on_pass, std::function<bool()> awaited);

    void start();

private:
    void slice();
    [[nodiscard]] Loop::Clock::duration pause(Loop::Clock::duration took, bool pass_ended);

    Loop& loop_;
    Plane& plane_;
    Log& log_;
    std::function<void()> on_pass_;
    std::function<bool()> awaited_;
    Loop::Clock::time_point pass_began_{};
    std::string failure_; // that the log has
    Handle timer_;
};

} // namespace featherlb
