// SPDX-License-Identifier: Apache-2.0
// The daemon's side of bpf/response.h: response times as the programs measured them.
#pragma once

#include <cstdint>

#include "featherlb/abi.h"
#include "kernel/counters.h"

namespace featherlb {

// `smoothed`: of the backend (flb_backend_load.response) or of the service itself; `mean`: of the service; `now_ns`: of
// the monotonic clock.
[[nodiscard]] ResponseCounts read_responses(
    const flb_response_histogram& histogram, const __u64& smoothed, const __u64& mean, std::uint64_t now_ns);

} // namespace featherlb
