// SPDX-License-Identifier: Apache-2.0
// Agents with a clock that is turned by hand, and what the daemon makes of them and of slow starts.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "daemon/controller.h"
#include "unit/agent_fakes.h"
#include "unit/daemon_fakes.h"

namespace featherlb {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::IsEmpty;

class AgentsTest : public testing::Test {
protected:
    AgentsTest()
    {
        for (const char* text : {"10.0.0.11:80", "10.0.0.12:80", "10.0.0.13:80"})
            targets[named(text)] = AgentConfig{.port = 9999, .interval = 2s, .timeout = 1s, .hold = 10s, .send = "hi"};
    }
    static BackendKey named(const char* text) { return {"web", *Endpoint::parse(text)}; }
    [[nodiscard]] const AgentState& state(const char* text) const { return *agents.find(named(text)); }

    FakeLoop loop;
    FakeLog log;
    FakeAgents fake{loop};
    int changes = 0;
    Agents agents{loop, log, fake.ask(), [this] { ++changes; }};
    std::map<BackendKey, AgentConfig> targets;
};

TEST_F(AgentsTest, are_asked_at_their_own_port_once_an_interval)
{
    fake.says["10.0.0.11"] = "40%\n";
    agents.watch(targets);
    loop.advance(1s);
    EXPECT_EQ(fake.asked.size(), 3U) << "within a second, however long the interval is";
    EXPECT_EQ(fake.asked.at(0).port, 9999);
    EXPECT_EQ(fake.last_how.send, "hi");
    loop.advance(20s);
    EXPECT_EQ(fake.asked.size(), 33U);
    EXPECT_EQ(state("10.0.0.11:80").percent(), 40U);
}

TEST_F(AgentsTest, that_change_their_mind_are_told_of_once)
{
    fake.says["10.0.0.11"] = "100%";
    agents.watch(targets);
    loop.advance(2s);
    const int before = changes;
    loop.advance(10s);
    EXPECT_EQ(changes, before);
    fake.says["10.0.0.11"] = "down # the disk is full";
    loop.advance(2s);
    EXPECT_EQ(changes, before + 1);
    EXPECT_THAT(agents.down(), ElementsAre(named("10.0.0.11:80")));
    EXPECT_EQ(log.count("warning the agent of 10.0.0.11:80 of web takes it down: \"the disk is full\""), 1U);
    fake.says["10.0.0.11"] = "up maint";
    loop.advance(4s);
    EXPECT_THAT(agents.down(), IsEmpty());
    EXPECT_THAT(agents.drained(), ElementsAre(named("10.0.0.11:80")));
    EXPECT_EQ(log.count("drains it (maint)"), 1U);
}

TEST_F(AgentsTest, that_talk_rubbish_change_nothing_and_are_named_once)
{
    fake.says["10.0.0.11"] = "40%";
    agents.watch(targets);
    loop.advance(2s);
    const int before = changes;
    fake.says["10.0.0.11"] = "very hot";
    loop.advance(6s);
    EXPECT_EQ(changes, before);
    EXPECT_EQ(state("10.0.0.11:80").percent(), 40U);
    EXPECT_EQ(state("10.0.0.11:80").failed(), 3U);
    EXPECT_EQ(log.count("does not report: it says a word that is not known: \"very\""), 1U);
    fake.says["10.0.0.11"] = "45%";
    loop.advance(2s);
    EXPECT_EQ(log.count("10.0.0.11:80 of web reports again"), 1U);
}

TEST_F(AgentsTest, that_are_silent_for_too_long_leave_their_backend_the_average_of_the_others)
{
    fake.says = {{"10.0.0.11", "0%"}, {"10.0.0.12", "40%"}, {"10.0.0.13", "80%"}};
    agents.watch(targets);
    loop.advance(2s);
    EXPECT_EQ(agents.percents().at(named("10.0.0.11:80")), 0U);
    fake.says.erase("10.0.0.11");
    fake.refuses.insert("10.0.0.11");
    loop.advance(7s);
    EXPECT_EQ(agents.percents().at(named("10.0.0.11:80")), 0U) << "it holds";
    EXPECT_FALSE(state("10.0.0.11:80").silent());
    loop.advance(6s);
    EXPECT_TRUE(state("10.0.0.11:80").silent());
    EXPECT_EQ(agents.percents().at(named("10.0.0.11:80")), 60U);
    EXPECT_EQ(log.count("has been silent for 10s"), 1U);
    fake.says["10.0.0.12"] = "down 40%";
    loop.advance(2s);
    EXPECT_EQ(agents.percents().at(named("10.0.0.11:80")), 80U) << "of those that take connections";
}

TEST_F(AgentsTest, that_are_all_silent_leave_all_backends_their_weight)
{
    agents.watch(targets);
    fake.says = {{"10.0.0.11", "10%"}, {"10.0.0.12", "20%"}, {"10.0.0.13", "30%"}};
    loop.advance(2s);
    fake.says.clear();
    fake.mute = {"10.0.0.11", "10.0.0.12", "10.0.0.13"};
    loop.advance(20s);
    EXPECT_THAT(agents.percents(), IsEmpty());
    EXPECT_EQ(log.count("does not report: timeout after 1s, waiting for the end of a line"), 3U);
}

TEST_F(AgentsTest, that_were_not_heard_yet_leave_their_backend_the_average_too)
{
    fake.says = {{"10.0.0.11", "30%"}, {"10.0.0.12", "50%"}};
    fake.mute = {"10.0.0.13"};
    agents.watch(targets);
    loop.advance(2s);
    EXPECT_EQ(agents.percents().at(named("10.0.0.13:80")), 40U);
    fake.says["10.0.0.13"] = "up";
    fake.mute.clear();
    loop.advance(2s);
    EXPECT_FALSE(agents.percents().contains(named("10.0.0.13:80"))) << "it says nothing of percentages: all";
}

TEST_F(AgentsTest, are_not_judged_by_a_daemon_that_was_late_itself)
{
    fake.says["10.0.0.11"] = "40%";
    agents.watch(targets);
    loop.advance(2s);
    fake.mute = {"10.0.0.11", "10.0.0.12", "10.0.0.13"};
    loop.advance(2990ms); // all are being asked
    loop.stall(60s);
    EXPECT_FALSE(state("10.0.0.11:80").silent());
    EXPECT_GE(
        state("10.0.0.11:80").discarded() + state("10.0.0.12:80").discarded() + state("10.0.0.13:80").discarded(), 1U);
}

TEST_F(AgentsTest, of_a_reload_keep_what_is_known_of_them)
{
    fake.says["10.0.0.11"] = "drain 40%";
    agents.watch(targets);
    loop.advance(2s);
    targets.erase(named("10.0.0.12:80"));
    targets[named("10.0.0.11:80")].interval = 4s;
    agents.watch(targets);
    EXPECT_TRUE(state("10.0.0.11:80").drained());
    EXPECT_EQ(state("10.0.0.11:80").percent(), 40U);
    EXPECT_EQ(agents.find(named("10.0.0.12:80")), nullptr);
}

TEST_F(AgentsTest, say_what_is_ignored_once)
{
    fake.says["10.0.0.11"] = "300% maxconn:5";
    agents.watch(targets);
    loop.advance(20s);
    EXPECT_EQ(log.count("maxconn, which is not used here"), 1U);
    EXPECT_EQ(log.count("more than 200%, which counts as 200%"), 1U);
}

} // namespace
} // namespace featherlb
