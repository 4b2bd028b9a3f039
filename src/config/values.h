// SPDX-License-Identifier: Apache-2.0
// One value each: text, number, duration, port range, word of a fixed set. Strict on purpose: YAML readers disagree
// about 010, 1e3 or yes, so nothing is read that two of them could read differently. A value that is not right is
// reported under the name of its `setting`, with what to write instead.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "config/section.h"

namespace featherlb {

// Text that no YAML reader takes for a number, a boolean or null.
[[nodiscard]] std::optional<std::string> read_text(const Node& node, std::string_view setting, Problems& problems);

struct Limits64 {
    std::uint64_t least = 0;
    std::uint64_t most = UINT64_MAX;
};
enum class Quotes { refused, allowed };
// The word `none`, of settings that may be a mapping.
[[nodiscard]] bool says_none(const Node& node);
// Decimal digits, no sign, no leading zero.
[[nodiscard]] std::optional<std::uint64_t> read_number(
    const Node& node, std::string_view setting, Limits64 limits, Quotes quotes, Problems& problems);

// A whole number with ms, s, m, h or d behind it; whole seconds, 1 second to 30 days.
[[nodiscard]] std::optional<std::chrono::seconds> read_duration(
    const Node& node, std::string_view setting, Problems& problems);

// The same to the millisecond, within other limits.
struct DurationLimits {
    std::chrono::milliseconds least;
    std::chrono::milliseconds most;
};

// Of whoever is asked again and again: checks and agents.
constexpr DurationLimits ask_interval_limits{std::chrono::milliseconds(100), std::chrono::hours(1)};
constexpr DurationLimits ask_timeout_limits{std::chrono::milliseconds(100), std::chrono::minutes(1)};
[[nodiscard]] std::optional<std::chrono::milliseconds> read_milliseconds(
    const Node& node, std::string_view setting, DurationLimits limits, Problems& problems);
// Whole seconds within `limits`.
[[nodiscard]] std::optional<std::chrono::seconds> read_seconds(
    const Node& node, std::string_view setting, DurationLimits limits, Problems& problems);
// "100ms", "30d": a whole number of the largest unit that fits.
[[nodiscard]] std::string write_duration(std::chrono::milliseconds duration);

// "30%": 0 to 100.
[[nodiscard]] std::optional<std::uint32_t> read_percent(const Node& node, std::string_view setting, Problems& problems);
// true or false.
[[nodiscard]] std::optional<bool> read_boolean(const Node& node, std::string_view setting, Problems& problems);

// "1024-32767", 1 to 65535.
[[nodiscard]] std::optional<PortRange> read_port_range(const Node& node, std::string_view setting, Problems& problems);

// The index in `known`. Words in `later` are those that this version does not support yet.
[[nodiscard]] std::optional<std::size_t> read_word(const Node& node, std::string_view setting,
    std::span<const std::string_view> known, std::span<const std::string_view> later, Problems& problems);

// Letters, digits, '.', '_' and '-', at most FLB_NAME_MAX - 1: a service's or backend's name.
[[nodiscard]] std::optional<std::string> read_name(const Node& node, std::string_view setting, Problems& problems);

// Digits of a decimal number without sign or leading zero that fits.
[[nodiscard]] std::optional<std::uint64_t> parse_decimal(std::string_view text);

} // namespace featherlb
