// SPDX-License-Identifier: Apache-2.0
// `slow_start` and `agent`: how much of its weight a backend has at the moment. The same keys in `defaults` and in a
// service.
#pragma once

#include <string_view>

#include "config/section.h"

namespace featherlb {

inline constexpr std::string_view agent_example = "agent: {port: 9999}";

// What a section says, and `otherwise` where it says nothing.
[[nodiscard]] SharingConfig read_sharing(const Section& section, const SharingConfig& otherwise, Problems& problems);

// Whether a service's algorithm can do that. `section`: the service's.
void check_sharing(const Section& section, Algorithm algorithm, const SharingConfig& sharing, Problems& problems);

} // namespace featherlb
