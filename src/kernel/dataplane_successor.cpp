// SPDX-License-Identifier: Apache-2.0
#include "kernel/dataplane_successor.h"

#include <algorithm>
#include <array>
#include <cstring>

#include <fmt/format.h>
#include <linux/bpf.h>

#include "kernel/flow_entry.h"

namespace featherlb {

namespace {

using namespace flow_entry;

// They count by the flow table, so they begin with it.
constexpr std::array<std::string_view, 7> begins_empty = {
    "flows4", "flows6", "limit_counts", "limit_rates", "backend_loads", "slot_bounds", "backend_chunks"};
// What would be missed by nobody.
constexpr std::array<std::string_view, 7> passing = {
    "fragments", "icmp_budgets", "slow_memory", "pick_memory", "samples", "sample_budgets", "layout"};

template <std::size_t N>
bool is_in(const std::array<std::string_view, N>& names, std::string_view name)
{
    return std::ranges::find(names, name) != names.end();
}

bool is_hash(const MapShape& shape)
{
    return shape.type == BPF_MAP_TYPE_HASH || shape.type == BPF_MAP_TYPE_LPM_TRIE;
}

bool same_shape(const MapShape& a, const MapShape& b)
{
    return a.type == b.type && a.key_size == b.key_size && a.value_size == b.value_size &&
           a.max_entries == b.max_entries && a.flags == b.flags;
}

bool same_records(const Layout& theirs, std::string_view map)
{
    const MapRecords records = records_of(map);
    return (records.key.empty() || theirs.same(records.key, Layout::ours())) &&
           (records.value.empty() || theirs.same(records.value, Layout::ours()));
}

// How a key or a value becomes one of ours: plain numbers as they are.
Result<RecordMove> move_of(
    const Predecessor& old, std::string_view map, std::string_view record, std::size_t theirs, std::size_t ours)
{
    if (record.empty() && theirs == ours)
        return RecordMove({{.from = 0, .to = 0, .bytes = ours}}, theirs, ours);
    auto move = old.layout.to_ours(record);
    if (!move || move->their_size() > theirs)
        return fail(fmt::format("the pinned map {} does not say how it is laid out", map));
    return std::move(*move);
}

Result<void> convert_array(const Predecessor& old, const Map& from, const Map& to)
{
    auto move = move_of(
        old, to.shape().name, records_of(to.shape().name).value, from.shape().value_size, to.shape().value_size);
    if (!move)
        return fail(move.error());
    const std::uint32_t entries = std::min(from.shape().max_entries, to.shape().max_entries);
    for (std::uint32_t i = 0; i < entries; i++)
        move->make(from.value(i), to.value(i));
    return {};
}

// Of `pins` only what is newer than what is there, and as many as there is room for.
Result<void> put_entry(const Map& to, const std::vector<std::byte>& key, const std::vector<std::byte>& value)
{
    if (to.shape().name != "pins")
        return to.put(key.data(), value.data());
    std::uint64_t pin = 0, there = 0; // a backend, and the tick of its last use
    if (value.size() != sizeof(pin))
        return {};
    std::memcpy(&pin, value.data(), sizeof(pin));
    if (to.get(key.data(), &there) &&
        static_cast<std::int32_t>(static_cast<std::uint32_t>(pin) - static_cast<std::uint32_t>(there)) <= 0)
        return {};
    (void)to.put(key.data(), &pin);
    return {};
}

Result<void> convert_hash(const Predecessor& old, const Map& from, const Map& to)
{
    const MapRecords records = records_of(to.shape().name);
    auto key_move = move_of(old, to.shape().name, records.key, from.shape().key_size, to.shape().key_size);
    auto value_move = move_of(old, to.shape().name, records.value, from.shape().value_size, to.shape().value_size);
    if (!key_move || !value_move)
        return fail(key_move ? value_move.error() : key_move.error());
    std::vector<std::byte> key(to.shape().key_size), value(to.shape().value_size);
    Map::Walk walk;
    for (bool end = false; !end;) {
        std::vector<std::byte> keys, values;
        std::size_t count = 0;
        auto read = from.read_batch(walk, keys, values, count);
        if (!read)
            return fail(read.error());
        end = *read;
        for (std::size_t i = 0; i < count; i++) {
            const std::size_t key_size = from.shape().key_size, value_size = from.shape().value_size;
            key_move->make(std::span(keys).subspan(i * key_size, key_size), key);
            value_move->make(std::span(values).subspan(i * value_size, value_size), value);
            if (auto put = put_entry(to, key, value); !put)
                return put;
        }
    }
    return {};
}

Result<void> convert(const Predecessor& old, const Map& from, const Map& to)
{
    return is_hash(to.shape()) ? convert_hash(old, from, to) : convert_array(old, from, to);
}

// Response times and weights; the counts begin at zero.
Result<void> begin_loads(const Predecessor& old, const Map& loads)
{
    const auto found = old.maps.find("backend_loads");
    if (found == old.maps.end())
        return {};
    if (auto converted = convert_array(old, found->second, loads); !converted)
        return converted;
    for (flb_backend_load& load : loads.values<flb_backend_load>())
        load.open = 0;
    return {};
}

// One of `declared`, at its size: that of the predecessor, or anew.
Result<Map> make_map(const Predecessor& old, const MapShape& shape)
{
    const auto found = old.maps.find(shape.name);
    const bool there = found != old.maps.end();
    const bool fresh = is_in(begins_empty, shape.name) || (!old.ours && is_in(passing, shape.name));
    const bool says_whose = shape.name == "settings"; // another version's stays as it is
    if (there && !fresh && (old.ours || !says_whose) && same_shape(found->second.shape(), shape) &&
        same_records(old.layout, shape.name))
        return found->second.share();
    auto map = Map::create(shape);
    if (!map)
        return map;
    Result<void> filled;
    if (shape.name == "backend_loads")
        filled = begin_loads(old, *map);
    else if (there && !fresh)
        filled = convert(old, found->second, *map);
    if (!filled)
        return fail(filled.error());
    return map;
}

} // namespace

Result<Predecessor> open_predecessor(const std::string& directory)
{
    auto settings = Map::open_pinned(directory + "/settings");
    if (!settings)
        return fail(settings.error());
    if (!settings->is_mapped() || settings->shape().value_size < sizeof(flb_settings::abi))
        return fail(fmt::format("{}/settings is not featherlb's", directory), "look at it and remove it by hand");
    const bool our_version =
        settings->shape().value_size == sizeof(flb_settings) && settings->values<flb_settings>()[0].abi == FLB_ABI;
    std::map<std::string, Map> maps;
    maps.emplace("settings", std::move(*settings));
    for (const auto& name : names_in(directory)) {
        auto map = Map::open_pinned(fmt::format("{}/{}", directory, name));
        if (map) // else it is none of ours, or will be missed
            maps.try_emplace(name, std::move(*map));
    }
    const auto rows = maps.find("layout");
    const bool readable =
        rows != maps.end() && rows->second.is_mapped() && rows->second.shape().value_size == sizeof(flb_field);
    Layout layout = readable ? Layout(rows->second.values<flb_field>()) : Layout(std::span<const flb_field>{});
    if (layout.rows().empty() && our_version)
        layout = Layout::ours(); // pinned before there was the map
    const bool ours = our_version && layout == Layout::ours();
    return Predecessor{{.maps = std::move(maps)}, std::move(layout), ours};
}

std::optional<std::string> not_convertible(const Predecessor& old)
{
    for (const char* name : {"settings", "flows4", "flows6", "services", "backends", "slots", "snat_addresses"})
        if (const auto map = old.maps.find(name); map == old.maps.end() || !map->second.is_mapped())
            return fmt::format("it has no map {}", name);
    // A connection cannot do without these; a settings record tells of its time.
    for (const char* field : {"flb_settings.tick_shift", "flb_settings.hz", "flb_settings.flow_seed",
             "flb_settings.boot_id", "flb_backend.address", "flb_backend.flags", "flb_backend.service"})
        if (!old.layout.find(field))
            return fmt::format("it does not say where {} is", field);
    for (const char* flow : {"flb_flow4", "flb_flow6"}) {
        const auto ours = Layout::ours().rows();
        for (const flb_field& row : ours) {
            const std::string name(Layout::name_of(row));
            if (name.starts_with(flow) && !old.layout.find(name))
                return fmt::format("it does not say where {} is", name);
        }
        const flb_field* record = old.layout.find(flow);
        const flb_field* control = old.layout.find(std::string(flow) + ".ctl");
        if (record->size < sizeof(std::uint64_t) || record->size > largest_record ||
            record->size % sizeof(std::uint64_t) != 0 || control->offset % sizeof(std::uint64_t) != 0 ||
            control->offset > record->size - sizeof(std::uint64_t) ||
            old.at(flow[8] == '4' ? "flows4" : "flows6").shape().value_size % record->size != 0)
            return fmt::format("its {} is not as it says", flow);
    }
    return std::nullopt;
}

std::uint64_t live_connections(const Predecessor& old)
{
    std::uint64_t most = 0;
    for (const char* family : {"4", "6"}) {
        const Map& map = old.at(std::string("flows") + family);
        const flb_field* record = old.layout.find(std::string("flb_flow") + family);
        const std::uint32_t control = old.layout.find(std::string("flb_flow") + family + ".ctl")->offset;
        std::uint64_t live = 0;
        for (std::uint32_t set = 0; set < map.shape().max_entries; set++) {
            const std::span<std::byte> value = map.value(set);
            for (std::size_t at = 0; at < value.size(); at += record->size) {
                const std::uint32_t state = state_of(load(*reinterpret_cast<__u64*>(value.data() + at + control)));
                live += state > FLB_FLOW_BUSY && state < FLB_FLOW_CLOSED_CLIENT && !is_reply(state);
            }
        }
        most = std::max(most, live);
    }
    return most;
}

Result<MapSet> make_successor(const Predecessor& old, const std::vector<MapShape>& declared,
    const DataPlaneSizes& sizes, std::uint32_t processors)
{
    MapSet set;
    set.adopted = true;
    set.processors = processors;
    for (MapShape shape : declared) {
        shape.max_entries = entries_for(shape, sizes, processors);
        auto map = make_map(old, shape);
        if (!map)
            return fail(map.error());
        set.maps.emplace(shape.name, std::move(*map));
    }
    write_layout(set);
    set.settings().abi = FLB_ABI;
    return set;
}

Result<void> copy_pins(const Predecessor& old, const MapSet& maps)
{
    const auto found = old.maps.find("pins");
    const Map& to = maps.at("pins");
    if (found == old.maps.end() || found->second.shape().value_size != sizeof(std::uint64_t) ||
        found->second.shape().key_size != sizeof(flb_pin_key))
        return {};
    if (found->second.same_map(to))
        return {};
    return convert_hash(old, found->second, to);
}

} // namespace featherlb
