// SPDX-License-Identifier: Apache-2.0
// The keys that say what a service does about backends that fail or leave: `health`, `min_healthy`, `all_down`,
// `on_backend_down`, `syn_failover`, `avoid_refused`, `drain_timeout`. They may stand in `defaults` and in a service.
#pragma once

#include "config/section.h"

namespace featherlb {

// Overwrites in `failure` what the section says. A service's `health` replaces that of `defaults` as a whole.
void read_failure(const Section& section, FailureConfig& failure, Problems& problems);

} // namespace featherlb
