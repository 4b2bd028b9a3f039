// SPDX-License-Identifier: Apache-2.0
// Nanoseconds a packet: the real programs, run by BPF_PROG_TEST_RUN behind harness.bpf.c, beside floors that no
// balancer can go below. Outputs are checked byte by byte. Rounds are interleaved; medians are reported, as nanoseconds
// and as ratios to the floors of the same run. Needs root; touches no interface: it works in a network namespace of its
// own.
#include <algorithm>
#include <set>

#include <sched.h>

#include <CLI/CLI.hpp>

#include "packet/die.h"
#include "packet/guard.h"
#include "packet/report.h"
#include "packet/session.h"

namespace {

using namespace featherlb::bench;

struct Options {
    bool quick = false, list = false, profile = false, undrained = false, steps = false;
    std::string json_file, guard_file;
    std::vector<std::string> only;
    int rounds = 0;
    std::uint32_t repeat = 0;
};

// The floors that the chosen rows are compared with come along.
std::vector<Case> choose(const Options& options)
{
    std::vector<Case> chosen;
    std::set<std::string> floors{"floor/empty", "floor/header", "tc/floor/empty"};
    const auto is_named = [&](const Case& one) {
        return std::ranges::any_of(
            options.only, [&](const std::string& part) { return one.id().find(part) != std::string::npos; });
    };
    for (const Case& one : all_cases()) {
        if (one.group == Group::floor || (options.quick && !one.quick) || (!options.only.empty() && !is_named(one)))
            continue;
        for (const std::string floor : {"memory", "memory+header"})
            floors.insert(one.memory_floor_id(floor));
        chosen.push_back(one);
    }
    std::vector<Case> all;
    for (const Case& one : all_cases())
        if (one.group == Group::floor &&
            (floors.contains(one.id()) || (options.only.empty() ? one.quick || !options.quick : is_named(one))))
            all.push_back(one);
    all.insert(all.end(), chosen.begin(), chosen.end());
    return all;
}

} // namespace

int main(int argc, char** argv)
{
    CLI::App app{"Nanoseconds a packet, beside floors"};
    Options options;
    app.add_flag("--quick", options.quick, "fewer rows and packets; under a minute");
    app.add_flag("--list", options.list, "print the rows' ids and what they are");
    app.add_option("--json", options.json_file, "write the figures there");
    app.add_option("--guard", options.guard_file,
        "count instructions instead of measuring time, and fail where they are over a tenth more than in this file");
    app.add_flag("--profile", options.profile, "count instructions by the files and lines of bpf/ that they come from");
    app.add_flag("--steps", options.steps, "what each step of the way of established packets costs");
    app.add_option("--only", options.only, "rows with this in their ids, and floors; may be given several times");
    app.add_option("--rounds", options.rounds, "interleaved rounds; medians are reported (7)");
    app.add_option("--repeat", options.repeat, "packets a row and round (1,000,000, --quick: 250,000)");
    app.add_flag("--undrained", options.undrained, "packets begin while the harness still stores them");
    CLI11_PARSE(app, argc, argv);
    const std::vector<Case> cases = choose(options);
    if (options.list) {
        for (const Case& one : cases)
            fmt::print("{:<78} {}\n", one.id(), one.name());
        return 0;
    }
    if (unshare(CLONE_NEWNET))
        die("cannot make a network namespace: run as root");

    Effort effort;
    if (options.quick)
        effort = {.packets = 250'000, .opened = 10'000};
    if (options.repeat)
        effort.packets = options.repeat;
    effort.drained = !options.undrained;
    Session session(cases, effort);
    session.verify();
    if (options.profile) {
        profile(session);
        return 0;
    }
    if (!options.guard_file.empty())
        return guard(session, options.guard_file) ? 0 : 1;
    const int rounds = options.rounds > 0 ? options.rounds : 7;
    if (options.steps) {
        steps(session, rounds);
        return 0;
    }
    for (int i = 0; i < rounds; i++)
        session.round();
    print_table(session.rows());
    if (!options.json_file.empty())
        write_json(session.rows(), options.json_file);
}
