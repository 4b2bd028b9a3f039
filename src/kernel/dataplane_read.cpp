// SPDX-License-Identifier: Apache-2.0
// Reading: what the maps hold, as Tables, and which slices are in use.
#include <algorithm>
#include <set>
#include <utility>

#include <fmt/format.h>

#include "kernel/clock.h"
#include "kernel/dataplane_records.h"
#include "kernel/dataplane_tables.h"

namespace featherlb {

namespace {

tl::unexpected<Error> damaged(const std::string& what)
{
    return fail("the pinned tables are damaged: " + what, "run `featherlb detach` first (it ends the forwarding), then "
                                                          "start again");
}

} // namespace

Result<TableStore> TableStore::open(const MapSet& maps)
{
    TableStore store(maps);
    if (auto found = store.find_slices(); !found)
        return fail(found.error());
    if (auto found = store.find_own_addresses(); !found)
        return fail(found.error());
    store.place_slots();
    return store;
}

// Slices count as in use where a record names them, valid or not: a change may have stopped half-way.
Result<void> TableStore::find_slices()
{
    const auto services = maps_->values<flb_service>("services");
    for (std::size_t id = 0; id < services.size(); id++) {
        const Slice slice = slice_of(services[id].slots);
        if (slice.length > 0 && !slots_.reserve(slice.offset, slice.length))
            return damaged(fmt::format("the slot table of service {}", id));
    }
    const auto backends = maps_->values<flb_backend>("backends");
    const std::size_t room = maps_->sizes().snat_addresses;
    std::set<std::pair<std::uint32_t, std::uint32_t>> seen;
    for (std::size_t id = 0; id < backends.size(); id++) {
        const auto& record = backends[id];
        if (record.snat_count == 0)
            continue;
        if (std::size_t{record.snat_first} + record.snat_count > room)
            return damaged(fmt::format("the source addresses of backend {}", id));
        if (seen.emplace(record.snat_first, record.snat_count).second &&
            !addresses_.reserve(record.snat_first, record.snat_count))
            return damaged(fmt::format("the source addresses of backend {}", id));
        auto& pool = pools_[pool_of(record)];
        pool.first = record.snat_first;
        pool.references++;
    }
    return {};
}

Result<void> TableStore::find_own_addresses()
{
    auto listeners = maps_->at("listeners").entries<flb_listener_key, flb_listener>();
    if (!listeners)
        return fail(listeners.error());
    for (const auto& [key, value] : *listeners)
        if (is_own_address(key))
            own_addresses_.insert(from_record(key));
    return {};
}

TableStore::Sources TableStore::pool_of(const flb_backend& record) const
{
    Sources result;
    const auto records = maps_->values<flb_snat_address>("snat_addresses");
    const Family family = family_of(record.flags);
    for (const auto& address : records.subspan(record.snat_first, record.snat_count)) {
        result.addresses.push_back(IpAddress::from_abi(address.address, family));
        result.bits = address.bits;
    }
    return result;
}

// Of every number, also of one that is no service any more: a change may have stopped half-way.
Result<void> TableStore::read_access(Tables& tables) const
{
    auto entries = maps_->at("prefixes").entries<flb_prefix_key, flb_prefix>();
    if (!entries)
        return fail(entries.error());
    std::map<ServiceId, AccessRules> rules;
    for (const auto& [key, value] : *entries) {
        const Family family = value.family == FLB_IPV6 ? Family::ipv6 : Family::ipv4;
        rules[key.service].push_back({from_record(key, family), value.allow != 0});
    }
    for (auto& [id, list] : rules) {
        std::ranges::sort(list);
        tables.access.emplace(id, std::make_shared<const AccessRules>(std::move(list)));
    }
    return {};
}

Result<Tables> TableStore::read() const
{
    Tables tables;
    const auto& settings = maps_->settings();
    const auto services = maps_->values<flb_service>("services");
    const auto names = maps_->values<flb_name>("names");
    const auto numbers = slot_numbers();
    for (std::uint32_t id = 0; id < services.size(); id++) {
        if (!(services[id].flags & FLB_SERVICE_VALID))
            continue;
        ServiceRow row = from_record(services[id], names[id], settings);
        const Slice slice = slice_of(services[id].slots);
        const auto table = numbers.subspan(slice.offset, slice.length);
        row.slots = std::vector<BackendId>(table.begin(), table.end());
        tables.services.emplace(id, std::move(row));
    }
    const auto backends = maps_->values<flb_backend>("backends");
    const auto loads = maps_->values<flb_backend_load>("backend_loads");
    for (std::uint32_t id = 1; id < backends.size(); id++) {
        if (!(backends[id].flags & FLB_BACKEND_VALID))
            continue;
        BackendRow row = from_record(backends[id]);
        const Sources sources = pool_of(backends[id]);
        row.snat_addresses = sources.addresses;
        row.source_bits = sources.bits;
        row.load_weight = loads[id].weight;
        tables.backends.emplace(id, std::move(row));
    }
    auto listeners = maps_->at("listeners").entries<flb_listener_key, flb_listener>();
    if (!listeners)
        return fail(listeners.error());
    for (const auto& [key, value] : *listeners)
        if (!is_own_address(key))
            tables.listeners.emplace(from_record(key), value.service);
    auto sources = maps_->at("sources").entries<flb_listener_key, flb_source>();
    if (!sources)
        return fail(sources.error());
    for (const auto& [key, value] : *sources)
        tables.sources.emplace(from_record(key), from_record(value, static_cast<Family>(key.family)));
    if (auto done = read_access(tables); !done)
        return fail(done.error());
    tables.timeouts = timeouts_of(settings);
    // Fresh settings have no ports: a range that no configuration asks for.
    tables.snat_ports = {.first = settings.snat_port_first,
        .last = settings.snat_port_count == 0
                    ? std::uint16_t{0}
                    : static_cast<std::uint16_t>(settings.snat_port_first + settings.snat_port_count - 1)};
    return tables;
}

} // namespace featherlb
