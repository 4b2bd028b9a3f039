// SPDX-License-Identifier: Apache-2.0
#include "kernel/layout.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

namespace featherlb {

namespace {

constexpr flb_field field(std::string_view name, std::size_t offset, std::size_t size)
{
    flb_field row{};
    for (std::size_t i = 0; i < name.size(); i++) // no room for the terminator: not a constant expression
        row.name[i] = name[i];
    row.offset = static_cast<__u32>(offset);
    row.size = static_cast<__u32>(size);
    return row;
}

// NOLINTBEGIN(bugprone-macro-parentheses): types
#define RECORD(record) field(#record, 0, sizeof(record))
#define FIELD(record, member) field(#record "." #member, offsetof(record, member), sizeof(record::member))
// Of a flow's entry: what both families share, and the key as it arrives.
#define WITHIN(record, part, member)                                                                                   \
    field(#record "." #member, offsetof(record, part.member), sizeof(decltype(record::part)::member))
#define KEY(record, member)                                                                                            \
    field(#record ".key." #member, offsetof(record, key.member), sizeof(decltype(record::key)::member))
// An entry of the flow table, whose fields have the same names for both families.
#define FLOW(record)                                                                                                   \
    RECORD(record), WITHIN(record, f, ctl), WITHIN(record, f, backend), WITHIN(record, f, pair),                       \
        WITHIN(record, f, sport), WITHIN(record, f, dport), WITHIN(record, f, addresses_delta),                        \
        WITHIN(record, f, ports_delta), WITHIN(record, f, hop), WITHIN(record, f, aux), KEY(record, saddr),            \
        KEY(record, daddr), KEY(record, sport), KEY(record, dport), KEY(record, protocol), FIELD(record, saddr),       \
        FIELD(record, daddr)
// NOLINTEND(bugprone-macro-parentheses)

constexpr std::array our_rows = {
    RECORD(flb_settings),
    FIELD(flb_settings, abi),
    FIELD(flb_settings, tick_shift),
    FIELD(flb_settings, timeout),
    FIELD(flb_settings, snat_port_first),
    FIELD(flb_settings, snat_port_count),
    FIELD(flb_settings, snat_stride),
    FIELD(flb_settings, flow_seed),
    FIELD(flb_settings, boot_id),
    FIELD(flb_settings, hz),
    FIELD(flb_settings, sampled),
    FIELD(flb_settings, sampled_until),
    FIELD(flb_settings, copying_until),
    RECORD(flb_prefilter),
    FIELD(flb_prefilter, kinds),
    RECORD(flb_iface),
    FIELD(flb_iface, mac),
    FIELD(flb_iface, mtu),
    FIELD(flb_iface, ifindex),
    FIELD(flb_iface, flags),
    RECORD(flb_listener_key),
    FIELD(flb_listener_key, address),
    FIELD(flb_listener_key, port),
    FIELD(flb_listener_key, protocol),
    FIELD(flb_listener_key, family),
    RECORD(flb_listener),
    FIELD(flb_listener, service),
    FIELD(flb_listener, flags),
    RECORD(flb_source),
    FIELD(flb_source, address),
    FIELD(flb_source, port),
    FIELD(flb_source, backend),
    RECORD(flb_prefix_key),
    FIELD(flb_prefix_key, bits),
    FIELD(flb_prefix_key, service),
    FIELD(flb_prefix_key, address),
    RECORD(flb_prefix),
    FIELD(flb_prefix, allow),
    FIELD(flb_prefix, family),
    RECORD(flb_pin_key),
    FIELD(flb_pin_key, service),
    FIELD(flb_pin_key, address),
    RECORD(flb_service),
    FIELD(flb_service, slots),
    FIELD(flb_service, flags),
    FIELD(flb_service, family),
    FIELD(flb_service, forward),
    FIELD(flb_service, pick),
    FIELD(flb_service, affinity_prefix),
    FIELD(flb_service, pick_seed),
    FIELD(flb_service, affinity_ticks),
    FIELD(flb_service, refused_ticks),
    FIELD(flb_service, source_rate),
    FIELD(flb_service, source_burst),
    FIELD(flb_service, source_connections),
    RECORD(flb_slot_chunk),
    FIELD(flb_slot_chunk, backend),
    RECORD(flb_backend),
    FIELD(flb_backend, address),
    FIELD(flb_backend, hop),
    FIELD(flb_backend, port),
    FIELD(flb_backend, mtu),
    FIELD(flb_backend, flags),
    FIELD(flb_backend, service),
    FIELD(flb_backend, snat_first),
    FIELD(flb_backend, snat_count),
    RECORD(flb_backend_mark),
    FIELD(flb_backend_mark, avoid_until),
    FIELD(flb_backend_mark, refused),
    RECORD(flb_backend_load),
    FIELD(flb_backend_load, open),
    FIELD(flb_backend_load, weight),
    FIELD(flb_backend_load, response),
    RECORD(flb_response_histogram),
    FIELD(flb_response_histogram, count),
    FIELD(flb_response_histogram, sum_us),
    FIELD(flb_response_histogram, smoothed),
    RECORD(flb_snat_address),
    FIELD(flb_snat_address, address),
    FIELD(flb_snat_address, bits),
    RECORD(flb_name),
    FIELD(flb_name, text),
    RECORD(flb_backend_counters),
    FIELD(flb_backend_counters, packets),
    FIELD(flb_backend_counters, bytes),
    FIELD(flb_backend_counters, connections),
    RECORD(flb_drop_counters),
    FIELD(flb_drop_counters, packets),
    FIELD(flb_drop_counters, events),
    FLOW(flb_flow4),
    FLOW(flb_flow6),
};

#undef RECORD
#undef FIELD
#undef WITHIN
#undef KEY

static_assert(our_rows.size() <= FLB_MAX_FIELDS);

constexpr std::array map_records = {
    MapRecords{"settings", "", "flb_settings"},
    MapRecords{"prefilter", "", "flb_prefilter"},
    MapRecords{"ifaces", "", "flb_iface"},
    MapRecords{"listeners", "flb_listener_key", "flb_listener"},
    MapRecords{"sources", "flb_listener_key", "flb_source"},
    MapRecords{"prefixes", "flb_prefix_key", "flb_prefix"},
    MapRecords{"pins", "flb_pin_key", ""},
    MapRecords{"services", "", "flb_service"},
    MapRecords{"slots", "", "flb_slot_chunk"},
    MapRecords{"backends", "", "flb_backend"},
    MapRecords{"backend_marks", "", "flb_backend_mark"},
    MapRecords{"backend_loads", "", "flb_backend_load"},
    MapRecords{"service_responses", "", "flb_response_histogram"},
    MapRecords{"backend_responses", "", "flb_response_histogram"},
    MapRecords{"snat_addresses", "", "flb_snat_address"},
    MapRecords{"names", "", "flb_name"},
    MapRecords{"backend_counters", "", "flb_backend_counters"},
    MapRecords{"drop_counters", "", "flb_drop_counters"},
};

bool same_row(const flb_field& a, const flb_field& b)
{
    return Layout::name_of(a) == Layout::name_of(b) && a.offset == b.offset && a.size == b.size;
}

} // namespace

MapRecords records_of(std::string_view map)
{
    const auto found = std::ranges::find(map_records, map, &MapRecords::map);
    return found == map_records.end() ? MapRecords{.map = map, .key = {}, .value = {}} : *found;
}

RecordMove::RecordMove(std::vector<FieldMove> moves, std::size_t theirs, std::size_t ours)
    : moves_(std::move(moves)), theirs_(theirs), ours_(ours)
{
}

void RecordMove::make(std::span<const std::byte> from, std::span<std::byte> to) const
{
    std::ranges::fill(to.first(ours_), std::byte{0});
    for (const FieldMove& move : moves_)
        std::ranges::copy(from.subspan(move.from, move.bytes), to.begin() + static_cast<std::ptrdiff_t>(move.to));
}

const Layout& Layout::ours()
{
    static const Layout layout(our_rows);
    return layout;
}

Layout::Layout(std::span<const flb_field> rows)
{
    const auto end = std::ranges::find_if(rows, [](const flb_field& row) { return row.name[0] == '\0'; });
    rows_.assign(rows.begin(), end);
}

std::string_view Layout::name_of(const flb_field& row)
{
    return {row.name, ::strnlen(row.name, sizeof(row.name))};
}

const flb_field* Layout::find(std::string_view name) const
{
    const auto found = std::ranges::find(rows_, name, name_of);
    return found == rows_.end() ? nullptr : &*found;
}

std::vector<flb_field> Layout::fields_of(std::string_view record) const
{
    std::vector<flb_field> fields;
    for (const flb_field& row : rows_) {
        const std::string_view name = name_of(row);
        if (name.starts_with(record) && name.size() > record.size() && name[record.size()] == '.')
            fields.push_back(row);
    }
    return fields;
}

bool Layout::same(std::string_view record, const Layout& other) const
{
    const flb_field* mine = find(record);
    const flb_field* its = other.find(record);
    return mine && its && mine->size == its->size &&
           std::ranges::is_permutation(fields_of(record), other.fields_of(record), same_row);
}

bool operator==(const Layout& a, const Layout& b)
{
    return std::ranges::equal(a.rows_, b.rows_, same_row);
}

std::optional<RecordMove> Layout::to_ours(std::string_view record) const
{
    const flb_field* theirs = find(record);
    const flb_field* wanted = ours().find(record);
    if (!theirs || !wanted)
        return std::nullopt;
    std::vector<FieldMove> moves;
    for (const flb_field& field : ours().fields_of(record)) {
        const flb_field* from = find(name_of(field));
        if (!from || std::size_t{from->offset} + from->size > theirs->size)
            continue;
        moves.push_back({.from = from->offset, .to = field.offset, .bytes = std::min(from->size, field.size)});
    }
    return RecordMove(std::move(moves), theirs->size, wanted->size);
}

} // namespace featherlb
