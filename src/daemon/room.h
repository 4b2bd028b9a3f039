// SPDX-License-Identifier: Apache-2.0
// How much room the maps get when they are made: enough for the configuration and for as much again, since they keep
// their size until `featherlb detach`; and never less than is enough for most.
#pragma once

#include "config/config.h"
#include "kernel/dataplane.h"

namespace featherlb {

[[nodiscard]] DataPlaneSizes sizes_for(const Config& config);

} // namespace featherlb
