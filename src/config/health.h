// SPDX-License-Identifier: Apache-2.0
// `health`: how the backends of a service are asked whether they work. Which keys there may be follows from `type`.
#pragma once

#include "config/section.h"

namespace featherlb {

// Of `defaults` or a service; nothing: `none`. Reads the file that `ca` names.
[[nodiscard]] std::optional<HealthConfig> read_health(const Node& node, Problems& problems);

// Checks by UDP cannot go to the service address at the backend, as those of `dsr` and `ipip` do.
void check_health_way(const Section& section, const ServiceConfig& service, Problems& problems);

} // namespace featherlb
