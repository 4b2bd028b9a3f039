// SPDX-License-Identifier: Apache-2.0
// SlotAllocator: which slices of one big array are in use. First fit over the free ranges, which are joined again
// when they touch. A slice that was in use rests for a while before it is given away again, because a program that
// began before the directory entry was swapped may still read it. Pure: the time is passed in.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>

namespace featherlb {

class SlotAllocator {
public:
    using Time = std::chrono::steady_clock::time_point;
    static constexpr std::chrono::milliseconds rest{1000};

    // `capacity` and every slice are rounded to multiples of `grain`: slices begin on a cache line.
    explicit SlotAllocator(std::uint32_t capacity = 0, std::uint32_t grain = 1);

    // Offset of a free slice of `length` > 0; nothing where there is no room now.
    [[nodiscard]] std::optional<std::uint32_t> allocate(std::uint32_t length, Time now);
    // Takes a given slice, found in use at start. False where it overlaps another or leaves the array.
    [[nodiscard]] bool reserve(std::uint32_t offset, std::uint32_t length);
    // Gives a slice back; it may be had again after `rest`.
    void release(std::uint32_t offset, std::uint32_t length, Time now);
    // When the next slice that rests becomes free.
    [[nodiscard]] std::optional<Time> next_free() const;
    [[nodiscard]] std::uint64_t used() const { return used_; } // slices that rest not included

private:
    struct Resting {
        Time until;
        std::uint32_t offset = 0;
        std::uint32_t length = 0;
    };
    std::uint32_t grain_;
    std::uint32_t capacity_;
    std::uint64_t used_ = 0;
    std::map<std::uint32_t, std::uint32_t> free_; // offset -> length, none touching the next
    std::deque<Resting> resting_;                 // by `until`

    [[nodiscard]] std::uint32_t rounded(std::uint32_t length) const;
    void insert_free(std::uint32_t offset, std::uint32_t length);
    void wake(Time now);
};

} // namespace featherlb
