// SPDX-License-Identifier: Apache-2.0
#include "observe/effects.h"

#include <algorithm>

#include <fmt/format.h>

#include "observe/listeners.h"

namespace featherlb {

namespace {

bool takes(const BackendRow& row)
{
    return row.up && !row.draining;
}

std::string weight_text(std::uint32_t hundredths)
{
    return fmt::format("{:.4g}", hundredths / 100.0);
}

// Empty: nothing that an operator would want to know.
std::string change_of(const BackendRow& have, const BackendRow& want)
{
    const bool same_weight = have.weight == want.weight;
    if (takes(have) && !takes(want))
        return want.draining ? "drains: no new connections, it keeps those that it has"
                             : "takes no connections any more";
    if (!takes(have) && takes(want))
        return same_weight ? "takes connections again"
                           : "takes connections again, with weight " + weight_text(want.weight);
    if (!same_weight)
        return fmt::format("weight {} -> {}", weight_text(have.weight), weight_text(want.weight));
    if (!have.reset && want.reset)
        return "its connections are ended";
    return {};
}

std::string name_of(const Tables& tables, const BackendRow& row)
{
    const auto service = tables.services.find(row.service);
    return service == tables.services.end() ? "" : service->second.name;
}

void compare_backends(const Tables& have, const Tables& want, Effects& effects)
{
    for (const auto& [id, row] : want.backends) {
        const auto old = have.backends.find(id);
        std::string what;
        if (old != have.backends.end())
            what = change_of(old->second, row);
        else
            what = takes(row) ? "new: takes connections, with weight " + weight_text(row.weight)
                              : "new: takes no connections yet";
        if (!what.empty())
            effects.backends.push_back({name_of(want, row), row.endpoint, std::move(what)});
    }
    for (const auto& [id, row] : have.backends) {
        if (!want.backends.contains(id))
            effects.backends.push_back({name_of(have, row), row.endpoint, "is forgotten: no connection is left"});
    }
}

std::map<ServiceId, std::vector<ListenerKey>> listeners_of(const Tables& tables, const Tables& but)
{
    std::map<ServiceId, std::vector<ListenerKey>> all;
    for (const auto& [key, service] : tables.listeners) {
        const auto other = but.listeners.find(key);
        if (other == but.listeners.end() || other->second != service)
            all[service].push_back(key);
    }
    return all;
}

// By load: which slot a backend stands in says nothing.
bool picks_from_a_list(const ServiceRow& row)
{
    return row.pick == FLB_PICK_LEAST || row.pick == FLB_PICK_TWO || row.pick == FLB_PICK_RESPONSE;
}

} // namespace

double moved_share(const SlotTable& have, const SlotTable& want)
{
    if (want.empty() || have.empty())
        return want.empty() && have.empty() ? 0 : 1;
    // Both tables stand over the same range of hashes, of have.size() * want.size() steps. Where one is no multiple of
    // the other, a slot of one lies over parts of several of the other.
    const std::uint64_t wide = want.size(), old_wide = have.size();
    std::uint64_t moved = 0;
    std::uint64_t at = 0;
    for (std::uint64_t i = 0, j = 0; i < wide;) {
        const std::uint64_t ends = (i + 1) * old_wide, old_ends = (j + 1) * wide, next = std::min(ends, old_ends);
        moved += want[i] != have[j] ? next - at : 0;
        at = next;
        i += next == ends ? 1 : 0;
        j += next == old_ends ? 1 : 0;
    }
    return static_cast<double>(moved) / static_cast<double>(wide * old_wide);
}

Effects effects_of(const Tables& have, const Tables& want)
{
    Effects effects;
    auto added = listeners_of(want, have);
    auto removed = listeners_of(have, want);
    for (const auto& [id, row] : want.services) {
        ServiceEffect effect{.service = row.name, .family = row.family};
        const auto old = have.services.find(id);
        effect.what = old == have.services.end() ? "new" : old->second == row ? "same" : "changed";
        if (!picks_from_a_list(row))
            effect.slots = row.slots.size();
        if (old != have.services.end() && effect.slots != 0)
            effect.moved_share = moved_share(old->second.slots, row.slots);
        effect.listeners_added = write_listeners(std::move(added[id]));
        effect.listeners_removed = write_listeners(std::move(removed[id]));
        if (effect.what != "same" || !effect.listeners_added.empty() || !effect.listeners_removed.empty())
            effects.services.push_back(std::move(effect));
    }
    for (const auto& [id, row] : have.services) {
        if (!want.services.contains(id))
            effects.services.push_back({.service = row.name,
                .family = row.family,
                .what = "removed",
                .listeners_added = {},
                .listeners_removed = write_listeners(std::move(removed[id]))});
    }
    compare_backends(have, want, effects);
    return effects;
}

} // namespace featherlb
