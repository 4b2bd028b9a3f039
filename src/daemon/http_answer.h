// SPDX-License-Identifier: Apache-2.0
// HTTP as health checks speak it: one GET in HTTP/1.1 with "Connection: close"; of the answer the status code, and as
// much of the body as is needed to find a text in it. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/ip.h"
#include "config/config.h"
#include "daemon/health_state.h"

namespace featherlb {

inline constexpr std::size_t largest_answer = 65536; // head and body; what comes later is not read

[[nodiscard]] std::string http_request(const Endpoint& target, const HealthConfig& how);

// What the first bytes of an answer say; nothing while they are too few. `ended`: no more will come.
[[nodiscard]] std::optional<CheckResult> judge_http(std::string_view received, bool ended, const HealthConfig& how);

} // namespace featherlb
