// SPDX-License-Identifier: Apache-2.0
// Session::steps: what each step of the express way costs, by programs that end behind it.
#include <algorithm>
#include <array>

#include "die.h"
#include "guard.h"
#include "kernel/load_skeleton.h"
#include "session.h"
#include "steps.skel.h"

namespace featherlb::bench {

namespace {

// The quiet rounds; the very least are those whose clocks were read at odd moments.
double lower_quartile(std::vector<double> values)
{
    std::ranges::sort(values);
    return values[values.size() / 4];
}

} // namespace

std::vector<std::pair<std::string, double>> Session::steps(Row& row, int rounds)
{
    const DataPlane& plane = row.balancer->plane();
    const auto skeleton = need(load_skeleton<steps_bpf>(
        "steps", [&](const std::string& name) { return plane.map_fd(name); }, need(constants_of(row.program))));
    const std::array programs = {std::pair("an empty program", runner_.empty(Hook::xdp)),
        std::pair("headers judged, prefilter asked", bpf_program__fd(skeleton->progs.until_headers)),
        std::pair("interface and station", bpf_program__fd(skeleton->progs.until_interface)),
        std::pair("flow found", bpf_program__fd(skeleton->progs.until_flow)),
        std::pair("backend and way out", bpf_program__fd(skeleton->progs.until_backend)),
        std::pair("room made (ipip), packet counted", bpf_program__fd(skeleton->progs.until_counted)),
        std::pair("recipe read, packet written and sent", bpf_program__fd(skeleton->progs.until_all))};
    std::array<std::vector<double>, programs.size()> taken;
    for (int round = 0; round < rounds; round++)
        for (std::size_t i = 0; i < programs.size(); i++) {
            const Output out = runner_.run(Hook::xdp, programs[i].second, row.frame, row.rotation, row.packets);
            if (out.verdict == XDP_ABORTED && row.what.flows == 1)
                die(fmt::format("{}: {}: the packet takes the long way", row.what.id(), programs[i].first));
            taken[i].push_back(out.ns);
        }
    std::vector<std::pair<std::string, double>> result;
    for (std::size_t i = 0; i < programs.size(); i++)
        result.emplace_back(programs[i].first, lower_quartile(std::move(taken[i])));
    return result;
}

void steps(Session& session, int rounds)
{
    for (Row& row : session.rows()) {
        if (row.what.hook != Hook::xdp || row.what.group != Group::established || row.what.to_client)
            continue;
        fmt::print("{}\n", row.what.id());
        double before = 0;
        for (const auto& [step, ns] : session.steps(row, rounds)) {
            fmt::print("  {:>6.1f}  {:>+6.1f} ns  {}\n", ns, ns - before, step);
            before = ns;
        }
    }
}

} // namespace featherlb::bench
