// SPDX-License-Identifier: Apache-2.0
// Which backends the slots of a service are made of, and with what share of their weights: backups or all others,
// what agents report, slow starts.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "plan/half.h"

namespace featherlb {

inline constexpr std::string_view limit_remedy =
    "use fewer, or run `featherlb detach` and start anew: the maps get their size when they are made";

// What `world` knows of a backend's share. Its id comes later.
[[nodiscard]] Half::Target target_of(
    const ServiceConfig& service, const BackendConfig& backend, const Endpoint& endpoint, const World& world);
// Where all are backups, none is.
void settle_backups(Half& half);
// In hundredths. As little as there may be of it, it is not nothing.
[[nodiscard]] std::uint32_t weight_now(const Half::Target& target);

// The slots of all halves, whose backends and services are in `want`; those of `have` where they are made from the
// same. Backups that are not used are not `up` from here on.
[[nodiscard]] std::optional<Error> put_slots(
    const std::vector<Half>& halves, const Tables& have, const Limits& limits, Tables& want);

} // namespace featherlb
