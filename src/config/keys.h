// SPDX-License-Identifier: Apache-2.0
// Every key that the file may have, by section, and those that the design has but this version does not: they get
// an answer of their own instead of "unknown key". The one place to add a key.
#pragma once

#include <array>
#include <span>
#include <string_view>

namespace featherlb {

struct Keys {
    std::string_view section; // as messages name it
    std::span<const std::string_view> known;
    std::span<const std::string_view> later; // not in this version
};

namespace keys {

using Words = std::string_view;

inline constexpr std::array<Words, 8> top_known{
    "interfaces", "admin", "flows", "snat", "defaults", "timeouts", "hash_seed", "services"};
inline constexpr std::array<Words, 1> top_later{"metrics"};
inline constexpr Keys top{"the file", top_known, top_later};

inline constexpr std::array<Words, 2> interface_known{"name", "attach"};
inline constexpr Keys interface_entry{"an entry of interfaces", interface_known, {}};

inline constexpr std::array<Words, 1> admin_known{"socket"};
inline constexpr Keys admin{"admin", admin_known, {}};

inline constexpr std::array<Words, 1> flows_known{"max"};
inline constexpr Keys flows{"flows", flows_known, {}};

inline constexpr std::array<Words, 2> snat_known{"addresses", "ports"};
inline constexpr Keys snat{"snat", snat_known, {}};

inline constexpr std::array<Words, 7> timeouts_known{
    "tcp_handshake", "tcp_established", "tcp_half_closed", "tcp_closed", "tcp_reset", "udp_unreplied", "udp_stream"};
inline constexpr Keys timeouts{"timeouts", timeouts_known, {}};

inline constexpr std::array<Words, 3> service_later{"slow_start", "return", "measure"};
inline constexpr std::array<Words, 13> defaults_known{"algorithm", "forward", "affinity", "limits", "allow", "deny",
    "health", "min_healthy", "all_down", "on_backend_down", "syn_failover", "avoid_refused", "drain_timeout"};
inline constexpr Keys defaults{"defaults", defaults_known, service_later};

inline constexpr std::array<Words, 16> service_known{"name", "listen", "algorithm", "forward", "affinity", "limits",
    "allow", "deny", "backends", "health", "min_healthy", "all_down", "on_backend_down", "syn_failover",
    "avoid_refused", "drain_timeout"};
inline constexpr Keys service{"a service", service_known, service_later};

inline constexpr std::array<Words, 9> health_known{
    "type", "path", "expect", "host", "port", "interval", "timeout", "rise", "fall"};
inline constexpr Keys health{"health", health_known, {}};

inline constexpr std::array<Words, 2> backend_down_known{"tcp", "udp"};
inline constexpr Keys backend_down{"on_backend_down", backend_down_known, {}};

inline constexpr std::array<Words, 2> affinity_known{"timeout", "ipv6_prefix"};
inline constexpr Keys affinity{"affinity", affinity_known, {}};

inline constexpr std::array<Words, 3> limits_known{"new_connections_per_source", "burst", "connections_per_source"};
inline constexpr Keys limits{"limits", limits_known, {}};

inline constexpr std::array<Words, 4> backend_known{"name", "address", "dns", "weight"};
inline constexpr std::array<Words, 1> backend_later{"backup"};
inline constexpr Keys backend{"a backend", backend_known, backend_later};

inline constexpr std::array<const Keys*, 13> all{&top, &interface_entry, &admin, &flows, &snat, &timeouts, &defaults,
    &service, &health, &backend_down, &affinity, &limits, &backend};

} // namespace keys

} // namespace featherlb
