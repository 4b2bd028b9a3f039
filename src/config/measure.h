// SPDX-License-Identifier: Apache-2.0
// `measure`: how response times are measured.
#pragma once

#include "config/section.h"

namespace featherlb {

// Of `defaults` or a service; nothing: not written, or wrong and reported.
[[nodiscard]] std::optional<Measure> read_measure(const Section& section, Problems& problems);

// The service's own word goes before that of `defaults`; without any, weighted-response-time measures the first byte.
// Nothing is measured where `forward` shows one direction only.
void settle_measure(
    const Section& section, const std::optional<Measure>& in_defaults, ServiceConfig& service, Problems& problems);

} // namespace featherlb
