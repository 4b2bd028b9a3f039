// SPDX-License-Identifier: Apache-2.0
// MapSet: all maps of a data plane, made at the sizes asked for, or adopted from their pins after a check that this
// binary understands them. `settings` is pinned last: pins without it are the remains of a start that was
// interrupted before anything was attached, and are made anew.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "featherlb/abi.h"
#include "kernel/dataplane.h"
#include "kernel/dataplane_pins.h"
#include "kernel/map.h"
#include "kernel/slot_bounds.h"

namespace featherlb {

struct MapSet {
    std::map<std::string, Map> maps;
    bool adopted = false;
    std::uint32_t processors = 1;

    [[nodiscard]] const Map& at(const std::string& name) const; // throws where there is none
    [[nodiscard]] DataPlaneSizes sizes() const;
    template <typename T>
    [[nodiscard]] std::span<T> values(const std::string& name) const
    {
        return at(name).values<T>();
    }
    [[nodiscard]] SlotBounds bounds() const
    {
        return {values<flb_slot_bounds>("slot_bounds"), values<std::uint64_t>("backend_chunks")};
    }
    [[nodiscard]] flb_settings& settings() const { return values<flb_settings>("settings")[0]; }
};

struct Predecessor;
struct OpenedMaps {
    MapSet maps;
    std::unique_ptr<Predecessor> old; // whose connections are to be copied; its successor is pinned as maps-next
    bool may_stay = false;            // what is pinned could be used as it is, were it not for its size
};

// `declared`: the shapes of bpf/maps.h. `paths.root` empty: nothing is pinned. `fill_settings` completes the fresh
// settings before they are pinned. `grow`: where the flow table has another size than asked for, a successor is made.
[[nodiscard]] Result<OpenedMaps> open_maps(const std::vector<MapShape>& declared, const DataPlaneSizes& sizes,
    const PinPaths& paths, const std::function<Result<void>(flb_settings&)>& fill_settings, bool grow,
    std::vector<std::string>& warnings);

// Fills the map `layout` with ours.
void write_layout(const MapSet& set);

// Entries of the map with this name; `declared` for those that the daemon does not size.
[[nodiscard]] std::uint32_t entries_for(
    const MapShape& declared, const DataPlaneSizes& sizes, std::uint32_t processors);
// What an operator gets to read where an adopted map has another size than asked for; empty: no difference.
[[nodiscard]] std::vector<std::string> size_warnings(const DataPlaneSizes& pinned, const DataPlaneSizes& wanted);

} // namespace featherlb
