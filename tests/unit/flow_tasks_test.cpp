// SPDX-License-Identifier: Apache-2.0
// Lists and kills in steps between other events, and who is woken after a kill.
#include "daemon/flow_tasks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernel/wake_frames.h"
#include "unit/daemon_fakes.h"
#include "unit/flow_tables.h"

namespace featherlb {
namespace {

using namespace std::chrono_literals;

struct Frames {
    std::vector<FrameBytes> sent;
    bool fails = false;
};
class FakeSender : public FrameSender {
public:
    explicit FakeSender(Frames& frames) : frames_(frames) {}
    Result<void> send(std::uint32_t, std::span<const std::uint8_t> frame) override
    {
        if (frames_.fails)
            return fail("the queue is full");
        frames_.sent.emplace_back(frame.begin(), frame.end());
        return {};
    }

private:
    Frames& frames_;
};

class FlowTasksTest : public testing::Test {
protected:
    void fill(std::size_t sets, std::size_t connections, std::uint32_t pair = 0)
    {
        FlowTables table(sets);
        for (std::size_t i = 0; i < connections; i++)
            table.put4(i / 4, i % 4, {.port = static_cast<std::uint16_t>(i), .pair = pair});
        plane_.sets4 = table.sets4;
        plane_.sets6 = table.sets6;
    }
    std::uint16_t port_of(const FrameBytes& frame) const // destination, IPv4
    {
        return static_cast<std::uint16_t>(frame.at(36) << 8 | frame.at(37));
    }
    FlowTasks make(bool may_send = true)
    {
        return {loop_, plane_, log_,
            [this, may_send]() -> Result<std::unique_ptr<FrameSender>> {
                if (!may_send)
                    return fail("no packet socket: CAP_NET_RAW is missing");
                return std::make_unique<FakeSender>(frames_);
            },
            [](BackendId) {
                return flb_hop{.mac = {2, 0, 0, 0, 0, 3}, .link = 2, .vlan = {}};
            }};
    }

    FakeLoop loop_;
    FakeLog log_;
    FakePlane plane_;
    Frames frames_;
};

TEST_F(FlowTasksTest, AListComesInPartsAndLeavesTheLoopBetweenThem)
{
    fill(16384, 20000);
    FlowTasks tasks = make();
    std::size_t found = 0;
    int parts = 0;
    int done = 0;
    int between = 0;
    tasks.list(
        {},
        [&](const std::vector<Flow>& flows) {
            found += flows.size();
            parts++;
        },
        [&](const Result<void>& how) { done += how ? 1 : 100; });
    EXPECT_EQ(parts, 0) << "not in the call";
    for (int i = 0; i < 100 && done == 0; i++) {
        loop_.advance(1ms);
        between += done == 0 ? 1 : 0;
    }
    EXPECT_EQ(done, 1);
    EXPECT_EQ(found, 20000u);
    EXPECT_GE(parts, 9) << "16,384 sets of each IP version";
    EXPECT_GE(between, 7);
}

TEST_F(FlowTasksTest, TasksAreDoneInTheirOrder)
{
    fill(8, 5);
    FlowTasks tasks = make();
    std::vector<std::string> order;
    tasks.list(
        {}, [&](const auto& flows) { order.push_back("found " + std::to_string(flows.size())); },
        [&](const auto&) { order.emplace_back("listed"); });
    tasks.kill({}, [&](const auto& outcome) { order.push_back("killed " + std::to_string(outcome->killed)); });
    tasks.list(
        {.states = 1u << FLB_FLOW_KILLED},
        [&](const auto& flows) { order.push_back("found " + std::to_string(flows.size())); },
        [&](const auto&) { order.emplace_back("listed"); });
    loop_.advance(100ms);
    EXPECT_THAT(order, testing::ElementsAre("found 5", "listed", "killed 5", "found 5", "listed"));
    EXPECT_EQ(log_.count("5 connections are ended by command"), 1u);
}

TEST_F(FlowTasksTest, AFailureIsTold)
{
    fill(8, 5);
    plane_.table_failure = "no clock";
    FlowTasks tasks = make();
    std::string failure;
    tasks.list(
        {}, [](const auto&) {}, [&](const Result<void>& how) { failure = how.error().message; });
    loop_.advance(100ms);
    EXPECT_EQ(failure, "no clock");
}

TEST_F(FlowTasksTest, BothSidesAreWokenAtOnceAndASecondLater)
{
    fill(8, 3);
    FlowTasks tasks = make();
    tasks.kill({}, [](const auto& outcome) { EXPECT_EQ(outcome->warning, ""); });
    loop_.advance(500ms);
    ASSERT_EQ(frames_.sent.size(), 3u * 4) << "two frames for each side";
    EXPECT_EQ(port_of(frames_.sent[0]), 0) << "the first client's port";
    EXPECT_EQ(port_of(frames_.sent[2]), 8080) << "its backend's";
    EXPECT_EQ(frames_.sent[2][5], 3) << "by the backend's hop";
    loop_.advance(10s);
    EXPECT_EQ(frames_.sent.size(), 2 * 3u * 4);
}

TEST_F(FlowTasksTest, OneWayOnlyTheClientIs)
{
    fill(8, 3, FLB_NO_PAIR);
    FlowTasks tasks = make();
    tasks.kill({}, [](const auto&) {});
    loop_.advance(500ms);
    EXPECT_EQ(frames_.sent.size(), 3u * 2);
}

TEST_F(FlowTasksTest, ManyAreWokenInTurns)
{
    fill(512, 1000);
    FlowTasks tasks = make();
    tasks.kill({}, [](const auto&) {});
    loop_.advance(30ms);
    EXPECT_LT(frames_.sent.size(), 2000u);
    loop_.advance(500ms);
    EXPECT_EQ(frames_.sent.size(), 4000u);
}

TEST_F(FlowTasksTest, WithoutTheCapabilityItIsSaid)
{
    fill(8, 3);
    FlowTasks tasks = make(false);
    std::string warning;
    tasks.kill({}, [&](const auto& outcome) { warning = outcome->warning; });
    loop_.advance(500ms);
    EXPECT_THAT(warning, testing::HasSubstr("CAP_NET_RAW"));
}

TEST_F(FlowTasksTest, AFrameThatCannotBeSentIsLoggedOnceAPass)
{
    fill(8, 3);
    frames_.fails = true;
    FlowTasks tasks = make();
    tasks.kill({}, [](const auto&) {});
    loop_.advance(500ms);
    EXPECT_EQ(log_.count("the queue is full"), 1u);
}

} // namespace
} // namespace featherlb
