// SPDX-License-Identifier: Apache-2.0
// What `forward: dsr` and `forward: ipip` ask of a service, and the section `ipip`.
#pragma once

#include "config/section.h"

namespace featherlb {

[[nodiscard]] IpipConfig read_ipip(const Node& node, Problems& problems);

// Reports what a service that forwards in one direction only cannot have, and leaves out what it has from `defaults`
// of that. `section`: the service's own keys. Does nothing for other services.
void finish_one_way(const Section& section, ServiceConfig& service, Problems& problems);

} // namespace featherlb
