// SPDX-License-Identifier: Apache-2.0
// What must hold between the parts of a configuration: no name and no listener twice, source addresses for every
// IP version that needs one. Looks only at the sound parts, so that it may run after problems were found.
#pragma once

#include "config/section.h"

namespace featherlb {

void check_rules(const Config& config, Problems& problems);

} // namespace featherlb
