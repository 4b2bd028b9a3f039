// SPDX-License-Identifier: Apache-2.0
#include "plan/partial.h"

#include <algorithm>

namespace featherlb {

namespace {

// Does it lead to the same rows of listeners, sources, addresses and the prefilter?
bool is_local(const Change& change, const Tables& have, const Tables& want)
{
    switch (change.kind) {
    case Change::Kind::put_slots:
        return have.services.contains(change.id);
    case Change::Kind::put_service: {
        const auto old = have.services.find(change.id);
        return old != have.services.end() && old->second.forward == want.services.at(change.id).forward;
    }
    case Change::Kind::put_backend: {
        const auto old = have.backends.find(change.id);
        return old != have.backends.end() && old->second.snat_addresses == want.backends.at(change.id).snat_addresses;
    }
    default:
        return false;
    }
}

} // namespace

Tables part_of(const Tables& tables, const ServiceNames& names)
{
    Tables part;
    part.timeouts = tables.timeouts;
    part.snat_ports = tables.snat_ports;
    for (const auto& [id, row] : tables.services) {
        if (names.contains(row.name))
            part.services.emplace(id, row);
    }
    for (const auto& [id, row] : tables.backends) {
        if (part.services.contains(row.service))
            part.backends.emplace(id, row);
    }
    for (const auto& [key, service] : tables.listeners) {
        if (part.services.contains(service))
            part.listeners.emplace(key, service);
    }
    for (const auto& [key, source] : tables.sources) {
        if (part.backends.contains(source.backend))
            part.sources.emplace(key, source);
    }
    for (const auto& [id, row] : part.services) {
        if (const auto rules = tables.access.find(id); rules != tables.access.end())
            part.access.insert(*rules);
    }
    return part;
}

Result<std::optional<PartialPlan>> make_partial_plan(const Config& config, const World& world, const Tables& have,
    const std::set<BackendId>& unreferenced, const Limits& limits, const ServiceNames& names)
{
    Result<Tables> want = make_tables(config, world, have, unreferenced, limits, names);
    if (!want)
        return fail(std::move(want.error()));
    PartialPlan plan{.want = std::move(*want), .changes = {}};
    plan.changes = diff(have, plan.want);
    const bool all_local =
        std::ranges::all_of(plan.changes, [&](const Change& change) { return is_local(change, have, plan.want); });
    return all_local ? std::optional(std::move(plan)) : std::nullopt;
}

void carry_over(const PartialPlan& plan, Tables& tables)
{
    for (const Change& change : plan.changes) {
        if (change.kind == Change::Kind::put_backend)
            tables.backends.at(change.id) = plan.want.backends.at(change.id);
        else
            tables.services.at(change.id) = plan.want.services.at(change.id);
    }
}

} // namespace featherlb
