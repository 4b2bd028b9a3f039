// SPDX-License-Identifier: Apache-2.0
// SlotBounds: the daemon's side of bpf/bounds.h. It only ever sets a bound to 0: the next pick that comes by finds out
// what it is.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "featherlb/bounds.h"

namespace featherlb {

class SlotBounds {
public:
    SlotBounds() = default; // no backend has one
    // The maps `slot_bounds` and `backend_chunks`.
    SlotBounds(std::span<flb_slot_bounds> bounds, std::span<std::uint64_t> chunks) : bounds_(bounds), chunks_(chunks) {}

    // A backend has, or may have, less to do for its weight than a moment ago. After its count or weight was written.
    void lowered(std::uint32_t backend) const;
    // The slots from `first` on are these backends, each once; before the slots are published. What is said of a
    // backend that leaves its slot stays: it lowers bounds that nobody asks, or in vain.
    void place(std::uint32_t first, std::span<const std::uint32_t> backends) const;

private:
    std::span<flb_slot_bounds> bounds_;
    std::span<std::uint64_t> chunks_; // by backend id

    void reset(std::uint32_t chunk) const;
};

} // namespace featherlb
