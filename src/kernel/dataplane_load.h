// SPDX-License-Identifier: Apache-2.0
// The maps of a data plane, made, adopted or succeeded to, and the programs loaded with them.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "kernel/clock.h"
#include "kernel/dataplane.h"
#include "kernel/dataplane_copying.h"
#include "kernel/dataplane_maps.h"
#include "kernel/dataplane_pins.h"
#include "kernel/dataplane_programs.h"

namespace featherlb {

struct Loaded {
    MapSet maps;
    Programs programs;
    std::unique_ptr<Copying> copying =
        {}; // connections of a predecessor; they are in the new flow table, but for the last
};

[[nodiscard]] Result<Loaded> load_data_plane(
    const DataPlaneOptions& options, const PinPaths& paths, const Clock& clock, std::vector<std::string>& warnings);

} // namespace featherlb
