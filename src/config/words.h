// SPDX-License-Identifier: Apache-2.0
// The words of the file that stand for a choice, in the order of their enums, and those of later versions.
#pragma once

#include <array>
#include <string_view>

namespace featherlb::words {

inline constexpr std::array<std::string_view, 4> attach{"auto", "xdp", "xdp-generic", "tc"};
inline constexpr std::array<std::string_view, 4> forward{"snat", "dnat", "dsr", "ipip"};
inline constexpr std::array<std::string_view, 10> algorithm{"round-robin", "weighted-round-robin", "random", "ip-hash",
    "maglev", "least-connections", "weighted-least-connections", "power-of-two", "weighted-response-time",
    "resource-based"};
inline constexpr std::array<std::string_view, 3> socket_mode{"0600", "0660", "0666"};
inline constexpr std::array<std::string_view, 3> measure{"none", "first-byte", "handshake"};
inline constexpr std::array<std::string_view, 5> health_type{"tcp", "http", "https", "udp", "dns"};
inline constexpr std::array<std::string_view, 2> dns_record{"A", "AAAA"};
inline constexpr std::array<std::string_view, 3> dns_expect{"answer", "nxdomain", "any"};
inline constexpr std::array<std::string_view, 2> all_down{"drop", "refuse"};
inline constexpr std::array<std::string_view, 3> backend_down{"keep", "reset", "rehash"};
inline constexpr std::array<std::string_view, 2> boolean{"false", "true"};

} // namespace featherlb::words
