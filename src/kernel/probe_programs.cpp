// SPDX-License-Identifier: Apache-2.0
#include "kernel/probe_programs.h"

#include <cerrno>
#include <utility>
#include <vector>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fmt/format.h>

#include "kernel/dataplane_programs.h"
#include "kernel/map.h"
#include "kernel/tc_program.h"
#include "probe.skel.h"

namespace featherlb {

namespace {

constexpr std::uint32_t probe_handle = 0xf1c;
constexpr std::uint32_t probe_priority = 15; // behind the balancer's own

TcPlace place_of(std::uint32_t ifindex, const std::string& name, TcSide side)
{
    return {.ifindex = ifindex, .interface = name, .side = side, .handle = probe_handle, .priority = probe_priority};
}

} // namespace

struct ProbePrograms::State {
    struct Destroy {
        void operator()(probe_bpf* skeleton) const { probe_bpf::destroy(skeleton); }
    };
    std::unique_ptr<probe_bpf, Destroy> skeleton;
    std::map<std::uint32_t, ProbeRoute> routes;
    std::map<std::uint32_t, TcPrograms> attached;

    Result<void> put(std::uint32_t mark, const ProbeRoute& route);
    Result<void> attach(std::uint32_t ifindex, const std::string& name);
};

ProbePrograms::ProbePrograms(std::unique_ptr<State> state) : state_(std::move(state))
{
}
ProbePrograms::~ProbePrograms() = default;
ProbePrograms::ProbePrograms(ProbePrograms&&) noexcept = default;
ProbePrograms& ProbePrograms::operator=(ProbePrograms&&) noexcept = default;

int ProbePrograms::out_fd() const
{
    return bpf_program__fd(state_->skeleton->progs.flb_probe_out);
}
int ProbePrograms::in_fd() const
{
    return bpf_program__fd(state_->skeleton->progs.flb_probe_in);
}

Result<ProbePrograms> ProbePrograms::load()
{
    route_libbpf_messages();
    auto state = std::make_unique<State>();
    state->skeleton.reset(probe_bpf::open());
    if (!state->skeleton)
        return fail(bpf_error("reading the programs of health checks", errno));
    if (const int error = probe_bpf::load(state->skeleton.get()); error < 0)
        return fail(bpf_error("loading the programs of health checks", -error));
    return ProbePrograms(std::move(state));
}

void ProbePrograms::remove_left()
{
    remove_left_filters(place_of(0, "", TcSide::ingress), "flb_probe_");
}

Result<void> ProbePrograms::State::put(std::uint32_t mark, const ProbeRoute& route)
{
    const flb_probe value{.backend = route.backend.to_abi(),
        .service = route.service.to_abi(),
        .own = route.own ? route.own->to_abi() : flb_addr{},
        .family = static_cast<std::uint8_t>(route.service.family()),
        .backend_family = static_cast<std::uint8_t>(route.backend.family()),
        .tunnel = static_cast<std::uint8_t>(route.tunnel ? 1 : 0),
        .pad = 0};
    if (bpf_map_update_elem(bpf_map__fd(skeleton->maps.probes), &mark, &value, BPF_ANY) < 0)
        return fail(bpf_error("storing how health checks reach " + route.backend.to_string(), errno));
    routes[mark] = route;
    return {};
}

Result<void> ProbePrograms::State::attach(std::uint32_t ifindex, const std::string& name)
{
    TcPrograms both;
    for (const TcSide side : {TcSide::ingress, TcSide::egress}) {
        const int program =
            bpf_program__fd(side == TcSide::ingress ? skeleton->progs.flb_probe_in : skeleton->progs.flb_probe_out);
        auto done = both.attach(place_of(ifindex, name, side), program);
        if (!done)
            return fail(std::move(done.error()).add_context("health checks by the service address"));
    }
    attached.emplace(ifindex, std::move(both));
    return {};
}

Result<void> ProbePrograms::follow(const ProbeRoutes& wanted)
{
    std::erase_if(state_->routes, [&](const auto& entry) {
        if (wanted.by_mark.contains(entry.first))
            return false;
        bpf_map_delete_elem(bpf_map__fd(state_->skeleton->maps.probes), &entry.first);
        return true;
    });
    for (const auto& [mark, route] : wanted.by_mark) {
        const auto known = state_->routes.find(mark);
        if (known != state_->routes.end() && known->second == route)
            continue;
        if (auto done = state_->put(mark, route); !done)
            return done;
    }
    std::erase_if(state_->attached, [&](const auto& entry) { return !wanted.devices.contains(entry.first); });
    for (const auto& [ifindex, name] : wanted.devices) {
        if (state_->attached.contains(ifindex))
            continue;
        if (auto done = state_->attach(ifindex, name); !done)
            return done;
    }
    return {};
}

} // namespace featherlb
