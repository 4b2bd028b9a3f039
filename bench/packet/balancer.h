// SPDX-License-Identifier: Apache-2.0
// Balancer: a data plane as the daemon makes it from a configuration file, with everything reachable through the
// loopback device, by which BPF_PROG_TEST_RUN says that packets come in. No interface is touched. Its services are
// named by what they are, so that a measurement can say which it means.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "flow_tables.h"
#include "frame.h"
#include "kernel/dataplane.h"
#include "runner.h"

namespace featherlb::bench {

inline constexpr std::uint32_t default_flows_max = 262144; // what who configures nothing has

// What the rows' services differ in.
enum class With { nothing, affinity, limits, lists, all };
[[nodiscard]] std::string_view to_string(With with);

struct ServiceKind {
    bool v6 = false;
    Forward forward = Forward::snat;
    Algorithm algorithm = Algorithm::maglev;
    BackendId backends = 10;
    With with = With::nothing;
    friend auto operator<=>(const ServiceKind&, const ServiceKind&) = default;
};

struct Shape {
    std::uint32_t flows_max = default_flows_max;
    std::set<ServiceKind> kinds;
    std::uint32_t copies = 1; // services of each kind, on consecutive addresses
};

class Balancer {
public:
    explicit Balancer(const Shape& shape);

    [[nodiscard]] int program(Hook hook) const;
    [[nodiscard]] const DataPlane& plane() const { return *plane_; }
    // Of the first service of this kind.
    [[nodiscard]] Endpoint service(const ServiceKind& kind) const;
    // Where packets to a backend's address go, on layer 2. Nothing: it is not one of a service of this kind.
    [[nodiscard]] const Mac* backend(const ServiceKind& kind, const IpAddress& address) const;
    [[nodiscard]] std::vector<Mac> backend_macs(const ServiceKind& kind) const;

    [[nodiscard]] FlowTables& flows() { return *flows_; }
    // Every backend has answered just now, in times that differ: what a pick by response time weighs.
    void answer_times();

    static constexpr std::uint32_t source_count = 8; // addresses that connections to backends come from
    [[nodiscard]] static bool is_source(const IpAddress& address);
    [[nodiscard]] static std::uint16_t backend_port(Forward forward); // one way, it is the service's own

private:
    void make_text();
    [[nodiscard]] World world() const;

    Shape shape_;
    std::string text_;
    std::map<ServiceKind, std::uint32_t> numbers_; // of the first service of the kind
    std::map<ServiceKind, std::map<IpAddress, Mac>> backends_;
    std::optional<DataPlane> plane_;
    std::optional<FlowTables> flows_;
    Tables tables_;
};

} // namespace featherlb::bench
