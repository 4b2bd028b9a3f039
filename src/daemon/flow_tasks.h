// SPDX-License-Identifier: Apache-2.0
// FlowTasks: lists and ends connections (kernel/flow_walk.h) for the admin API, in steps between other events: a table
// of millions must not hold up the loop. A step looks at 4,096 sets, and the next comes a millisecond later; one task
// after another.
//
// When connections have been ended, both sides are made to speak (kernel/wake_frames.h), at once and a second later:
// what they say is answered with RST. At most 100 connections in 10 ms; one that has expired meanwhile is left alone,
// or its packet would begin it anew.
#pragma once

#include <deque>
#include <functional>
#include <string>
#include <vector>

#include "base/log.h"
#include "base/loop.h"
#include "daemon/plane.h"
#include "daemon/waker.h"

namespace featherlb {

class FlowTasks {
public:
    using HopOf = std::function<flb_hop(BackendId)>; // towards the backend
    using Found = std::function<void(const std::vector<Flow>&)>;
    struct Outcome {
        std::uint64_t killed = 0;
        std::string warning; // whoever only waits is not told, or not all of them are; empty: they are
    };

    // What it works on must outlive it.
    FlowTasks(Loop& loop, Plane& plane, Log& log, Waker::Open open, HopOf hop_of);

    // `found` is called for each part of the table, then `done` once; from the loop.
    void list(FlowFilter filter, Found found, std::function<void(Result<void>)> done);
    void kill(FlowFilter filter, std::function<void(Result<Outcome>)> done);

private:
    struct Task {
        FlowFilter filter;
        Found found; // empty: it kills
        std::function<void(Result<Outcome>)> done;
        std::size_t position = 0;
        std::size_t killed = 0;
    };
    void add(Task task);
    void step();
    [[nodiscard]] Result<bool> carry_on(Task& task);
    void finish(Result<void> how);
    std::string begin_waking(std::size_t killed);
    void wake_step();

    Loop& loop_;
    Plane& plane_;
    Log& log_;
    HopOf hop_of_;
    std::deque<Task> tasks_; // the first is under way
    Handle timer_;

    Waker waker_;
    int passes_ = 0; // that are left
    bool waking_ = false;
    std::size_t wake_position_ = 0;
    Handle wake_timer_;
};

} // namespace featherlb
