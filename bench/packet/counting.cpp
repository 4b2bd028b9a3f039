// SPDX-License-Identifier: Apache-2.0
// Session::count: what a row's packet costs in instructions.
#include <stdexcept>

#include "die.h"
#include "kernel/clock.h"
#include "session.h"

namespace featherlb::bench {

Cost Session::count(Row& row)
{
    constexpr int tries = 3;
    constexpr std::uint32_t loopback = 1;
    if (!counted_.contains(row.program)) {
        const DataPlane& plane = row.balancer->plane();
        counted_.emplace(row.program,
            need(CountedProgram::copy(row.program, [&](const std::string& name) { return plane.map_fd(name); })));
    }
    const Clock clock = need(Clock::open());
    const Frame in = packet(row, row.last, true);
    Cost least;
    for (int i = 0; i < tries; i++) {
        before(row);
        if (row.what.group == Group::established) // it is seen in this tick
            (void)runner_.run(row.what.hook, row.program, in, {}, 1);
        Machine machine(counted_.at(row.program).instructions(), need(clock.jiffies()));
        Bytes frame(in.begin(), in.end());
        Cost cost;
        Output out;
        try {
            out.verdict = machine.run(frame, loopback, cost);
        } catch (const std::runtime_error& error) {
            die(row.what.id() + ": " + error.what());
        }
        out.bytes = frame;
        must_be_right(row, in, out);
        if (i == 0 || cost.instructions < least.instructions)
            least = std::move(cost);
    }
    return least;
}

std::map<std::string, std::uint64_t> Session::profile(Row& row)
{
    const Cost cost = count(row);
    const auto places = counted_.at(row.program).places();
    std::map<std::string, std::uint64_t> result;
    for (std::size_t i = 0; i < cost.visits.size(); i++)
        if (cost.visits[i])
            result[places[i]] += cost.visits[i];
    return result;
}

} // namespace featherlb::bench
