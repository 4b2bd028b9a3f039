// SPDX-License-Identifier: Apache-2.0
#include "kernel/dataplane_maps.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <stdexcept>
#include <string_view>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fmt/format.h>
#include <unistd.h>

#include "base/log.h"
#include "kernel/dataplane_successor.h"
#include "kernel/layout.h"

namespace featherlb {

namespace {

constexpr const char* detach_remedy = "run `featherlb detach` first (it ends the forwarding), then start again";

// Where the daemon decides how many entries a map has.
enum class SizedBy {
    flows,
    limit_sets,
    rate_sets,
    services,
    backends,
    slots,
    bounds,
    snat_addresses,
    backend_counters,
    processors,
    sample_budgets
};
constexpr std::uint32_t least_limit_sets = 16;
struct SizedMap {
    std::string_view name;
    SizedBy by;
};
constexpr std::array sized_maps = {
    SizedMap{"flows4", SizedBy::flows},
    SizedMap{"flows6", SizedBy::flows},
    SizedMap{"pins", SizedBy::flows},
    SizedMap{"limit_counts", SizedBy::limit_sets},
    SizedMap{"limit_rates", SizedBy::rate_sets},
    SizedMap{"services", SizedBy::services},
    SizedMap{"service_turns", SizedBy::services},
    SizedMap{"names", SizedBy::services},
    SizedMap{"backends", SizedBy::backends},
    SizedMap{"backend_ports", SizedBy::backends},
    SizedMap{"backend_marks", SizedBy::backends},
    SizedMap{"backend_loads", SizedBy::backends},
    SizedMap{"service_responses", SizedBy::services},
    SizedMap{"backend_responses", SizedBy::backends},
    SizedMap{"slots", SizedBy::slots},
    SizedMap{"slot_bounds", SizedBy::bounds},
    SizedMap{"backend_chunks", SizedBy::backends},
    SizedMap{"snat_addresses", SizedBy::snat_addresses},
    SizedMap{"backend_counters", SizedBy::backend_counters},
    SizedMap{"drop_counters", SizedBy::processors},
    SizedMap{"icmp_budgets", SizedBy::processors},
    SizedMap{"sample_budgets", SizedBy::sample_budgets},
};

// Shapes must agree but for the number of entries of the maps that the daemon sizes.
Result<void> check_shape(const MapShape& declared, const MapShape& pinned)
{
    const bool sized = std::ranges::any_of(sized_maps, [&](const SizedMap& map) { return map.name == declared.name; });
    if (declared.type != pinned.type || declared.key_size != pinned.key_size ||
        declared.value_size != pinned.value_size || declared.flags != pinned.flags ||
        (!sized && declared.max_entries != pinned.max_entries))
        return fail(fmt::format("the pinned map {} has another layout than this featherlb expects", declared.name),
            detach_remedy);
    return {};
}

Result<void> check_counts(const MapSet& set, const std::string& root)
{
    const DataPlaneSizes sizes = set.sizes();
    for (const auto& [name, map] : set.maps)
        if (map.shape().max_entries != entries_for(map.shape(), sizes, set.processors))
            return fail(fmt::format("the sizes of the maps pinned in {} do not fit each other ({})", root, name),
                detach_remedy);
    return {};
}

// Maps that came with a later version and hold nothing that must be kept: made anew where they are not pinned.
constexpr std::array<std::string_view, 6> may_be_missing = {
    "samples", "sample_budgets", "layout", "slot_bounds", "backend_chunks", "pick_memory"};

Result<Map> make_missing(MapShape shape, const DataPlaneSizes& sizes, const PinPaths& paths, std::uint32_t processors)
{
    shape.max_entries = entries_for(shape, sizes, processors);
    auto map = Map::create(shape);
    if (!map)
        return map;
    if (auto pinned = map->pin(paths.map(shape.name)); !pinned)
        return fail(pinned.error());
    return map;
}

// What is pinned and of our layout.
Result<MapSet> adopt(const std::vector<MapShape>& declared, const PinPaths& paths, std::uint32_t processors)
{
    MapSet set;
    set.adopted = true;
    set.processors = processors;
    std::vector<MapShape> missing;
    for (const auto& shape : declared) {
        if (!exists(paths.map(shape.name))) {
            if (std::ranges::find(may_be_missing, shape.name) == may_be_missing.end())
                return fail(fmt::format("the map {} is missing from what is pinned in {}", shape.name, paths.root),
                    detach_remedy);
            missing.push_back(shape);
            continue;
        }
        auto map = Map::open_pinned(paths.map(shape.name));
        if (!map)
            return fail(map.error());
        if (auto checked = check_shape(shape, map->shape()); !checked)
            return fail(checked.error());
        set.maps.emplace(shape.name, std::move(*map));
    }
    for (const auto& shape : missing) {
        auto map = make_missing(shape, set.sizes(), paths, processors);
        if (!map)
            return fail(map.error());
        set.maps.emplace(shape.name, std::move(*map));
    }
    if (auto checked = check_counts(set, paths.root); !checked)
        return fail(checked.error());
    write_layout(set);
    return set;
}

Result<MapSet> create(const std::vector<MapShape>& declared, const DataPlaneSizes& sizes, std::uint32_t processors)
{
    MapSet set;
    set.processors = processors;
    for (MapShape shape : declared) {
        shape.max_entries = entries_for(shape, sizes, processors);
        auto map = Map::create(shape);
        if (!map)
            return fail(map.error());
        set.maps.emplace(shape.name, std::move(*map));
    }
    return set;
}

// Remains of an interrupted start. With a link among them somebody has used the maps: then it is not ours to judge.
Result<void> remove_remains(const PinPaths& paths)
{
    if (!names_in(paths.links()).empty())
        return fail(fmt::format("the map settings is missing from what is pinned in {}", paths.root), detach_remedy);
    for (const auto& name : names_in(paths.maps()))
        ::unlink(paths.map(name).c_str());
    return {};
}

Result<void> pin_all(const MapSet& set, const std::string& directory)
{
    for (const auto& [name, map] : set.maps)
        if (name != "settings")
            if (auto pinned = map.pin(fmt::format("{}/{}", directory, name)); !pinned)
                return pinned;
    return set.at("settings").pin(directory + "/settings");
}

Result<void> check_sizes(const DataPlaneSizes& sizes)
{
    // An entry's number, set * ways + way, has 32 bits.
    if (sizes.flows_max == 0 || sizes.flows_max > (1u << 30))
        return fail(fmt::format("flows.max is {}; it must be between 1 and {}", sizes.flows_max, 1u << 30));
    if (sizes.services == 0 || sizes.backends < 2 || sizes.slots < FLB_SLOTS_PER_CHUNK || sizes.snat_addresses == 0)
        return fail("a map would have no entries");
    return {};
}

} // namespace

const Map& MapSet::at(const std::string& name) const
{
    const auto found = maps.find(name);
    if (found == maps.end())
        throw std::logic_error("there is no map " + name);
    return found->second;
}

DataPlaneSizes MapSet::sizes() const
{
    return {.flows_max = at("flows4").shape().max_entries,
        .services = at("services").shape().max_entries,
        .backends = at("backends").shape().max_entries,
        .slots = at("slots").shape().max_entries * FLB_SLOTS_PER_CHUNK,
        .snat_addresses = at("snat_addresses").shape().max_entries};
}

std::uint32_t entries_for(const MapShape& declared, const DataPlaneSizes& sizes, std::uint32_t processors)
{
    const auto found = std::ranges::find_if(sized_maps, [&](const SizedMap& map) { return map.name == declared.name; });
    if (found == sized_maps.end())
        return declared.max_entries;
    switch (found->by) {
    case SizedBy::flows:
        return sizes.flows_max;
    case SizedBy::limit_sets: // as many sources as one family has connections
        return std::max((sizes.flows_max + FLB_LIMIT_WAYS - 1) / FLB_LIMIT_WAYS, least_limit_sets);
    case SizedBy::rate_sets: // one for two connections: most are free again after a moment
        return std::max((sizes.flows_max / 2 + FLB_RATE_WAYS - 1) / FLB_RATE_WAYS, least_limit_sets);
    case SizedBy::services:
        return sizes.services;
    case SizedBy::backends:
        return sizes.backends;
    case SizedBy::slots:
        return (sizes.slots + FLB_SLOTS_PER_CHUNK - 1) / FLB_SLOTS_PER_CHUNK;
    case SizedBy::bounds: {
        constexpr std::uint32_t slots = FLB_SLOTS_PER_CHUNK * FLB_CHUNKS_BOUNDED;
        return (sizes.slots + slots - 1) / slots;
    }
    case SizedBy::snat_addresses:
        return sizes.snat_addresses;
    case SizedBy::backend_counters:
        return sizes.backends * processors;
    case SizedBy::processors:
        return processors;
    case SizedBy::sample_budgets:
        return processors * FLB_MAX_REASONS;
    }
    throw std::logic_error("a map is sized by nothing");
}

std::vector<std::string> size_warnings(const DataPlaneSizes& pinned, const DataPlaneSizes& wanted)
{
    std::vector<std::string> result;
    const auto compare = [&](const char* what, std::uint32_t have, std::uint32_t want) {
        if (have != want)
            result.push_back(fmt::format("{} stays {} instead of {}, as the pinned data plane was made; `featherlb "
                                         "detach` and a new start change it, and end the connections",
                what, have, want));
    };
    if (pinned.flows_max != wanted.flows_max)
        result.push_back(
            fmt::format("flows.max stays {} instead of {} until a start at which the open connections fit, and "
                        "there is memory for both tables",
                pinned.flows_max, wanted.flows_max));
    // There may be more than is asked for.
    compare("the room for services", std::min(pinned.services, wanted.services), wanted.services);
    compare("the room for backends", std::min(pinned.backends, wanted.backends), wanted.backends);
    const std::uint32_t slots = (wanted.slots + FLB_SLOTS_PER_CHUNK - 1) / FLB_SLOTS_PER_CHUNK * FLB_SLOTS_PER_CHUNK;
    compare("the room for slot tables", std::min(pinned.slots, slots), slots);
    compare(
        "the room for source addresses", std::min(pinned.snat_addresses, wanted.snat_addresses), wanted.snat_addresses);
    return result;
}

void write_layout(const MapSet& set)
{
    const auto rows = set.values<flb_field>("layout");
    std::ranges::copy(Layout::ours().rows(), rows.begin());
}

namespace {

// What an earlier start left: a successor that no program uses yet is nothing, and what it was to succeed goes on.
Result<void> settle_pins(const PinPaths& paths)
{
    const bool unused = exists(paths.old()) && !exists(paths.in_use());
    if (unused) {
        remove_pins(paths.maps()); // perhaps empty, and made a moment ago
        if (auto renamed = rename_directory(paths.old(), paths.maps()); !renamed)
            return renamed;
    }
    remove_pins(paths.next());
    if (!exists(paths.old()))
        remove_directory(paths.in_use());
    return {};
}

Result<OpenedMaps> succeed(Predecessor old, const std::vector<MapShape>& declared, const DataPlaneSizes& sizes,
    const PinPaths& paths, std::uint32_t processors)
{
    auto set = make_successor(old, declared, sizes, processors);
    if (!set)
        return fail(set.error());
    remove_pins(paths.old()); // of a change before the last one
    if (auto made = make_directory(paths.next()); !made)
        return fail(made.error());
    if (auto pinned = pin_all(*set, paths.next()); !pinned) {
        remove_pins(paths.next());
        return fail(pinned.error());
    }
    return OpenedMaps{.maps = std::move(*set), .old = std::make_unique<Predecessor>(std::move(old))};
}

// Another layout: everything is converted, or nothing can be used.
Result<OpenedMaps> convert(Predecessor old, const std::vector<MapShape>& declared, const DataPlaneSizes& wanted,
    const PinPaths& paths, bool grow, std::uint32_t processors, std::vector<std::string>& warnings)
{
    const std::uint32_t before = old.maps.contains("flows4") ? old.at("flows4").shape().max_entries : 0;
    const Map& settings = old.at("settings");
    const auto abi = *reinterpret_cast<const std::uint32_t*>(settings.value(0).data()); // of any version
    const auto why_not = not_convertible(old);
    if (why_not)
        return fail(fmt::format("what is pinned in {} was made by another version of featherlb (layout {}, this one "
                                "has {}) and cannot be taken over: {}",
                        paths.root, abi, FLB_ABI, *why_not),
            detach_remedy);
    DataPlaneSizes sizes = old.sizes();
    if (grow && (wanted.flows_max >= sizes.flows_max || live_connections(old) <= wanted.flows_max))
        sizes.flows_max = wanted.flows_max;
    std::ranges::move(size_warnings(sizes, wanted), std::back_inserter(warnings));
    auto opened = succeed(std::move(old), declared, sizes, paths, processors);
    if (opened) {
        opened->may_stay = sizes.flows_max != before; // of that size
        return opened;
    }
    if (sizes.flows_max == before)
        return opened;
    warnings.push_back(fmt::format("a flow table of another size: {}", describe(opened.error())));
    auto again = open_predecessor(paths.maps());
    if (!again)
        return fail(again.error());
    return convert(std::move(*again), declared, wanted, paths, false, processors, warnings);
}

Result<void> check_boot(const Predecessor& old, const std::string& root)
{
    const flb_field* field = old.layout.find("flb_settings.boot_id");
    const std::span<std::byte> settings = old.at("settings").value(0);
    if (field && field->offset + sizeof(std::uint32_t) <= settings.size()) {
        std::uint32_t boot = 0;
        std::memcpy(&boot, settings.data() + field->offset, sizeof(boot));
        if (boot != boot_id())
            return fail(
                fmt::format("what is pinned in {} was made on another boot of the machine", root), detach_remedy);
    }
    return {};
}

Result<OpenedMaps> open_pinned(const std::vector<MapShape>& declared, const DataPlaneSizes& wanted,
    const PinPaths& paths, bool grow, std::uint32_t processors, std::vector<std::string>& warnings)
{
    auto old = open_predecessor(paths.maps());
    if (!old)
        return fail(old.error());
    if (auto checked = check_boot(*old, paths.root); !checked)
        return fail(checked.error());
    if (!old->ours)
        return convert(std::move(*old), declared, wanted, paths, grow, processors, warnings);
    auto set = adopt(declared, paths, processors);
    if (!set)
        return fail(set.error());
    DataPlaneSizes sizes = set->sizes();
    if (exists(paths.old())) { // an earlier daemon ended before all connections had been copied
        auto before = open_predecessor(paths.old());
        std::ranges::move(size_warnings(sizes, wanted), std::back_inserter(warnings));
        if (!before || not_convertible(*before)) {
            remove_pins(paths.old());
            return OpenedMaps{.maps = std::move(*set)};
        }
        before->resumed = true;
        return OpenedMaps{.maps = std::move(*set), .old = std::make_unique<Predecessor>(std::move(*before))};
    }
    if (grow && wanted.flows_max != sizes.flows_max && check_sizes(wanted) &&
        (wanted.flows_max > sizes.flows_max || live_connections(*old) <= wanted.flows_max)) {
        sizes.flows_max = wanted.flows_max;
        auto opened = succeed(std::move(*old), declared, sizes, paths, processors);
        if (opened) {
            opened->may_stay = true;
            std::ranges::move(size_warnings(sizes, wanted), std::back_inserter(warnings));
            return opened;
        }
        warnings.push_back(fmt::format("a flow table of another size: {}", describe(opened.error())));
        sizes = set->sizes();
    }
    std::ranges::move(size_warnings(sizes, wanted), std::back_inserter(warnings));
    return OpenedMaps{.maps = std::move(*set)};
}

} // namespace

Result<OpenedMaps> open_maps(const std::vector<MapShape>& declared, const DataPlaneSizes& sizes, const PinPaths& paths,
    const std::function<Result<void>(flb_settings&)>& fill_settings, bool grow, std::vector<std::string>& warnings)
{
    const int processors = libbpf_num_possible_cpus();
    if (processors <= 0)
        return fail(bpf_error("counting the processors", -processors));
    const bool pinning = !paths.root.empty();
    if (pinning) {
        if (auto settled = settle_pins(paths); !settled)
            return fail(settled.error());
        if (exists(paths.map("settings")))
            return open_pinned(declared, sizes, paths, grow, static_cast<std::uint32_t>(processors), warnings);
    }
    if (auto checked = check_sizes(sizes); !checked)
        return fail(checked.error());
    if (pinning)
        if (auto removed = remove_remains(paths); !removed)
            return fail(removed.error());
    auto set = create(declared, sizes, static_cast<std::uint32_t>(processors));
    if (!set)
        return fail(set.error());
    if (auto filled = fill_settings(set->settings()); !filled)
        return fail(filled.error());
    write_layout(*set);
    if (pinning)
        if (auto pinned = pin_all(*set, paths.maps()); !pinned)
            return fail(pinned.error());
    return OpenedMaps{.maps = std::move(*set)};
}

} // namespace featherlb
