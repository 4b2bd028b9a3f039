// SPDX-License-Identifier: Apache-2.0
// ProbeMarks: which backends are asked at the service address instead of their own (`dsr` and `ipip`), by which service
// address, and the mark that the packets of each one's checks carry. A backend keeps its mark while it is checked, so
// that checks under way go on through a reload.
#pragma once

#include <cstdint>
#include <map>
#include <set>

#include "config/config.h"
#include "daemon/machine.h"
#include "kernel/probe_programs.h"
#include "plan/tables.h"

namespace featherlb {

// The service address at which a backend of the service is asked: that of a listener of its IP version (`ipip`: else of
// the other one), of one on the port that is asked if there is any. Nothing: at its own, since the service keeps the
// backend's (`snat`, `dnat`), or has no such address that is written out.
[[nodiscard]] std::optional<IpAddress> probed_address(const ServiceConfig& service, const Endpoint& backend);

// Where the check of an `ipip` backend of the other IP version comes from, in the tunnel: an address of the interface
// that leads there, which is not a service's. Nothing: it has none.
[[nodiscard]] std::optional<IpAddress> own_address(
    const Machine& machine, std::uint32_t ifindex, Family family, const std::set<IpAddress>& services);

// Backends in `dsr` and `ipip` that are checked at their own address all the same, a line each.
[[nodiscard]] std::vector<std::string> probe_warnings(const Config& config);

class ProbeMarks {
public:
    // From now on these backends are asked by these ways.
    void follow(const std::map<BackendKey, ProbeRoute>& wanted);
    // 0: asked at its own address.
    [[nodiscard]] std::uint32_t mark_of(const BackendKey& backend) const;
    [[nodiscard]] std::map<std::uint32_t, ProbeRoute> by_mark() const;

private:
    struct Marked {
        std::uint32_t mark = 0;
        ProbeRoute route;
    };
    std::map<BackendKey, Marked> marked_;
    std::set<std::uint32_t> used_;
};

} // namespace featherlb
