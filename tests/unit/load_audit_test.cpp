// SPDX-License-Identifier: Apache-2.0
#include "kernel/load_audit.h"

#include <gtest/gtest.h>

#include "kernel/sweeper.h"

namespace featherlb {
namespace {

class LoadAuditTest : public testing::Test {
protected:
    std::vector<LoadCorrection> compare(std::vector<std::uint32_t> open)
    {
        return audit_.compare(loads_, open, [this](std::uint32_t backend) { return begun_.at(backend); });
    }
    std::vector<flb_backend_load> loads_ = std::vector<flb_backend_load>(4);
    std::vector<std::uint64_t> begun_ = std::vector<std::uint64_t>(4);
    LoadAudit audit_;
};

TEST_F(LoadAuditTest, PutsRightWhatIsWrongTwiceWhileNothingHappens)
{
    loads_[1].open = 3;
    loads_[2].open = 5;
    loads_[3].open = 0;
    EXPECT_TRUE(compare({0, 3, 4, 2}).empty());
    EXPECT_EQ(compare({0, 3, 4, 2}), (std::vector<LoadCorrection>{{2, 5, 4}, {3, 0, 2}}));
    EXPECT_EQ(loads_[1].open, 3u);
    EXPECT_EQ(loads_[2].open, 4u);
    EXPECT_EQ(loads_[3].open, 2u);
    EXPECT_TRUE(compare({0, 3, 4, 2}).empty());
}

TEST_F(LoadAuditTest, SaysNothingWhereConnectionsCameAndWentMeanwhile)
{
    loads_[1].open = 5;
    EXPECT_TRUE(compare({0, 4, 0, 0}).empty());
    begun_[1]++; // one began, another one ended
    EXPECT_TRUE(compare({0, 4, 0, 0}).empty());
    loads_[1].open = 4; // one ended
    EXPECT_TRUE(compare({0, 3, 0, 0}).empty());
    EXPECT_TRUE(compare({0, 2, 0, 0}).empty()) << "another difference";
    EXPECT_TRUE(compare({0, 4, 0, 0}).empty()) << "none";
    EXPECT_TRUE(compare({0, 2, 0, 0}).empty()) << "anew";
    EXPECT_EQ(compare({0, 2, 0, 0}).size(), 1u);
}

TEST_F(LoadAuditTest, CountsFromBelowZeroAreErrorsToo)
{
    loads_[1].open = 0xffffffff;
    EXPECT_TRUE(compare({0, 0, 0, 0}).empty());
    EXPECT_EQ(compare({0, 0, 0, 0}), (std::vector<LoadCorrection>{{1, 0xffffffff, 0}}));
}

TEST_F(LoadAuditTest, TheSweeperComparesAfterEachPassAndGivesBackWhatItFrees)
{
    std::vector<flb_set4> sets4(2);
    std::vector<flb_set6> sets6(2);
    std::array<std::uint32_t, FLB_FLOW_STATES> timeouts{};
    timeouts.fill(10);
    const auto put = [&](std::size_t set, flb_flow_state state, std::uint32_t age) {
        sets4[set].way[1].f.ctl =
            std::uint64_t{1} << FLB_CTL_GENERATION_SHIFT | std::uint64_t(state) << FLB_CTL_STATE_SHIFT | age;
        sets4[set].way[1].f.backend = 1;
    };
    put(0, FLB_FLOW_ESTABLISHED, 100);
    put(1, FLB_FLOW_SYN, 89); // expires
    loads_[1].open = 4;
    Sweeper sweeper(sets4, sets6, 4, {}, SweptLoads{.loads = loads_, .begun = [](std::uint32_t) { return 9; }});
    EXPECT_TRUE(sweeper.step(100, 100, timeouts));
    EXPECT_EQ(loads_[1].open, 3u);
    EXPECT_EQ(sweeper.counts().open[1], 1u);
    EXPECT_TRUE(sweeper.counts().corrections.empty());
    EXPECT_TRUE(sweeper.step(100, 100, timeouts));
    EXPECT_EQ(sweeper.counts().corrections, (std::vector<LoadCorrection>{{1, 3, 1}}));
    EXPECT_EQ(loads_[1].open, 1u);
    put(0, FLB_FLOW_CLOSED_CLIENT, 80);
    loads_[1].open = 0;
    EXPECT_TRUE(sweeper.step(100, 100, timeouts));
    EXPECT_EQ(loads_[1].open, 0u) << "one that is closed was not counted any more";
    EXPECT_EQ(sweeper.totals().corrected, 1u);
}

} // namespace
} // namespace featherlb
