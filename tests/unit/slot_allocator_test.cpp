// SPDX-License-Identifier: Apache-2.0
#include "kernel/slot_allocator.h"

#include <algorithm>
#include <random>
#include <vector>

#include <gtest/gtest.h>

namespace featherlb {
namespace {

using Time = SlotAllocator::Time;
constexpr Time start{};

TEST(SlotAllocator, GivesTheFirstSliceThatFits)
{
    SlotAllocator allocator(160, 16);
    EXPECT_EQ(allocator.allocate(20, start), 0u);
    EXPECT_EQ(allocator.allocate(1, start), 32u);
    EXPECT_EQ(allocator.used(), 48u);
    EXPECT_EQ(allocator.allocate(112, start), 48u);
    EXPECT_FALSE(allocator.allocate(1, start));
    EXPECT_FALSE(allocator.next_free());
}

TEST(SlotAllocator, RefusesNothingAndTooMuch)
{
    SlotAllocator allocator(100, 16); // 96 usable
    EXPECT_FALSE(allocator.allocate(0, start));
    EXPECT_FALSE(allocator.allocate(97, start));
    EXPECT_FALSE(allocator.allocate(0xffffffff, start));
    EXPECT_TRUE(allocator.allocate(96, start));
}

TEST(SlotAllocator, LetsAReleasedSliceRest)
{
    SlotAllocator allocator(64, 16);
    ASSERT_EQ(allocator.allocate(64, start), 0u);
    allocator.release(0, 64, start);
    EXPECT_EQ(allocator.next_free(), start + SlotAllocator::rest);
    EXPECT_FALSE(allocator.allocate(16, start + SlotAllocator::rest - std::chrono::milliseconds(1)));
    EXPECT_EQ(allocator.allocate(16, start + SlotAllocator::rest), 0u);
}

TEST(SlotAllocator, WakesWhatRestsEvenWhenTheRequestCannotBeMet)
{
    SlotAllocator allocator(64, 16);
    ASSERT_TRUE(allocator.allocate(64, start));
    allocator.release(0, 64, start);
    EXPECT_FALSE(allocator.allocate(65, start + SlotAllocator::rest));
    EXPECT_FALSE(allocator.next_free());
}

TEST(SlotAllocator, JoinsFreeNeighbours)
{
    SlotAllocator allocator(64, 16);
    for (int i = 0; i < 4; i++)
        ASSERT_TRUE(allocator.allocate(16, start));
    for (const std::uint32_t offset : {16u, 48u, 0u, 32u})
        allocator.release(offset, 16, start);
    EXPECT_EQ(allocator.allocate(64, start + SlotAllocator::rest), 0u);
}

TEST(SlotAllocator, ReservesWhatWasFoundInUse)
{
    SlotAllocator allocator(160, 16);
    EXPECT_TRUE(allocator.reserve(32, 17));
    EXPECT_FALSE(allocator.reserve(48, 16)); // overlaps
    EXPECT_FALSE(allocator.reserve(24, 1));  // not at a line
    EXPECT_FALSE(allocator.reserve(144, 17));
    EXPECT_FALSE(allocator.reserve(0xfffffff0, 16));
    EXPECT_TRUE(allocator.reserve(144, 16));
    EXPECT_EQ(allocator.allocate(33, start), 64u);
}

TEST(SlotAllocator, NeverGivesTheSameSlotTwice)
{
    SlotAllocator allocator(4096, 16);
    std::mt19937 random(1);
    std::vector<int> owner(4096, 0);
    struct Held {
        std::uint32_t offset, length;
    };
    std::vector<Held> held;
    Time now = start;
    for (int round = 1; round < 20000; round++) {
        now += std::chrono::milliseconds(random() % 300);
        if (held.empty() || random() % 2) {
            const std::uint32_t length = static_cast<std::uint32_t>(1 + random() % 500);
            if (const auto offset = allocator.allocate(length, now)) {
                for (std::uint32_t i = *offset; i < *offset + length; i++) {
                    ASSERT_EQ(owner[i], 0);
                    owner[i] = round;
                }
                held.push_back({*offset, length});
            }
        } else {
            const std::size_t which = random() % held.size();
            std::fill_n(owner.begin() + held[which].offset, held[which].length, 0);
            allocator.release(held[which].offset, held[which].length, now);
            held.erase(held.begin() + static_cast<std::ptrdiff_t>(which));
        }
    }
    for (const auto& slice : held)
        allocator.release(slice.offset, slice.length, now);
    EXPECT_EQ(allocator.used(), 0u);
    EXPECT_EQ(allocator.allocate(4096, now + SlotAllocator::rest), 0u);
}

} // namespace
} // namespace featherlb
