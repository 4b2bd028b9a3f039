// SPDX-License-Identifier: Apache-2.0
// The part of a plan that grows with the number of ports: which service each address and port belongs to, and as
// which of them the packets of `dnat` backends leave when their flow is not known. Each step ends with an error where
// the maps have no room, before it has made more rows than there may be.
#pragma once

#include <optional>
#include <vector>

#include "plan/half.h"

namespace featherlb {

// Fills `listeners` of the halves and removes those that have none. An address that is written out goes before "*";
// otherwise the first service in the file has it.
[[nodiscard]] std::optional<Error> claim_listeners(const World& world, const Limits& limits, std::vector<Half>& halves);

// Is there room for want.listeners, which are complete, beside those of `have`?
[[nodiscard]] std::optional<Error> exceeded_listeners(const Tables& have, const Limits& limits, const Tables& want);

// Fills want.sources.
[[nodiscard]] std::optional<Error> put_sources(
    const std::vector<Half>& halves, const Tables& have, const Limits& limits, Tables& want);

} // namespace featherlb
