// SPDX-License-Identifier: Apache-2.0
// Figures for people: numbers of four digits at most, and times.
#pragma once

#include <cstdint>
#include <string>

namespace featherlb {

// 999, 12.3 k, 4.56 M. `step`: 1,000, or 1,024 for prefixes with "i".
[[nodiscard]] std::string short_number(std::uint64_t number, unsigned step, const char* unit);
// "12 s", "3 min 4 s", "5 h 6 min", "7 d 8 h".
[[nodiscard]] std::string short_duration(double seconds);

} // namespace featherlb
