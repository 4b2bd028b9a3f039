// SPDX-License-Identifier: Apache-2.0
#include "kernel/slot_bounds.h"

#include <algorithm>
#include <atomic>

namespace featherlb {

void SlotBounds::reset(std::uint32_t chunk) const
{
    if (chunk / FLB_CHUNKS_BOUNDED >= bounds_.size())
        return;
    const std::atomic_ref<__u64> word(bounds_[chunk / FLB_CHUNKS_BOUNDED].chunk[chunk % FLB_CHUNKS_BOUNDED]);
    word.fetch_add(FLB_BOUND_VERSION);
    word.fetch_and(FLB_BOUND_VERSIONS);
}

void SlotBounds::lowered(std::uint32_t backend) const
{
    if (backend >= chunks_.size())
        return;
    if (const auto chunk = static_cast<std::uint32_t>(std::atomic_ref(chunks_[backend]).load()); chunk != 0)
        reset(chunk - 1);
}

void SlotBounds::place(std::uint32_t first, std::span<const std::uint32_t> backends) const
{
    const auto length = static_cast<std::uint32_t>(backends.size());
    if (length == 0)
        return;
    const std::uint32_t last = (first + length - 1) / FLB_SLOTS_PER_CHUNK;
    const bool one = first / FLB_SLOTS_PER_CHUNK == last;
    for (std::uint32_t i = 0; i < length; i++)
        if (backends[i] < chunks_.size())
            std::atomic_ref(chunks_[backends[i]]).store(one ? 0 : (first + i) / FLB_SLOTS_PER_CHUNK + 1);
    for (std::uint32_t chunk = first / FLB_SLOTS_PER_CHUNK; chunk <= last; chunk++)
        reset(chunk);
}

} // namespace featherlb
