// SPDX-License-Identifier: Apache-2.0
#include "kernel/dataplane_maps.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <stdexcept>
#include <string_view>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fmt/format.h>
#include <unistd.h>

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
    snat_addresses,
    backend_counters,
    processors
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
    SizedMap{"slots", SizedBy::slots},
    SizedMap{"snat_addresses", SizedBy::snat_addresses},
    SizedMap{"backend_counters", SizedBy::backend_counters},
    SizedMap{"drop_counters", SizedBy::processors},
    SizedMap{"icmp_budgets", SizedBy::processors},
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

Result<void> check_settings(const flb_settings& settings, const std::string& root)
{
    if (settings.abi != FLB_ABI)
        return fail(fmt::format("what is pinned in {} was made by another version of featherlb (layout {}, this one "
                                "has {})",
                        root, settings.abi, FLB_ABI),
            detach_remedy);
    if (settings.boot_id != boot_id())
        return fail(fmt::format("what is pinned in {} was made on another boot of the machine", root), detach_remedy);
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

Result<MapSet> adopt(const std::vector<MapShape>& declared, const PinPaths& paths, std::uint32_t processors)
{
    MapSet set;
    set.adopted = true;
    set.processors = processors;
    auto settings = Map::open_pinned(paths.map("settings"));
    if (!settings)
        return fail(settings.error());
    // The version first: another version may have other maps, and that is the better message.
    if (settings->shape().value_size != sizeof(flb_settings))
        return fail(
            fmt::format("what is pinned in {} was made by another version of featherlb", paths.root), detach_remedy);
    if (auto checked = check_settings(settings->values<flb_settings>()[0], paths.root); !checked)
        return fail(checked.error());
    for (const auto& shape : declared) {
        if (!exists(paths.map(shape.name)))
            return fail(
                fmt::format("the map {} is missing from what is pinned in {}", shape.name, paths.root), detach_remedy);
        auto map = Map::open_pinned(paths.map(shape.name));
        if (!map)
            return fail(map.error());
        if (auto checked = check_shape(shape, map->shape()); !checked)
            return fail(checked.error());
        set.maps.emplace(shape.name, std::move(*map));
    }
    if (auto checked = check_counts(set, paths.root); !checked)
        return fail(checked.error());
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

Result<void> pin_all(const MapSet& set, const PinPaths& paths)
{
    for (const auto& [name, map] : set.maps)
        if (name != "settings")
            if (auto pinned = map.pin(paths.map(name)); !pinned)
                return pinned;
    return set.at("settings").pin(paths.map("settings"));
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
    case SizedBy::snat_addresses:
        return sizes.snat_addresses;
    case SizedBy::backend_counters:
        return sizes.backends * processors;
    case SizedBy::processors:
        return processors;
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
    compare("flows.max", pinned.flows_max, wanted.flows_max);
    compare("the room for services", pinned.services, wanted.services);
    compare("the room for backends", pinned.backends, wanted.backends);
    compare("the room for slot tables", pinned.slots,
        (wanted.slots + FLB_SLOTS_PER_CHUNK - 1) / FLB_SLOTS_PER_CHUNK * FLB_SLOTS_PER_CHUNK);
    compare("the room for source addresses", pinned.snat_addresses, wanted.snat_addresses);
    return result;
}

Result<MapSet> open_maps(const std::vector<MapShape>& declared, const DataPlaneSizes& sizes, const PinPaths& paths,
    const std::function<Result<void>(flb_settings&)>& fill_settings, std::vector<std::string>& warnings)
{
    const int processors = libbpf_num_possible_cpus();
    if (processors <= 0)
        return fail(bpf_error("counting the processors", -processors));
    const bool pinning = !paths.root.empty();
    if (pinning && exists(paths.map("settings"))) {
        auto set = adopt(declared, paths, static_cast<std::uint32_t>(processors));
        if (set)
            std::ranges::move(size_warnings(set->sizes(), sizes), std::back_inserter(warnings));
        return set;
    }
    if (auto checked = check_sizes(sizes); !checked)
        return fail(checked.error());
    if (pinning)
        if (auto removed = remove_remains(paths); !removed)
            return fail(removed.error());
    auto set = create(declared, sizes, static_cast<std::uint32_t>(processors));
    if (!set)
        return set;
    if (auto filled = fill_settings(set->settings()); !filled)
        return fail(filled.error());
    if (pinning)
        if (auto pinned = pin_all(*set, paths); !pinned)
            return fail(pinned.error());
    return set;
}

} // namespace featherlb
