// SPDX-License-Identifier: Apache-2.0
#include "kernel/sweeper.h"

#include <atomic>
#include <thread>

#include <gtest/gtest.h>

namespace featherlb {
namespace {

constexpr std::uint32_t now = 5; // soon after the counter wrapped

std::uint64_t control(flb_flow_state state, std::uint32_t age, std::uint32_t generation = 1, std::uint64_t bits = 0)
{
    return std::uint64_t{generation} << FLB_CTL_GENERATION_SHIFT | bits | std::uint64_t(state) << FLB_CTL_STATE_SHIFT |
           age;
}

flb_flow flow(std::uint64_t ctl, std::uint32_t backend, std::uint32_t pair = 0, std::uint32_t aux = 0)
{
    flb_flow result{};
    result.ctl = ctl;
    result.backend = backend;
    result.pair = pair;
    result.aux = aux;
    return result;
}

class SweeperTest : public testing::Test {
protected:
    void SetUp() override
    {
        for (auto& timeout : timeouts_)
            timeout = 10;
        timeouts_[FLB_FLOW_ESTABLISHED] = 1000;
    }

    bool sweep(std::uint32_t sets = 100) { return sweeper_.step(sets, now, timeouts_); }
    std::uint32_t state(std::size_t set, std::size_t way) const
    {
        return static_cast<std::uint32_t>(sets4_[set].way[way].f.ctl >> FLB_CTL_STATE_SHIFT) & 0x7f;
    }

    std::vector<flb_set4> sets4_ = std::vector<flb_set4>(4);
    std::vector<flb_set6> sets6_ = std::vector<flb_set6>(4);
    std::array<std::uint32_t, FLB_FLOW_STATES> timeouts_{};
    Sweeper sweeper_{sets4_, sets6_, 8};
};

TEST_F(SweeperTest, FreesTheExpiredAndKeepsGenerationAndMark)
{
    sets4_[0].way[0].f.ctl = control(FLB_FLOW_SYN, now - 11, 7, FLB_CTL_MARK);
    sets4_[0].way[1].f.ctl = control(FLB_FLOW_SYN, now - 10);
    sets4_[0].way[2].f.ctl = control(FLB_FLOW_ESTABLISHED, now - 900);
    sets6_[3].way[3].f.ctl = control(FLB_FLOW_CLOSED_CLIENT, now - 11);
    EXPECT_TRUE(sweep());
    EXPECT_EQ(sets4_[0].way[0].f.ctl, control(FLB_FLOW_EMPTY, 0, 7, FLB_CTL_MARK));
    EXPECT_EQ(state(0, 1), FLB_FLOW_SYN);
    EXPECT_EQ(state(0, 2), FLB_FLOW_ESTABLISHED);
    EXPECT_EQ(sets6_[3].way[3].f.ctl, control(FLB_FLOW_EMPTY, 0));
    EXPECT_EQ(sweeper_.totals().expired, 2u);
    EXPECT_EQ(sweeper_.counts().connections, 2u);
}

TEST_F(SweeperTest, TakesAnAgeAheadOfOurClockForNow)
{
    sets4_[1].way[1].f.ctl = control(FLB_FLOW_SYN, now + 2);
    sweep();
    EXPECT_EQ(state(1, 1), FLB_FLOW_SYN);
}

TEST_F(SweeperTest, FreesAReplyWhoseOwnerIsGoneOrAnother)
{
    const auto reply = [&](std::size_t way, std::uint32_t pair, std::uint32_t generation, std::uint32_t age) {
        sets4_[2].way[way].f = flow(control(FLB_FLOW_REPLY, age), 1, pair, generation);
    };
    sets4_[0].way[1].f.ctl = control(FLB_FLOW_ESTABLISHED, now, 3);
    reply(0, 1, 3, now - 5); // its owner lives
    reply(1, 1, 2, now - 5); // replaced
    reply(2, 2, 1, now - 5); // empty
    reply(3, 2, 1, now - 1); // empty, but young: may be about to be published
    EXPECT_TRUE(sweep());
    EXPECT_EQ(state(2, 0), FLB_FLOW_REPLY);
    EXPECT_EQ(state(2, 1), FLB_FLOW_EMPTY);
    EXPECT_EQ(state(2, 2), FLB_FLOW_EMPTY);
    EXPECT_EQ(state(2, 3), FLB_FLOW_REPLY);
    EXPECT_EQ(sweeper_.totals().orphans, 2u);
}

TEST_F(SweeperTest, KeepsAReplyWhoseOwnerIsBeingPublishedAndFreesOneThatPointsOutside)
{
    sets4_[0].way[0].f.ctl = control(FLB_FLOW_BUSY, now, 9);
    sets4_[1].way[0].f = flow(control(FLB_FLOW_REPLY_NEW, now - 5), 1, 0, 9);
    sets4_[1].way[1].f = flow(control(FLB_FLOW_REPLY, now - 5), 1, 4 * FLB_WAYS, 9);
    sweep();
    EXPECT_EQ(state(1, 0), FLB_FLOW_REPLY_NEW);
    EXPECT_EQ(state(1, 1), FLB_FLOW_EMPTY);
}

TEST_F(SweeperTest, LeavesBusyEntriesAndLockedSetsAlone)
{
    sets4_[0].way[1].f.ctl = control(FLB_FLOW_BUSY, now - 100);
    sets4_[1].way[0].f.ctl = control(FLB_FLOW_EMPTY, 0, 1, FLB_CTL_LOCK);
    sets4_[1].way[2].f.ctl = control(FLB_FLOW_SYN, now - 100);
    sweep();
    EXPECT_EQ(state(0, 1), FLB_FLOW_BUSY);
    EXPECT_EQ(state(1, 2), FLB_FLOW_SYN);
}

TEST_F(SweeperTest, IsIdleOnceAPassFoundNothingAndUntilAConnectionBegins)
{
    std::vector<flb_backend_load> loads(3);
    Sweeper sweeper(sets4_, sets6_, 3, {}, SweptLoads{.loads = loads});
    const auto step = [&](std::uint32_t sets) { return sweeper.step(sets, now, timeouts_); };
    EXPECT_FALSE(sweeper.idle()) << "nobody has looked yet";
    EXPECT_TRUE(step(100));
    EXPECT_TRUE(sweeper.idle());
    loads[2].open = 1;
    EXPECT_FALSE(sweeper.idle()) << "at once, not after the next pass";
    loads[2].open = 0;
    sets4_[1].way[0].f = flow(control(FLB_FLOW_CLOSED_CLIENT, now), 2);
    EXPECT_TRUE(sweeper.idle()) << "it has not been seen";
    EXPECT_FALSE(step(2));
    EXPECT_FALSE(sweeper.idle());
    EXPECT_TRUE(step(100));
    EXPECT_FALSE(sweeper.idle());
    sets4_[1].way[0].f = {};
    EXPECT_TRUE(step(100));
    EXPECT_TRUE(sweeper.idle());
}

TEST_F(SweeperTest, CountsByStateAndBackendOverAWholePass)
{
    sets4_[0].way[0].f = flow(control(FLB_FLOW_ESTABLISHED, now), 3);
    sets4_[3].way[0].f = flow(control(FLB_FLOW_REPLY, now), 3);
    sets6_[0].way[0].f = flow(control(FLB_FLOW_UDP_STREAM, now), 5);
    sets6_[1].way[0].f = flow(control(FLB_FLOW_SYN, now), 99); // damaged: no such backend
    for (int i = 0; i < 7; i++) {
        EXPECT_FALSE(sweep(1));
        EXPECT_EQ(sweeper_.counts().pass, 0u);
    }
    EXPECT_TRUE(sweep(1));
    const auto& counts = sweeper_.counts();
    EXPECT_EQ(counts.pass, 1u);
    EXPECT_EQ(counts.connections, 3u);
    EXPECT_EQ(counts.by_backend[3], 1u);
    EXPECT_EQ(counts.references[3], 2u);
    EXPECT_EQ(counts.by_backend[5], 1u);
    EXPECT_EQ(counts.by_state[FLB_FLOW_REPLY], 1u);
    EXPECT_TRUE(sweep());
    EXPECT_EQ(sweeper_.counts().pass, 2u);
    EXPECT_EQ(sweeper_.counts().connections, 3u);
}

TEST_F(SweeperTest, GivesBackACountedOwnerOnceWithItsBackendAndClient)
{
    std::vector<std::pair<std::uint32_t, std::uint64_t>> given;
    Sweeper sweeper(
        sets4_, sets6_, 8, [&](std::uint32_t backend, std::uint64_t client) { given.emplace_back(backend, client); });
    sets4_[0].way[0].f = flow(control(FLB_FLOW_UDP_STREAM, now - 11, 1, FLB_CTL_COUNTED), 3);
    sets4_[0].way[0].key.saddr = 0x0506070a;
    sets4_[1].way[0].f = flow(control(FLB_FLOW_UDP_STREAM, now - 11, 1), 3);
    sets4_[2].way[0].f = flow(control(FLB_FLOW_UDP_STREAM, now - 10, 1, FLB_CTL_COUNTED), 3);
    sets6_[0].way[1].f = flow(control(FLB_FLOW_RESET, now - 11, 1, FLB_CTL_COUNTED), 5);
    sets6_[0].way[1].key.saddr.bytes[7] = 1;
    sets6_[0].way[1].key.saddr.bytes[8] = 9;
    for (int pass = 0; pass < 2; pass++)
        EXPECT_TRUE(sweeper.step(100, now, timeouts_));
    EXPECT_EQ(given, (std::vector<std::pair<std::uint32_t, std::uint64_t>>{{3, 0x0506070a}, {5, 1ULL << 56}}));
    EXPECT_EQ(sets4_[0].way[0].f.ctl, control(FLB_FLOW_EMPTY, 0, 1)) << "the mark goes with it";
}

TEST_F(SweeperTest, NeverFreesAnEntryThatAnotherThreadTouches)
{
    // A program touches an entry that is about to expire: either its touch comes first and the entry lives, or the
    // entry is freed and the touch fails. Both must agree on which it was.
    auto& word = sets4_[0].way[1].f.ctl;
    std::uint64_t touches_won = 0;
    for (std::uint32_t round = 0; round < 2000; round++) {
        std::atomic_ref<__u64>(word).store(control(FLB_FLOW_SYN, now - 11, round));
        const auto freed_before = sweeper_.totals().expired;
        bool touched = false;
        std::thread toucher([&] {
            __u64 expected = control(FLB_FLOW_SYN, now - 11, round);
            touched = std::atomic_ref<__u64>(word).compare_exchange_strong(expected, control(FLB_FLOW_SYN, now, round));
        });
        sweep();
        toucher.join();
        const bool freed = sweeper_.totals().expired != freed_before;
        ASSERT_NE(touched, freed);
        ASSERT_EQ(state(0, 1), touched ? FLB_FLOW_SYN : FLB_FLOW_EMPTY);
        touches_won += touched;
    }
    RecordProperty("touches_won", static_cast<int>(touches_won));
}

} // namespace
} // namespace featherlb
