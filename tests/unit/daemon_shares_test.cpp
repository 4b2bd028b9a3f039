// SPDX-License-Identifier: Apache-2.0
// The controller when agents report, backends start slowly, and backups stand in.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "unit/running_controller.h"

namespace featherlb {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::HasSubstr;

std::string service_text(const std::string& more, const std::string& backends)
{
    return "interfaces: [eth0]\nservices:\n  - name: web\n    listen: [\"10.0.0.1:80/tcp\"]\n    backends: [" +
           backends + "]\n    " + more + "\n";
}
const std::string two_hosts = R"({address: "10.0.0.11:80"}, {address: "10.0.0.12:80"})";
const std::string three = two_hosts + R"(, {address: "10.0.0.13:80"})";
const std::string resource = "algorithm: resource-based\n    agent: {port: 9, interval: 1s, hold: 5s}";
const std::string checked = "health: {type: tcp, interval: 1s, timeout: 500ms, rise: 2, fall: 3}";
const std::string in_turn = "algorithm: weighted-round-robin\n    ";

class DaemonShares : public RunningController {
protected:
    // In percent of the slots.
    double part(BackendId id) const
    {
        const auto& slots = plane_.tables.services.at(1).slots;
        return 100.0 * static_cast<double>(std::ranges::count(slots, id)) / static_cast<double>(slots.size());
    }
};

TEST_F(DaemonShares, PartsFollowWhatAgentsReport)
{
    agents_.says = {{"10.0.0.11", "100%"}, {"10.0.0.12", "50%"}, {"10.0.0.13", "50%"}};
    start(service_text(resource, three));
    EXPECT_DOUBLE_EQ(part(1), 50);
    EXPECT_DOUBLE_EQ(part(2), 25);
    agents_.says["10.0.0.12"] = "0%";
    agents_.says["10.0.0.13"] = "100%";
    loop_.advance(1s + 50ms);
    EXPECT_DOUBLE_EQ(part(2), 0);
    EXPECT_DOUBLE_EQ(part(3), 50);
    const BackendStatus idle = backend("10.0.0.12:80");
    EXPECT_EQ(idle.state, "up");
    EXPECT_EQ(idle.agent.state, "reporting");
    EXPECT_EQ(idle.agent.percent, 0);
    EXPECT_EQ(idle.weight_now, 0);
    EXPECT_THAT(format_status(controller_->status()), HasSubstr("agent: 0%"));
    EXPECT_THAT(format_status(controller_->status()), HasSubstr("0 of 1"));
}

TEST_F(DaemonShares, AnAgentThatSaysTheSameChangesNothing)
{
    agents_.says = {{"10.0.0.11", "70%"}, {"10.0.0.12", "50%"}};
    start(service_text(resource, two_hosts));
    const std::size_t before = plane_.applied.size();
    loop_.advance(1min);
    EXPECT_EQ(plane_.applied.size(), before);
}

TEST_F(DaemonShares, DownAndDrainByAgentsAreDownAndDrain)
{
    start(service_text(resource + "\n    on_backend_down: reset\n    drain_timeout: 1m", three));
    agents_.says = {{"10.0.0.11", "stopped # by hand"}, {"10.0.0.12", "maint"}};
    loop_.advance(1s + 50ms);
    EXPECT_DOUBLE_EQ(part(3), 100);
    const BackendStatus down = backend("10.0.0.11:80");
    EXPECT_EQ(down.state, "down");
    EXPECT_EQ(down.reason, "by its agent");
    EXPECT_EQ(down.tcp_fate, "reset") << "on_backend_down";
    EXPECT_EQ(down.agent.word, "stopped");
    EXPECT_EQ(down.agent.reason, "by hand");
    const BackendStatus drained = backend("10.0.0.12:80");
    EXPECT_EQ(drained.state, "draining");
    EXPECT_THAT(drained.reason, HasSubstr("by its agent; its connections end in"));
    EXPECT_EQ(drained.tcp_fate, "");
    EXPECT_THAT(format_status(controller_->status()), HasSubstr("agent: stopped (\"by hand\")"));
    agents_.says = {{"10.0.0.11", "up"}, {"10.0.0.12", "ready"}};
    loop_.advance(1s + 50ms);
    EXPECT_NEAR(part(1), 33.3, 0.1);
    EXPECT_EQ(backend("10.0.0.12:80").state, "up");
}

TEST_F(DaemonShares, ADaemonThatStartsAgainKeepsWhatAgentsTookAway)
{
    start(service_text(resource, three));
    agents_.says = {{"10.0.0.11", "down"}, {"10.0.0.12", "maint"}};
    loop_.advance(2s);
    controller_.reset();
    plane_.was_there = true;
    agents_.refuses = {"10.0.0.11", "10.0.0.12"};
    start(service_text(resource, three));
    loop_.advance(20s);
    EXPECT_DOUBLE_EQ(part(3), 100);
    agents_.refuses.clear();
    agents_.says = {{"10.0.0.11", "50%"}, {"10.0.0.12", "drain"}};
    loop_.advance(3s);
    EXPECT_EQ(backend("10.0.0.11:80").state, "up");
    EXPECT_EQ(backend("10.0.0.12:80").state, "draining");
}

TEST_F(DaemonShares, ASilentAgentIsShownAndItsBackendHasTheAverage)
{
    agents_.says = {{"10.0.0.11", "10%"}, {"10.0.0.12", "60%"}, {"10.0.0.13", "40%"}};
    start(service_text(resource, three));
    agents_.refuses = {"10.0.0.11"};
    loop_.advance(4s);
    EXPECT_NEAR(part(1), 100.0 * 10 / 110, 1);
    loop_.advance(4s);
    EXPECT_NEAR(part(1), 100.0 * 50 / 150, 1);
    EXPECT_EQ(backend("10.0.0.11:80").agent.state, "silent");
    EXPECT_THAT(format_status(controller_->status()), HasSubstr("agent: silent"));
}

TEST_F(DaemonShares, WithoutItsAgentAServiceForgetsWhatItSaid)
{
    agents_.says = {{"10.0.0.11", "down"}, {"10.0.0.12", "10%"}};
    start(service_text(resource, two_hosts));
    reload(service_text("algorithm: weighted-round-robin", two_hosts));
    EXPECT_DOUBLE_EQ(part(1), 50);
    EXPECT_EQ(backend("10.0.0.11:80").state, "up");
    EXPECT_EQ(backend("10.0.0.11:80").agent.state, "");
}

TEST_F(DaemonShares, OneThatComesUpStartsSlowly)
{
    start(service_text(in_turn + checked + "\n    slow_start: 9s", two_hosts));
    EXPECT_DOUBLE_EQ(part(2), 50) << "not at the start of the daemon";
    prober_.fails("10.0.0.12:80");
    loop_.advance(4s);
    EXPECT_DOUBLE_EQ(part(2), 0);
    prober_.answers.clear();
    std::vector<double> parts;
    const std::size_t before = plane_.applied.size();
    for (int i = 0; i < 1000 && (parts.empty() || parts.back() < 50); ++i) {
        loop_.advance(20ms);
        if (parts.empty() || parts.back() != part(2))
            parts.push_back(part(2));
    }
    ASSERT_EQ(parts.size(), 11U) << "nothing, and ten steps";
    for (std::size_t i = 1; i < parts.size(); ++i)
        EXPECT_NEAR(parts[i], 100.0 * static_cast<double>(i) / (static_cast<double>(i) + 10), 0.01);
    EXPECT_EQ(plane_.applied.size() - before, 10U) << "one change of the tables a step";
    EXPECT_EQ(backend("10.0.0.12:80").slow_start_percent, 100U);
}

TEST_F(DaemonShares, StepsTouchOnlyTheServiceConcerned)
{
    const std::string other =
        "  - {name: other, listen: \"10.0.0.1:81/tcp\", algorithm: maglev, backends: [{address: \"10.0.0.14:80\"}]}\n";
    start(service_text("slow_start: 10s", two_hosts) + other);
    reload(service_text("slow_start: 10s", three) + other);
    EXPECT_EQ(backend("10.0.0.13:80").slow_start_percent, 10U);
    EXPECT_THAT(format_status(controller_->status()), HasSubstr("slow start: 10% of its share, 10 s to go"));
    EXPECT_THAT(format_status(controller_->status()), HasSubstr("0.1 of 1"));
    const std::size_t before = plane_.applied.size();
    loop_.advance(10s);
    ASSERT_EQ(plane_.applied.size() - before, 9U);
    for (std::size_t i = before; i < plane_.applied.size(); ++i) {
        ASSERT_EQ(plane_.applied[i].size(), 1U);
        EXPECT_EQ(plane_.applied[i][0].kind, Change::Kind::put_slots);
        EXPECT_EQ(plane_.applied[i][0].id, 1U);
    }
}

TEST_F(DaemonShares, AnEndedDrainAndAnAddedBackendStartSlowlyAndANewServiceDoesNot)
{
    const std::string drained = R"({address: "10.0.0.11:80"}, {address: "10.0.0.12:80", weight: 0})";
    start(service_text(in_turn + "slow_start: 9s", drained));
    reload(service_text(in_turn + "slow_start: 9s", three));
    EXPECT_NEAR(part(2), 100.0 / 12, 0.01);
    EXPECT_NEAR(part(3), 100.0 / 12, 0.01);
    reload(service_text(in_turn + "slow_start: 9s", three) +
           "  - {name: new, listen: \"10.0.0.1:81/tcp\", slow_start: 9s, algorithm: random, backends: [" + two_hosts +
           "]}\n");
    EXPECT_THAT(plane_.tables.services.at(2).slots, ElementsAre(4, 5));
}

TEST_F(DaemonShares, ARestartWithinARampEndsIt)
{
    start(service_text(in_turn + "slow_start: 1h", two_hosts));
    reload(service_text(in_turn + "slow_start: 1h", three));
    EXPECT_NEAR(part(3), 100.0 / 21, 0.01);
    controller_.reset();
    plane_.was_there = true;
    start(service_text(in_turn + "slow_start: 1h", three));
    EXPECT_NEAR(part(3), 33.3, 0.1);
}

TEST_F(DaemonShares, PanicThatEndsStartsNobodySlowly)
{
    start(service_text(in_turn + checked + "\n    slow_start: 1h\n    min_healthy: 60%", two_hosts));
    prober_.fails("10.0.0.12:80");
    loop_.advance(4s);
    EXPECT_DOUBLE_EQ(part(2), 50) << "panic: it is used";
    prober_.answers.clear();
    loop_.advance(4s);
    EXPECT_DOUBLE_EQ(part(2), 50) << "it had its share all the time";
}

TEST_F(DaemonShares, BackupsStandInAndGiveBack)
{
    const std::string backends = R"({address: "10.0.0.11:80"}, {address: "10.0.0.12:80", backup: true})";
    start(service_text(checked, backends));
    EXPECT_EQ(backend("10.0.0.12:80").state, "standby");
    EXPECT_TRUE(backend("10.0.0.12:80").backup);
    EXPECT_FALSE(backend("10.0.0.12:80").used);
    EXPECT_GT(prober_.count("10.0.0.12:80"), 0U) << "it is checked, too";
    prober_.fails("10.0.0.11:80");
    loop_.advance(4s);
    EXPECT_DOUBLE_EQ(part(2), 100);
    EXPECT_EQ(backend("10.0.0.12:80").state, "up");
    EXPECT_TRUE(backend("10.0.0.12:80").used);
    EXPECT_THAT(format_status(controller_->status()), HasSubstr("backup, in use"));
    prober_.answers.clear();
    loop_.advance(4s);
    EXPECT_DOUBLE_EQ(part(1), 100);
    EXPECT_EQ(backend("10.0.0.12:80").state, "standby");
}

// Its old row drains, and that is not the agent's doing.
TEST_F(DaemonShares, ARestartAfterAChangeOfForwardDrainsNobody)
{
    const auto one_way = [](const std::string& more) { return service_text(resource + more, two_hosts); };
    agents_.says = {{"10.0.0.11", "100%"}, {"10.0.0.12", "100%"}};
    start(one_way(""));
    reload(one_way("\n    forward: dsr"));
    loop_.advance(2s);
    agents_.says.clear(); // they are silent from now on
    plane_.was_there = true;
    controller_.reset();
    start(one_way("\n    forward: dsr"));
    EXPECT_FALSE(plane_.tables.services.at(1).slots.empty());
}

} // namespace
} // namespace featherlb
