// SPDX-License-Identifier: Apache-2.0
#include "plan/loads.h"

#include <fmt/format.h>

#include "featherlb/abi.h"

namespace featherlb {

std::uint32_t load_weight_of(Algorithm algorithm, std::uint32_t weight)
{
    return picks_by_load(algorithm) && weight > 0 ? weight : 100;
}

std::optional<Error> too_many_to_compare(const ServiceConfig& service, Family family, std::size_t backends)
{
    if (!picks_by_load(service.algorithm) || backends <= FLB_MOST_COMPARED)
        return std::nullopt;
    return Error{fmt::format("the service {} has {} {} backends, and {} compares at most {}", service.name, backends,
                     to_string(family), to_string(service.algorithm), FLB_MOST_COMPARED),
        "use maglev, or make two services of it"};
}

} // namespace featherlb
