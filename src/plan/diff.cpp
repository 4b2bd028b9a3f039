// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <functional>
#include <iterator>
#include <set>

#include "plan/tables.h"

namespace featherlb {

namespace {

using Kind = Change::Kind;
using Changes = std::vector<Change>;

// What is done, in the order of the members: whatever a step refers to was put before it, and is removed after it.
struct Steps {
    Changes settings;        // timeouts stand before the first packet is taken
    Changes better_backends; // new ones, and those that are no less usable than before
    Changes put_prefixes;    // before a service asks for them
    Changes services;        // lead to these backends
    Changes put_sources;
    Changes put_listeners; // lead to these services
    Changes remove_listeners;
    Changes remove_sources;
    Changes remove_prefixes;  // a service that has none left no longer asks for them
    Changes emptied_services; // services that have lost all backends, once no listener leads there
    Changes worse_backends;   // once no slot leads there
    Changes remove_services;
    Changes remove_backends;
};

bool same_hop(const flb_hop& a, const flb_hop& b)
{
    return std::equal(std::begin(a.mac), std::end(a.mac), std::begin(b.mac)) && a.link == b.link &&
           std::equal(std::begin(a.vlan), std::end(a.vlan), std::begin(b.vlan));
}

bool same_timeouts(const Timeouts& a, const Timeouts& b)
{
    return a.tcp_handshake == b.tcp_handshake && a.tcp_established == b.tcp_established &&
           a.tcp_half_closed == b.tcp_half_closed && a.tcp_closed == b.tcp_closed && a.tcp_reset == b.tcp_reset &&
           a.udp_unreplied == b.udp_unreplied && a.udp_stream == b.udp_stream;
}

bool same_settings(const Tables& a, const Tables& b)
{
    return same_timeouts(a.timeouts, b.timeouts) && a.snat_ports.first == b.snat_ports.first &&
           a.snat_ports.last == b.snat_ports.last;
}

bool same_but_slots(const ServiceRow& a, const ServiceRow& b)
{
    return a.name == b.name && a.family == b.family && a.forward == b.forward && a.pick == b.pick &&
           a.measure == b.measure && a.pick_seed == b.pick_seed && a.refuse == b.refuse &&
           a.syn_failover == b.syn_failover && a.avoid_refused == b.avoid_refused && a.affinity == b.affinity &&
           a.affinity_prefix == b.affinity_prefix && a.limits == b.limits && a.lists == b.lists;
}

// Whether a slot that leads to `have` would lose connections if the row became `want` before the slots change.
// Taking connections counts most: one that takes them again comes first, even where its next hop is lost.
bool less_usable(const BackendRow& have, const BackendRow& want)
{
    const bool took = have.up && !have.draining;
    const bool takes = want.up && !want.draining;
    if (took != takes)
        return took;
    const flb_hop unresolved{};
    return (!same_hop(have.hop, unresolved) && same_hop(want.hop, unresolved)) ||
           (!have.snat_addresses.empty() && want.snat_addresses.empty());
}

void compare_backends(const Tables& have, const Tables& want, Steps& steps)
{
    for (const auto& [id, row] : want.backends) {
        const auto old = have.backends.find(id);
        if (old == have.backends.end())
            steps.better_backends.push_back({.kind = Kind::put_backend, .id = id, .key = {}});
        else if (old->second != row)
            (less_usable(old->second, row) ? steps.worse_backends : steps.better_backends)
                .push_back({.kind = Kind::put_backend, .id = id, .key = {}});
    }
    for (const auto& [id, row] : have.backends) {
        if (!want.backends.contains(id))
            steps.remove_backends.push_back({.kind = Kind::remove_backend, .id = id, .key = {}});
    }
}

void compare_services(const Tables& have, const Tables& want, Steps& steps)
{
    for (const auto& [id, row] : want.services) {
        const auto old = have.services.find(id);
        if (old == have.services.end()) {
            steps.services.push_back({.kind = Kind::put_service, .id = id, .key = {}});
            continue;
        }
        const bool same_head = same_but_slots(old->second, row);
        if (same_head && old->second.slots == row.slots)
            continue;
        const Kind kind = same_head ? Kind::put_slots : Kind::put_service;
        (row.slots.empty() ? steps.emptied_services : steps.services).push_back({.kind = kind, .id = id, .key = {}});
    }
    for (const auto& [id, row] : have.services) {
        if (!want.services.contains(id))
            steps.remove_services.push_back({.kind = Kind::remove_service, .id = id, .key = {}});
    }
}

const AccessRules& rules_of(const Tables& tables, ServiceId id)
{
    static const AccessRules none;
    const auto found = tables.access.find(id);
    return found == tables.access.end() ? none : *found->second;
}

// Two sorted lists, side by side.
void compare_rules(ServiceId id, const AccessRules& have, const AccessRules& want, Steps& steps)
{
    auto old = have.begin();
    for (const AccessRule& rule : want) {
        for (; old != have.end() && old->network < rule.network; ++old)
            steps.remove_prefixes.push_back({.kind = Kind::remove_prefix, .id = id, .key = {}, .rule = *old});
        const bool known = old != have.end() && old->network == rule.network;
        if (!known || old->allow != rule.allow)
            steps.put_prefixes.push_back({.kind = Kind::put_prefix, .id = id, .key = {}, .rule = rule});
        if (known)
            ++old;
    }
    for (; old != have.end(); ++old)
        steps.remove_prefixes.push_back({.kind = Kind::remove_prefix, .id = id, .key = {}, .rule = *old});
}

// Exceptions come before what they are exceptions of, and go after it: nobody is refused for a moment whom both the
// old and the new lists allow.
void compare_access(const Tables& have, const Tables& want, Steps& steps)
{
    std::set<ServiceId> ids;
    for (const Tables* tables : {&have, &want}) {
        for (const auto& [id, rules] : tables->access)
            ids.insert(id);
    }
    for (const ServiceId id : ids) {
        const auto old = have.access.find(id), now = want.access.find(id);
        if (old == have.access.end() || now == want.access.end() || old->second != now->second)
            compare_rules(id, rules_of(have, id), rules_of(want, id), steps);
    }
    const auto bits = [](const Change& change) { return change.rule.network.bits; };
    std::ranges::stable_sort(steps.put_prefixes, std::ranges::greater{}, bits);
    std::ranges::stable_sort(steps.remove_prefixes, std::ranges::less{}, bits);
}

bool same_access(const Tables& a, const Tables& b)
{
    return std::ranges::equal(a.access, b.access, [](const auto& x, const auto& y) {
        return x.first == y.first && (x.second == y.second || *x.second == *y.second);
    });
}

template <typename Map>
void compare_keys(const Map& have, const Map& want, Kind put, Kind remove, Changes& puts, Changes& removals)
{
    for (const auto& [key, row] : want) {
        const auto old = have.find(key);
        if (old == have.end() || !(old->second == row))
            puts.push_back({.kind = put, .id = 0, .key = key});
    }
    for (const auto& [key, row] : have) {
        if (!want.contains(key))
            removals.push_back({.kind = remove, .id = 0, .key = key});
    }
}

} // namespace

bool operator==(const BackendRow& a, const BackendRow& b)
{
    return a.service == b.service && a.endpoint == b.endpoint && a.up == b.up && a.draining == b.draining &&
           a.down == b.down && a.reset == b.reset && a.rehash_tcp == b.rehash_tcp && a.rehash_udp == b.rehash_udp &&
           a.any_side == b.any_side && a.one_way == b.one_way && same_hop(a.hop, b.hop) && a.mtu == b.mtu &&
           a.snat_addresses == b.snat_addresses && a.source_bits == b.source_bits && a.load_weight == b.load_weight;
}

bool operator==(const Tables& a, const Tables& b)
{
    return a.services == b.services && a.backends == b.backends && a.listeners == b.listeners &&
           a.sources == b.sources && same_access(a, b) && same_settings(a, b);
}

std::vector<Change> diff(const Tables& have, const Tables& want)
{
    Steps steps;
    if (!same_settings(have, want))
        steps.settings.push_back({.kind = Kind::put_settings, .id = 0, .key = {}});
    compare_backends(have, want, steps);
    compare_services(have, want, steps);
    compare_access(have, want, steps);
    compare_keys(
        have.sources, want.sources, Kind::put_source, Kind::remove_source, steps.put_sources, steps.remove_sources);
    compare_keys(have.listeners, want.listeners, Kind::put_listener, Kind::remove_listener, steps.put_listeners,
        steps.remove_listeners);

    Changes all;
    for (const Changes* step :
        {&steps.settings, &steps.better_backends, &steps.put_prefixes, &steps.services, &steps.put_sources,
            &steps.put_listeners, &steps.remove_listeners, &steps.remove_sources, &steps.emptied_services,
            &steps.remove_prefixes, &steps.worse_backends, &steps.remove_services, &steps.remove_backends})
        all.insert(all.end(), step->begin(), step->end());
    return all;
}

} // namespace featherlb
