// SPDX-License-Identifier: Apache-2.0
// Listeners of all services together: whether two want the same packets, and whether there is room for all. Ports are
// compared as ranges, so that the cost grows with the number of entries in the file and not with that of ports.
#pragma once

#include "config/section.h"

namespace featherlb {

void check_listeners(const Config& config, Problems& problems);

} // namespace featherlb
