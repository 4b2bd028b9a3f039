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

inline constexpr std::array<Words, 10> top_known{
    "interfaces", "admin", "metrics", "flows", "snat", "ipip", "defaults", "timeouts", "hash_seed", "services"};
inline constexpr Keys top{"the file", top_known, {}};

inline constexpr std::array<Words, 2> interface_known{"name", "attach"};
inline constexpr Keys interface_entry{"an entry of interfaces", interface_known, {}};

inline constexpr std::array<Words, 3> admin_known{"socket", "group", "mode"};
inline constexpr Keys admin{"admin", admin_known, {}};

inline constexpr std::array<Words, 1> metrics_known{"listen"};
inline constexpr Keys metrics{"metrics", metrics_known, {}};

inline constexpr std::array<Words, 1> flows_known{"max"};
inline constexpr Keys flows{"flows", flows_known, {}};

inline constexpr std::array<Words, 2> snat_known{"addresses", "ports"};
inline constexpr Keys snat{"snat", snat_known, {}};

inline constexpr std::array<Words, 1> ipip_known{"source"};
inline constexpr Keys ipip{"ipip", ipip_known, {}};

inline constexpr std::array<Words, 7> timeouts_known{
    "tcp_handshake", "tcp_established", "tcp_half_closed", "tcp_closed", "tcp_reset", "udp_unreplied", "udp_stream"};
inline constexpr Keys timeouts{"timeouts", timeouts_known, {}};

inline constexpr std::array<Words, 1> service_later{"return"};
inline constexpr std::array<Words, 16> defaults_known{"algorithm", "forward", "measure", "affinity", "limits", "allow",
    "deny", "health", "min_healthy", "all_down", "on_backend_down", "syn_failover", "avoid_refused", "drain_timeout",
    "slow_start", "agent"};
inline constexpr Keys defaults{"defaults", defaults_known, service_later};

inline constexpr std::array<Words, 19> service_known{"name", "listen", "algorithm", "forward", "measure", "affinity",
    "limits", "allow", "deny", "backends", "health", "min_healthy", "all_down", "on_backend_down", "syn_failover",
    "avoid_refused", "drain_timeout", "slow_start", "agent"};
inline constexpr Keys service{"a service", service_known, service_later};

inline constexpr std::array<Words, 17> health_known{"type", "port", "interval", "fast_interval", "jitter", "timeout",
    "rise", "fall", "path", "expect", "host", "body", "verify", "ca", "send", "name", "record"};
inline constexpr Keys health{"health", health_known, {}};

inline constexpr std::array<Words, 2> backend_down_known{"tcp", "udp"};
inline constexpr Keys backend_down{"on_backend_down", backend_down_known, {}};

inline constexpr std::array<Words, 5> agent_known{"port", "interval", "timeout", "hold", "send"};
inline constexpr Keys agent{"agent", agent_known, {}};

inline constexpr std::array<Words, 2> affinity_known{"timeout", "ipv6_prefix"};
inline constexpr Keys affinity{"affinity", affinity_known, {}};

inline constexpr std::array<Words, 3> limits_known{"new_connections_per_source", "burst", "connections_per_source"};
inline constexpr Keys limits{"limits", limits_known, {}};

inline constexpr std::array<Words, 8> backend_known{
    "name", "address", "dns", "weight", "backup", "agent_port", "interval", "file"};
inline constexpr Keys backend{"a backend", backend_known, {}};

inline constexpr std::array<Words, 2> target_group_known{"targets", "labels"};
inline constexpr Keys target_group{"an entry of a backend file", target_group_known, {}};

inline constexpr std::array<const Keys*, 16> all{&top, &interface_entry, &admin, &metrics, &flows, &snat, &ipip,
    &timeouts, &defaults, &service, &health, &backend_down, &agent, &affinity, &limits, &backend};

} // namespace keys

} // namespace featherlb
