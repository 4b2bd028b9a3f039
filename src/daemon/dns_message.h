// SPDX-License-Identifier: Apache-2.0
// One question of DNS and what an answer to it says, by the C library's reader of messages. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "config/config.h"
#include "daemon/health_state.h"

namespace featherlb {

// `number`: by which the answer is known again. Empty: `how.name` does not fit into a question.
[[nodiscard]] std::string dns_query(const HealthConfig& how, std::uint16_t number);

// What a datagram that came back for that question says.
[[nodiscard]] CheckResult judge_dns(std::string_view received, const HealthConfig& how, std::uint16_t number);

} // namespace featherlb
