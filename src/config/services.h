// SPDX-License-Identifier: Apache-2.0
// The list `services`: each service by itself. What concerns several of them is in rules.h.
#pragma once

#include <optional>
#include <vector>

#include "config/section.h"

namespace featherlb {

// What `defaults` says; nothing where that was wrong and has been reported.
struct ServiceDefaults {
    std::optional<Algorithm> algorithm = Algorithm::maglev;
    std::optional<Forward> forward = Forward::snat;
    FailureConfig failure;
    SharingConfig sharing;
    AdmissionConfig admission;
    std::optional<Measure> measure; // nothing: by the algorithm
};

[[nodiscard]] std::optional<Algorithm> read_algorithm(const Node& node, Problems& problems);
[[nodiscard]] std::optional<Forward> read_forward(const Node& node, Problems& problems);

// Only sound parts are in the result; the Config counts only if there was no problem at all.
[[nodiscard]] std::vector<ServiceConfig> read_services(
    const Node& node, const ServiceDefaults& defaults, Problems& problems);

} // namespace featherlb
