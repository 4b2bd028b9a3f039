// SPDX-License-Identifier: Apache-2.0
// The time of day for people and programs to read: UTC, ISO 8601, whole seconds.
#pragma once

#include <chrono>
#include <string>

namespace featherlb {

[[nodiscard]] std::string utc_text(std::chrono::system_clock::time_point time); // 2026-01-31T12:00:00Z
[[nodiscard]] std::string utc_now();

} // namespace featherlb
