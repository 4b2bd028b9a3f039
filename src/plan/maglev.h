// SPDX-License-Identifier: Apache-2.0
// Maglev: a slot table that is the same on every machine with the same configuration, and of which little changes
// when a backend comes or goes (Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer",
// NSDI 2016, section 3.4), extended by weights and by backends that are down. docs/algorithms.md has the rules.
#pragma once

#include <cstddef>
#include <vector>

#include "plan/tables.h"

namespace featherlb {

// Slots in the table of these backends: a prime of a coarse ladder, by the number and weights of all of them,
// up or not. 0 if none has a weight.
[[nodiscard]] std::size_t maglev_size(const std::vector<WeightedBackend>& backends);

// The table. The order of `backends` does not matter. Empty if no backend with a weight is up. One that has a share of
// its weight only has that part of the slots that it would have, those that it took first; the others stay with whom
// they belong to while it is down. So a share that grows moves slots to that backend and no others. (Where all have a
// share only, all have their slots.)
[[nodiscard]] std::vector<BackendId> maglev_slots(const std::vector<WeightedBackend>& backends);

} // namespace featherlb
