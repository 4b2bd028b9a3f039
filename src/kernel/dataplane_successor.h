// SPDX-License-Identifier: Apache-2.0
// A successor: the maps of a data plane made anew from those that are pinned, because `flows.max` is another one now or
// because another version, with another layout, has pinned them. What is laid out alike is shared between both; the
// rest is converted record by record. The flow table, and what counts by it, begins empty: flow_copy.h fills it.
//
// Pins. A successor is pinned beside the maps that are in use, as maps-next; when the programs are about to change
// over, maps becomes maps-old and maps-next becomes maps; when all connections have been copied, maps-old goes. Whoever
// finds maps-next alone completes the change; beside maps it is the remains of a start that was interrupted. maps-old
// beside maps: connections may be in it that have not been copied.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "kernel/dataplane_maps.h"
#include "kernel/layout.h"

namespace featherlb {

// Maps of any layout, of which some may be missing.
struct Predecessor : MapSet {
    Layout layout;
    bool ours = false;    // version and layout are
    bool resumed = false; // an earlier daemon has changed over already
};

// Everything pinned in a directory; `settings` must be there. Where it has no map `layout`, the layout is ours if the
// version is.
[[nodiscard]] Result<Predecessor> open_predecessor(const std::string& directory);

// Why its connections and tables cannot be taken over; nothing: they can.
[[nodiscard]] std::optional<std::string> not_convertible(const Predecessor& old);

// Connections of the fuller family, with those that have expired and not been swept yet.
[[nodiscard]] std::uint64_t live_connections(const Predecessor& old);

// Not pinned yet. `sizes`: as it shall be; what is not in `old` is empty, but for `settings`, which must be.
[[nodiscard]] Result<MapSet> make_successor(const Predecessor& old, const std::vector<MapShape>& declared,
    const DataPlaneSizes& sizes, std::uint32_t processors);

// Once more, with the clients that the programs have pinned since.
[[nodiscard]] Result<void> copy_pins(const Predecessor& old, const MapSet& maps);

} // namespace featherlb
