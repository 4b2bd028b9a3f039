// SPDX-License-Identifier: Apache-2.0
// `metrics`: where the daemon answers Prometheus, over HTTP on a port of the machine's own.
#pragma once

#include <optional>

#include "config/section.h"

namespace featherlb {

// Nothing: it is wrong, which is reported.
[[nodiscard]] std::optional<MetricsConfig> read_metrics(const Node& node, Problems& problems);

// A packet for a service never reaches a port of the machine itself: the two must not be the same.
void check_metrics(const Config& config, Problems& problems);

} // namespace featherlb
