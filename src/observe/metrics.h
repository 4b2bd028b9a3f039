// SPDX-License-Identifier: Apache-2.0
// Metrics: a status as Prometheus' families of metrics. Pure: what is shown is what the status says, all of it at the
// same moment. docs/metrics.md lists every family; a test compares the two. No label holds an address of a client.
#pragma once

#include <functional>
#include <string>

#include <prometheus/metric_family.h>

#include "observe/status.h"

namespace featherlb {

// One family after another, so that a large configuration needs the memory of one. Families without a metric are
// left out.
using TakeFamily = std::function<void(prometheus::MetricFamily)>;
void make_metrics(const Status& status, const TakeFamily& take);

// All of them in the text format 0.0.4.
[[nodiscard]] std::string metrics_text(const Status& status);

} // namespace featherlb
