// SPDX-License-Identifier: Apache-2.0
// A plan for some services alone: what thousands of services have for rows is neither made nor compared when one
// backend fails. It gives what a plan for all would give, or says that one is needed: where ids, listeners, addresses
// or lists change, which other services have a part in.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "plan/tables.h"

namespace featherlb {

using ServiceNames = std::set<std::string, std::less<>>;

struct PartialPlan {
    Tables want;                 // rows of these services only
    std::vector<Change> changes; // put_backend, put_slots and put_service, with the addresses that they had
};

// As make_tables of tables.h, for no other services than these; `have` has the rows of no others.
[[nodiscard]] Result<Tables> make_tables(const Config& config, const World& world, const Tables& have,
    const std::set<BackendId>& unreferenced, const Limits& limits, const ServiceNames& only);

// The rows that belong to these services.
[[nodiscard]] Tables part_of(const Tables& tables, const ServiceNames& names);

// `have`: part_of what is there. Nothing: a plan for all services is needed. Otherwise as make_tables and diff.
[[nodiscard]] Result<std::optional<PartialPlan>> make_partial_plan(const Config& config, const World& world,
    const Tables& have, const std::set<BackendId>& unreferenced, const Limits& limits, const ServiceNames& names);

// What the tables are after the changes.
void carry_over(const PartialPlan& plan, Tables& tables);

} // namespace featherlb
