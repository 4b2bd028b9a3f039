// SPDX-License-Identifier: Apache-2.0
// What picks that compare backends by their load need: weights beside the counts, and not too many backends.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "base/result.h"
#include "config/config.h"

namespace featherlb {

// What a backend's load is divided by (BackendRow::load_weight); `weight`: BackendRow::weight, both in hundredths.
[[nodiscard]] std::uint32_t load_weight_of(Algorithm algorithm, std::uint32_t weight);

// Names may have added backends since the configuration was checked.
[[nodiscard]] std::optional<Error> too_many_to_compare(
    const ServiceConfig& service, Family family, std::size_t backends);

} // namespace featherlb
