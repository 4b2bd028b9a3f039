// SPDX-License-Identifier: Apache-2.0
#include "kernel/slot_allocator.h"

#include <iterator>

namespace featherlb {

SlotAllocator::SlotAllocator(std::uint32_t capacity, std::uint32_t grain)
    : grain_(grain), capacity_(capacity / grain * grain)
{
    if (capacity_ > 0)
        free_.emplace(0, capacity_);
}

std::uint32_t SlotAllocator::rounded(std::uint32_t length) const
{
    return (length + grain_ - 1) / grain_ * grain_;
}

std::optional<std::uint32_t> SlotAllocator::allocate(std::uint32_t length, Time now)
{
    wake(now);
    if (length == 0 || length > capacity_)
        return std::nullopt;
    const std::uint32_t wanted = rounded(length);
    for (auto range = free_.begin(); range != free_.end(); ++range) {
        const auto [offset, available] = *range;
        if (available < wanted)
            continue;
        free_.erase(range);
        if (available > wanted)
            free_.emplace(offset + wanted, available - wanted);
        used_ += wanted;
        return offset;
    }
    return std::nullopt;
}

bool SlotAllocator::reserve(std::uint32_t offset, std::uint32_t length)
{
    if (length == 0 || length > capacity_ || offset > capacity_ || offset % grain_ != 0)
        return false;
    const std::uint32_t wanted = rounded(length);
    auto range = free_.upper_bound(offset);
    if (range == free_.begin())
        return false;
    --range;
    const auto [start, available] = *range;
    if (std::uint64_t{offset} + wanted > std::uint64_t{start} + available)
        return false;
    free_.erase(range);
    if (offset > start)
        free_.emplace(start, offset - start);
    if (start + available > offset + wanted)
        free_.emplace(offset + wanted, start + available - offset - wanted);
    used_ += wanted;
    return true;
}

void SlotAllocator::release(std::uint32_t offset, std::uint32_t length, Time now)
{
    if (length == 0)
        return;
    resting_.push_back({now + rest, offset, rounded(length)});
    used_ -= rounded(length);
}

std::optional<SlotAllocator::Time> SlotAllocator::next_free() const
{
    if (resting_.empty())
        return std::nullopt;
    return resting_.front().until;
}

void SlotAllocator::wake(Time now)
{
    while (!resting_.empty() && resting_.front().until <= now) {
        insert_free(resting_.front().offset, resting_.front().length);
        resting_.pop_front();
    }
}

void SlotAllocator::insert_free(std::uint32_t offset, std::uint32_t length)
{
    auto next = free_.lower_bound(offset);
    if (next != free_.end() && offset + length == next->first) {
        length += next->second;
        next = free_.erase(next);
    }
    if (next != free_.begin()) {
        const auto previous = std::prev(next);
        if (previous->first + previous->second == offset) {
            previous->second += length;
            return;
        }
    }
    free_.emplace(offset, length);
}

} // namespace featherlb
