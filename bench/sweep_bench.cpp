// SPDX-License-Identifier: Apache-2.0
// What the sweeper costs: passes over tables for so many connections of each IP version, in memory of this process,
// with so many of them alive, in slices as the daemon makes them. The daemon pauses a hundred times as long as a slice
// took, at least 100 ms; so a pass that costs c seconds takes 100 c, and the share is 1 % or less. Needs no privileges.
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <span>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "kernel/sweeper.h"

namespace {

using namespace featherlb;
using Clock = std::chrono::steady_clock;

constexpr std::uint32_t now = 100'000, slice = 4096; // sets, as in daemon/sweeping.cpp
constexpr double shortest_pause = 0.1, share = 100;

template <typename Set>
std::unique_ptr<Set[], decltype(&std::free)> make_table(std::size_t sets)
{
    void* memory = std::aligned_alloc(4096, (sets * sizeof(Set) + 4095) / 4096 * 4096);
    std::memset(memory, 0, sets * sizeof(Set));
    return {static_cast<Set*>(memory), std::free};
}

// Pairs of entries in random places, as the hash would put them: the sweeper follows a reply to its owner.
template <typename Set>
void fill(std::span<Set> sets, std::size_t connections, std::uint32_t backends)
{
    std::mt19937_64 random(1);
    const auto claim = [&]() -> std::uint32_t {
        for (;;) {
            const std::uint32_t place = static_cast<std::uint32_t>(random() % (sets.size() * FLB_WAYS));
            if (sets[place / FLB_WAYS].way[place % FLB_WAYS].f.ctl == 0)
                return place;
        }
    };
    for (std::size_t i = 0; i < connections; i++) {
        const std::uint32_t owner = claim();
        flb_flow& o = sets[owner / FLB_WAYS].way[owner % FLB_WAYS].f;
        const auto control = [](flb_flow_state state) {
            return 1ULL << FLB_CTL_GENERATION_SHIFT | static_cast<std::uint64_t>(state) << FLB_CTL_STATE_SHIFT |
                   (now - 100);
        };
        o.ctl = control(FLB_FLOW_ESTABLISHED);
        o.backend = 1 + static_cast<std::uint32_t>(random() % backends);
        const std::uint32_t reply = claim();
        flb_flow& r = sets[reply / FLB_WAYS].way[reply % FLB_WAYS].f;
        r.ctl = control(FLB_FLOW_REPLY);
        r.backend = o.backend;
        r.pair = owner;
        r.aux = 1;
        o.pair = reply;
    }
}

double seconds_since(Clock::time_point begin)
{
    return std::chrono::duration<double>(Clock::now() - begin).count();
}

} // namespace

int main(int argc, char** argv)
{
    CLI::App app("What the sweeper of the flow table costs.");
    std::size_t room = 1'000'000, connections = 1'000'000;
    int passes = 5;
    app.add_option("--flows-max", room, "connections of each IP version that there is room for");
    app.add_option("--connections", connections, "IPv4 connections that are open");
    app.add_option("--passes", passes, "passes; the median is reported");
    CLI11_PARSE(app, argc, argv);

    const auto table4 = make_table<flb_set4>(room);
    const auto table6 = make_table<flb_set6>(room);
    const std::span<flb_set4> sets4(table4.get(), room);
    fill(sets4, connections, 1000);
    std::array<std::uint32_t, FLB_FLOW_STATES> timeouts{};
    timeouts.fill(7200);
    Sweeper sweeper(sets4, {table6.get(), room}, 16384);
    std::vector<double> costs, times;
    for (int pass = 0; pass < passes; pass++) {
        double cost = 0, time = 0;
        for (bool ended = false; !ended;) {
            const auto begin = Clock::now();
            ended = sweeper.step(slice, now, timeouts);
            const double took = seconds_since(begin);
            cost += took;
            time += took + std::max(shortest_pause, took * share);
        }
        costs.push_back(cost);
        times.push_back(time);
    }
    std::ranges::sort(costs);
    std::ranges::sort(times);
    const double cost = costs[costs.size() / 2], time = times[times.size() / 2];
    fmt::print(
        "{} connections in tables for {} of each IP version: a pass costs {:.3f} s ({:.0f} ns a set), takes {:.0f} s "
        "and {:.2f} % of a processor\n",
        sweeper.counts().connections, room, cost, cost / static_cast<double>(2 * room) * 1e9, time, cost / time * 100);
    return 0;
}
