// SPDX-License-Identifier: Apache-2.0
// Spread: where within an interval a backend's turn is. Always the same place, so that neither a start nor a reload
// asks all at once.
#pragma once

#include <functional>
#include <string>

#include "base/loop.h"
#include "plan/tables.h"

namespace featherlb {

[[nodiscard]] inline Loop::Clock::duration place_in(Loop::Clock::duration interval, const BackendKey& backend)
{
    constexpr int parts = 1024;
    const std::size_t hash = std::hash<Endpoint>{}(backend.endpoint) ^ std::hash<std::string>{}(backend.service) << 1;
    return interval / parts * static_cast<int>(hash * 0x9e3779b97f4a7c15u >> 54);
}

} // namespace featherlb
