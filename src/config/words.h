// SPDX-License-Identifier: Apache-2.0
// The words of the file that stand for a choice, in the order of their enums, and those of later versions.
#pragma once

#include <array>
#include <string_view>

namespace featherlb::words {

inline constexpr std::array<std::string_view, 4> attach{"auto", "xdp", "xdp-generic", "tc"};
inline constexpr std::array<std::string_view, 2> forward{"snat", "dnat"};
inline constexpr std::array<std::string_view, 2> forward_later{"dsr", "ipip"};
inline constexpr std::array<std::string_view, 5> algorithm{
    "round-robin", "weighted-round-robin", "random", "ip-hash", "maglev"};
inline constexpr std::array<std::string_view, 5> algorithm_later{
    "least-connections", "weighted-least-connections", "power-of-two", "weighted-response-time", "resource-based"};
inline constexpr std::array<std::string_view, 2> health_type{"tcp", "http"};
inline constexpr std::array<std::string_view, 2> all_down{"drop", "refuse"};
inline constexpr std::array<std::string_view, 3> backend_down{"keep", "reset", "rehash"};
inline constexpr std::array<std::string_view, 2> boolean{"false", "true"};

} // namespace featherlb::words
