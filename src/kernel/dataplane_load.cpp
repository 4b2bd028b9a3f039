// SPDX-License-Identifier: Apache-2.0
#include "kernel/dataplane_load.h"

#include <algorithm>
#include <cerrno>
#include <map>
#include <utility>

#include <sys/random.h>

#include "base/log.h"

namespace featherlb {

namespace {

Result<void> fill_fresh_settings(flb_settings& settings, std::uint32_t hz)
{
    settings.abi = FLB_ABI;
    settings.hz = hz;
    settings.tick_shift = tick_shift_for(hz);
    settings.boot_id = boot_id();
    settings.snat_stride = stride_for({});
    if (::getrandom(settings.flow_seed, sizeof(settings.flow_seed), 0) != sizeof(settings.flow_seed))
        return fail(bpf_error("getting random numbers", errno));
    return {};
}

flb_load constants_for(const MapSet& maps)
{
    const auto& settings = maps.settings();
    flb_load constants{};
    std::ranges::copy(settings.flow_seed, constants.flow_seed);
    constants.flow4_sets = maps.at("flows4").shape().max_entries;
    constants.flow6_sets = maps.at("flows6").shape().max_entries;
    constants.max_backends = maps.at("backends").shape().max_entries;
    constants.processors = maps.processors;
    constants.tick_shift = settings.tick_shift;
    constants.limit_sets = maps.at("limit_counts").shape().max_entries;
    constants.rate_sets = maps.at("limit_rates").shape().max_entries;
    return constants;
}

Result<Loaded> load_maps_and_programs(const DataPlaneOptions& options, const PinPaths& paths, const Clock& clock,
    bool grow, std::vector<std::string>& warnings)
{
    const auto declared = Programs::declared_maps();
    if (!declared)
        return fail(declared.error());
    auto opened = open_maps(
        *declared, options.sizes, paths,
        [&](flb_settings& settings) { return fill_fresh_settings(settings, clock.hz()); }, grow, warnings);
    if (!opened)
        return fail(opened.error());
    const MapSet& maps = opened->maps;
    std::map<std::string, int> descriptors;
    for (const auto& [name, map] : maps.maps)
        descriptors.emplace(name, map.fd());
    auto programs = Programs::load(std::move(descriptors), constants_for(maps), options.programs);
    const bool resumed = opened->old && opened->old->resumed;
    const auto again = [&](Error error) -> Result<Loaded> {
        if (!paths.root.empty())
            remove_pins(paths.next()); // of a successor, if there is one
        if (resumed) // programs of ours run with these maps: better without what has not been copied than not at all
            remove_pins(paths.old());
        if (!opened->may_stay && !resumed)
            return fail(std::move(error));
        warnings.push_back(describe(std::move(error).add_context("copying the connections")));
        return load_maps_and_programs(options, paths, clock, false, warnings);
    };
    if (!programs)
        return again(std::move(programs.error()));
    Loaded loaded{.maps = std::move(opened->maps), .programs = std::move(*programs)};
    if (!opened->old)
        return loaded;
    auto copying =
        Copying::begin(std::exchange(opened->old, nullptr), loaded.maps, constants_for(loaded.maps), paths, clock);
    if (copying) {
        loaded.copying = std::move(*copying);
        return loaded;
    }
    return again(std::move(copying.error()));
}

} // namespace

Result<Loaded> load_data_plane(
    const DataPlaneOptions& options, const PinPaths& paths, const Clock& clock, std::vector<std::string>& warnings)
{
    return load_maps_and_programs(options, paths, clock, true, warnings);
}

} // namespace featherlb
