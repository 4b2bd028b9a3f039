// SPDX-License-Identifier: Apache-2.0
// Writing: see dataplane_read.cpp for the other way.
#include "kernel/dataplane_tables.h"

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstring>
#include <optional>
#include <set>
#include <thread>

#include <fmt/format.h>

#include "kernel/clock.h"
#include "kernel/dataplane_records.h"

namespace featherlb {

namespace {

using SteadyClock = std::chrono::steady_clock;

// A slice, after waiting for those that rest where nothing else is free: at most a second.
std::optional<std::uint32_t> allocate_patiently(SlotAllocator& allocator, std::uint32_t length)
{
    for (;;) {
        if (const auto offset = allocator.allocate(length, SteadyClock::now()))
            return offset;
        const auto next = allocator.next_free();
        if (!next)
            return std::nullopt;
        std::this_thread::sleep_until(*next);
    }
}

// Every kind that `want` has is set before the tables change, and what it has not is cleared after.
void widen_prefilter(flb_prefilter& prefilter, const std::array<std::uint8_t, FLB_PREFILTER_SIZE>& want)
{
    for (std::size_t i = 0; i < want.size(); i++)
        if (want[i] & ~prefilter.kinds[i])
            publish(prefilter.kinds[i], static_cast<std::uint8_t>(prefilter.kinds[i] | want[i]));
}

void narrow_prefilter(flb_prefilter& prefilter, const std::array<std::uint8_t, FLB_PREFILTER_SIZE>& want)
{
    for (std::size_t i = 0; i < want.size(); i++)
        if (prefilter.kinds[i] != want[i])
            publish(prefilter.kinds[i], want[i]);
}

std::string describe(const Change& change)
{
    switch (change.kind) {
    case Change::Kind::put_backend:
    case Change::Kind::remove_backend:
        return fmt::format("backend {}", change.id);
    case Change::Kind::put_slots:
    case Change::Kind::put_service:
    case Change::Kind::remove_service:
        return fmt::format("service {}", change.id);
    case Change::Kind::put_settings:
        return "settings";
    case Change::Kind::put_prefix:
    case Change::Kind::remove_prefix:
        return fmt::format("network {} of service {}", change.rule.network.to_string(), change.id);
    default:
        return fmt::format(
            "{}, port {}/{}", change.key.address.to_string(), change.key.port, to_string(change.key.protocol));
    }
}

} // namespace

TableStore::TableStore(const MapSet& maps)
    : maps_(&maps), slots_(maps.sizes().slots, FLB_SLOTS_PER_CHUNK), addresses_(maps.sizes().snat_addresses)
{
}

std::span<std::uint32_t> TableStore::slot_numbers() const
{
    const auto chunks = maps_->values<flb_slot_chunk>("slots");
    return {chunks.data()->backend, chunks.size() * FLB_SLOTS_PER_CHUNK};
}

Result<void> TableStore::apply(const Tables& want, const std::vector<Change>& changes)
{
    const auto kinds = make_prefilter(want);
    const auto own_addresses = make_own_addresses(want);
    auto& prefilter = maps_->values<flb_prefilter>("prefilter")[0];
    widen_prefilter(prefilter, kinds);
    if (auto added = add_own_addresses(own_addresses); !added)
        return added;
    choose_stride(want);
    if (auto done = forget_pins(changes); !done)
        return done;
    if (auto done = apply_rows(want, changes); !done)
        return done;
    narrow_prefilter(prefilter, kinds);
    return drop_own_addresses(own_addresses);
}

Result<void> TableStore::apply_rows(const Tables& want, const std::vector<Change>& changes)
{
    for (const auto& change : changes)
        if (auto done = carry_out(want, change); !done)
            return fail(std::move(done.error()).add_context("changing " + describe(change)));
    return {};
}

Result<void> TableStore::add_own_addresses(const std::set<ListenerKey>& want)
{
    const flb_listener value{};
    for (const ListenerKey& key : want) {
        if (own_addresses_.contains(key))
            continue;
        const auto record = to_own_address(key);
        if (auto put = maps_->at("listeners").put(&record, &value); !put)
            return put;
        own_addresses_.insert(key);
    }
    return {};
}

Result<void> TableStore::drop_own_addresses(const std::set<ListenerKey>& want)
{
    for (auto key = own_addresses_.begin(); key != own_addresses_.end();) {
        if (want.contains(*key)) {
            ++key;
            continue;
        }
        const auto record = to_own_address(*key);
        if (auto removed = maps_->at("listeners").remove(&record); !removed)
            return removed;
        key = own_addresses_.erase(key);
    }
    return {};
}

Result<void> TableStore::carry_out(const Tables& want, const Change& change)
{
    switch (change.kind) {
    case Change::Kind::put_backend:
        return put_backend(change.id, want.backends.at(change.id));
    case Change::Kind::put_slots:
        return put_slots(change.id, want.services.at(change.id));
    case Change::Kind::put_service:
        return put_service(change.id, want.services.at(change.id));
    case Change::Kind::put_prefix:
        return put_prefix(change.id, change.rule);
    case Change::Kind::remove_prefix:
        return remove_prefix(change.id, change.rule);
    case Change::Kind::put_source:
        return put_source(want, change.key);
    case Change::Kind::put_listener:
        return put_listener(want, change.key);
    case Change::Kind::remove_listener: {
        const auto key = to_record(change.key);
        return maps_->at("listeners").remove(&key);
    }
    case Change::Kind::remove_source: {
        const auto key = to_record(change.key);
        return maps_->at("sources").remove(&key);
    }
    case Change::Kind::remove_service:
        remove_service(change.id);
        return {};
    case Change::Kind::remove_backend:
        remove_backend(change.id);
        return {};
    case Change::Kind::put_settings:
        put_settings(want);
        return {};
    }
    return fail("an unknown kind of change");
}

// ---- backends ---------------------------------------------------------------------------------------------

Result<void> TableStore::put_backend(BackendId id, const BackendRow& row)
{
    auto& record = maps_->values<flb_backend>("backends")[id];
    const auto old_pool = pool_of(record);
    std::uint32_t first = record.snat_first;
    const Sources pool{row.snat_addresses, row.source_bits};
    if (pool != old_pool) {
        auto taken = take_pool(pool);
        if (!taken)
            return fail(taken.error());
        first = *taken;
    }
    const flb_backend wanted = to_record(row, first);
    const bool same_identity = (record.flags & FLB_BACKEND_VALID) && record.port == wanted.port &&
                               record.service == wanted.service &&
                               std::memcmp(&record.address, &wanted.address, sizeof(wanted.address)) == 0;
    if (!same_identity) {
        // No flow refers to this number: nobody counts for it, and nobody reads it before it is valid.
        publish(record.flags, 0u);
        record.address = wanted.address;
        record.port = wanted.port;
        record.service = wanted.service;
        for (std::uint32_t processor = 0; processor < maps_->processors; processor++)
            maps_->values<flb_backend_counters>(
                "backend_counters")[std::size_t{processor} * maps_->sizes().backends + id] = {};
        maps_->values<flb_backend_mark>("backend_marks")[id] = {};
        maps_->values<flb_backend_load>("backend_loads")[id] = {};
        maps_->values<flb_response_histogram>("backend_responses")[id] = {};
    }
    publish(maps_->values<flb_backend_load>("backend_loads")[id].weight, row.load_weight);
    maps_->bounds().lowered(id);
    publish_word<std::uint64_t>(
        &record.snat_first, std::bit_cast<std::uint64_t>(std::array{wanted.snat_first, wanted.snat_count}));
    publish(record.mtu, wanted.mtu);
    put_hop(record.hop, wanted.hop);
    publish(record.flags, wanted.flags);
    if (pool != old_pool)
        drop_pool(old_pool);
    return {};
}

void TableStore::remove_backend(BackendId id)
{
    auto& record = maps_->values<flb_backend>("backends")[id];
    const auto pool = pool_of(record);
    publish(record.flags, 0u);
    publish_word<std::uint64_t>(&record.snat_first, 0);
    put_hop(record.hop, {});
    drop_pool(pool);
}

// A backend that is removed has no connections that could pin a client to it; its number may soon be another one's.
Result<void> TableStore::forget_pins(const std::vector<Change>& changes)
{
    std::set<BackendId> removed;
    for (const Change& change : changes)
        if (change.kind == Change::Kind::remove_backend)
            removed.insert(change.id);
    if (removed.empty())
        return {};
    const Map& pins = maps_->at("pins");
    const auto entries = pins.entries<flb_pin_key, std::uint64_t>();
    if (!entries)
        return fail(entries.error());
    for (const auto& [key, pin] : *entries)
        if (removed.contains(static_cast<BackendId>(pin >> 32)))
            if (auto done = pins.remove(&key); !done)
                return done;
    return {};
}

// Offset of a slice that holds these addresses, with one more reference to it.
Result<std::uint32_t> TableStore::take_pool(const Sources& sources)
{
    if (sources.addresses.empty())
        return 0;
    if (const auto found = pools_.find(sources); found != pools_.end()) {
        found->second.references++;
        return found->second.first;
    }
    const auto length = static_cast<std::uint32_t>(sources.addresses.size());
    const auto first = allocate_patiently(addresses_, length);
    if (!first)
        return fail(fmt::format("there is no room for {} more source addresses", length),
            "use fewer snat.addresses, or `featherlb detach` and start again");
    const auto records = maps_->values<flb_snat_address>("snat_addresses");
    for (std::uint32_t i = 0; i < length; i++)
        records[*first + i] = {.address = sources.addresses[i].to_abi(), .bits = sources.bits, .pad = {}};
    pools_.emplace(sources, Pool{.first = *first, .references = 1});
    return *first;
}

void TableStore::drop_pool(const Sources& sources)
{
    const auto found = pools_.find(sources);
    if (found == pools_.end() || --found->second.references > 0)
        return;
    addresses_.release(found->second.first, static_cast<std::uint32_t>(sources.addresses.size()), SteadyClock::now());
    pools_.erase(found);
}

// ---- services ---------------------------------------------------------------------------------------------

Result<void> TableStore::put_service(ServiceId id, const ServiceRow& row)
{
    auto& record = maps_->values<flb_service>("services")[id];
    const bool was_valid = record.flags & FLB_SERVICE_VALID;
    const flb_service wanted = to_record(row, maps_->settings());
    write_name(maps_->values<flb_name>("names")[id], row.name);
    if (!was_valid) {
        maps_->values<flb_response_histogram>("service_responses")[id] = {};
        maps_->values<std::uint64_t>("service_turns")[id] = 0;
    }
    if (auto done = put_slots(id, row); !done)
        return done;
    publish(record.pick_seed, wanted.pick_seed);
    publish(record.refused_ticks, wanted.refused_ticks);
    publish(record.affinity_ticks, wanted.affinity_ticks);
    std::uint64_t rate = 0; // and burst
    std::memcpy(&rate, &wanted.source_rate, sizeof(rate));
    publish_word<std::uint64_t>(&record.source_rate, rate);
    publish(record.source_connections, wanted.source_connections);
    // flags, family, forward, pick and the prefix of affinity are one word.
    std::uint64_t head = 0;
    std::memcpy(&head, &wanted.flags, sizeof(head));
    publish_word<std::uint64_t>(&record.flags, head);
    return {};
}

void TableStore::place_slots() const
{
    for (const flb_service& record : maps_->values<flb_service>("services"))
        if (const Slice slice = slice_of(record.slots); record.pick == FLB_PICK_LEAST && slice.length > 0)
            maps_->bounds().place(slice.offset, slot_numbers().subspan(slice.offset, slice.length));
}

Result<void> TableStore::put_slots(ServiceId id, const ServiceRow& row)
{
    const std::vector<BackendId>& table = row.slots.ids();
    auto& record = maps_->values<flb_service>("services")[id];
    const auto numbers = slot_numbers();
    const std::uint64_t old = record.slots;
    const Slice old_slice = slice_of(old);
    const auto length = static_cast<std::uint32_t>(table.size());
    if (old_slice.length == length && std::ranges::equal(numbers.subspan(old_slice.offset, length), table)) {
        if (row.pick == FLB_PICK_LEAST && record.pick != FLB_PICK_LEAST)
            maps_->bounds().place(old_slice.offset, table);
        return {};
    }
    std::uint64_t word = 0;
    if (length > 0) {
        const auto offset = allocate_patiently(slots_, length);
        if (!offset)
            return fail(fmt::format("there is no room for a slot table of {} entries", length),
                "use fewer services or smaller weights, or `featherlb detach` and start again");
        std::ranges::copy(table, numbers.begin() + *offset);
        if (row.pick == FLB_PICK_LEAST)
            maps_->bounds().place(*offset, table);
        word = std::uint64_t{*offset} << 32 | length;
    }
    publish(record.slots, word);
    slots_.release(old_slice.offset, old_slice.length, SteadyClock::now());
    return {};
}

void TableStore::remove_service(ServiceId id)
{
    auto& record = maps_->values<flb_service>("services")[id];
    const Slice old = slice_of(record.slots);
    publish(record.flags, 0u);
    publish(record.slots, 0u);
    slots_.release(old.offset, old.length, SteadyClock::now());
}

// ---- lists -----------------------------------------------------------------------------------------------

Result<void> TableStore::put_prefix(ServiceId id, const AccessRule& rule)
{
    const auto key = to_record(id, rule.network);
    const flb_prefix value{
        .allow = rule.allow, .family = static_cast<__u16>(rule.network.address.is_ipv4() ? FLB_IPV4 : FLB_IPV6)};
    return maps_->at("prefixes").put(&key, &value);
}

Result<void> TableStore::remove_prefix(ServiceId id, const AccessRule& rule)
{
    const auto key = to_record(id, rule.network);
    return maps_->at("prefixes").remove(&key);
}

// ---- the rest ---------------------------------------------------------------------------------------------

Result<void> TableStore::put_listener(const Tables& want, const ListenerKey& key)
{
    const auto record = to_record(key);
    const flb_listener value{.service = want.listeners.at(key), .flags = 0};
    return maps_->at("listeners").put(&record, &value);
}

Result<void> TableStore::put_source(const Tables& want, const ListenerKey& key)
{
    const auto record = to_record(key);
    const auto value = to_record(want.sources.at(key));
    return maps_->at("sources").put(&record, &value);
}

void TableStore::put_settings(const Tables& want)
{
    auto& settings = maps_->settings();
    flb_settings wanted = settings;
    fill_timeouts(wanted, want.timeouts);
    for (std::size_t state = 0; state < std::size(wanted.timeout); state++)
        publish(settings.timeout[state], wanted.timeout[state]);
    const auto [first, last] = want.snat_ports;
    write_ports_and_stride(first, static_cast<std::uint16_t>(last - first + 1), settings.snat_stride);
}

// Port range and stride are one word, so that no program steps through one range with another's length.
void TableStore::write_ports_and_stride(std::uint16_t first, std::uint16_t count, std::uint32_t stride)
{
    auto& settings = maps_->settings();
    flb_settings wanted = settings;
    wanted.snat_port_first = first;
    wanted.snat_port_count = count;
    wanted.snat_stride = stride;
    std::uint64_t word = 0;
    static_assert(offsetof(flb_settings, snat_port_first) % 8 == 0);
    static_assert(offsetof(flb_settings, snat_stride) == offsetof(flb_settings, snat_port_first) + 4);
    std::memcpy(&word, &wanted.snat_port_first, sizeof(word));
    publish_word<std::uint64_t>(&settings.snat_port_first, word);
}

void TableStore::choose_stride(const Tables& want)
{
    const auto& settings = maps_->settings();
    std::vector<std::uint64_t> pairs;
    const std::uint64_t new_count = want.snat_ports.last - want.snat_ports.first + 1u;
    for (const auto& [id, row] : want.backends)
        for (const std::uint64_t count : {std::uint64_t{settings.snat_port_count}, new_count})
            pairs.push_back(row.snat_addresses.size() * count);
    const std::uint32_t stride = stride_for(pairs);
    if (stride != settings.snat_stride)
        write_ports_and_stride(settings.snat_port_first, settings.snat_port_count, stride);
}

} // namespace featherlb
