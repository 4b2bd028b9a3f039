// SPDX-License-Identifier: Apache-2.0
// The planner when a service has backups, drained backends, and backends with a share of their weight only.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "unit/plan_support.h"

namespace featherlb {
namespace {

using namespace plan_test;
using testing::ElementsAre;
using testing::IsEmpty;

// 1 and 2 are used, 3 and 4 stand in.
class PlanOfBackups : public testing::Test {
protected:
    PlanOfBackups()
    {
        for (const char* text : {"10.0.1.11", "10.0.1.12", "10.0.1.13", "10.0.1.14"})
            world.next_hops[address(text)] = next_hop("10.0.0.1");
        config = config_of({service("web", {listen("203.0.113.10:80")},
            {backend("10.0.1.11:80"), backend("10.0.1.12:80"), backend("10.0.1.13:80"), backend("10.0.1.14:80")})});
        web().backends[2].backup = web().backends[3].backup = true;
    }
    ServiceConfig& web() { return config.services[0]; }
    static BackendKey named(const char* text) { return {"web", endpoint(text)}; }
    Tables plan()
    {
        auto tables = make_tables(config, world, have, {}, roomy);
        EXPECT_EQ(broken_reference(*tables), "");
        have = *tables;
        return have;
    }
    std::vector<BackendId> slots() { return plan().services.at(1).slots.ids(); }

    Config config;
    World world;
    Tables have;
};

TEST_F(PlanOfBackups, they_are_used_when_no_other_is_up_and_share_by_the_algorithm)
{
    EXPECT_THAT(slots(), ElementsAre(1, 2));
    EXPECT_FALSE(have.backends.at(3).up) << "clients with affinity do not stay there either";
    world.down = {named("10.0.1.11:80")};
    EXPECT_THAT(slots(), ElementsAre(2));
    world.down.insert(named("10.0.1.12:80"));
    EXPECT_THAT(slots(), ElementsAre(3, 4));
    EXPECT_TRUE(have.backends.at(3).up);
    world.down = {named("10.0.1.12:80")};
    EXPECT_THAT(slots(), ElementsAre(1));
    EXPECT_FALSE(have.backends.at(3).up);
    EXPECT_FALSE(have.backends.at(3).reset || have.backends.at(3).draining) << "it keeps the connections that it has";
}

TEST_F(PlanOfBackups, one_that_is_down_does_not_stand_in)
{
    world.down = {named("10.0.1.11:80"), named("10.0.1.12:80"), named("10.0.1.13:80")};
    EXPECT_THAT(slots(), ElementsAre(4));
    world.down.insert(named("10.0.1.14:80"));
    EXPECT_THAT(slots(), IsEmpty());
}

TEST_F(PlanOfBackups, weight_zero_a_drain_no_next_hop_and_no_percent_are_all_as_if_down)
{
    web().algorithm = Algorithm::resource_based;
    web().sharing.agent = AgentConfig{.port = 9, .send = ""};
    web().backends[0].weight = 0;
    EXPECT_THAT(slots(), ElementsAre(2));
    world.drained = {named("10.0.1.12:80")};
    EXPECT_THAT(slots(), ElementsAre(3, 4));
    EXPECT_TRUE(have.backends.at(2).draining);
    world.drained.clear();
    world.percents[named("10.0.1.12:80")] = 0;
    EXPECT_THAT(slots(), ElementsAre(3, 4));
    EXPECT_TRUE(have.backends.at(2).up) << "it drains nothing, and clients with affinity stay";
    world.percents.clear();
    world.next_hops[address("10.0.1.12")].hop = {};
    EXPECT_THAT(slots(), ElementsAre(3, 4));
    world.next_hops[address("10.0.1.13")].hop = {};
    world.next_hops[address("10.0.1.14")].hop = {};
    EXPECT_THAT(slots(), ElementsAre(2)) << "nobody can be reached: those that should be used are waited for";
}

TEST_F(PlanOfBackups, all_at_no_percent_share_by_their_weights)
{
    web().algorithm = Algorithm::resource_based;
    web().sharing.agent = AgentConfig{.port = 9, .send = ""};
    web().backends[0].weight = 2;
    for (const char* text : {"10.0.1.11:80", "10.0.1.12:80", "10.0.1.13:80", "10.0.1.14:80"})
        world.percents[named(text)] = 0;
    EXPECT_THAT(slots(), ElementsAre(1, 2, 1));
    world.percents.erase(named("10.0.1.14:80"));
    EXPECT_THAT(slots(), ElementsAre(4)) << "a backup that has something to give goes first";
}

TEST_F(PlanOfBackups, panic_is_judged_without_them)
{
    web().failure.min_healthy = 60;
    world.down = {named("10.0.1.11:80")};
    EXPECT_THAT(slots(), ElementsAre(1, 2)) << "one of two is up, and three of four would be no panic";
    EXPECT_THAT(panicking(have), ElementsAre(1));
    world.down.insert(named("10.0.1.12:80"));
    EXPECT_THAT(slots(), ElementsAre(3, 4)) << "a backup is better than what is probably dead";
    EXPECT_THAT(panicking(have), IsEmpty());
    world.down.insert({named("10.0.1.13:80"), named("10.0.1.14:80")});
    EXPECT_THAT(slots(), ElementsAre(1, 2));
    EXPECT_THAT(panicking(have), ElementsAre(1));
}

TEST_F(PlanOfBackups, refusing_is_for_when_none_of_them_is_left_either)
{
    web().failure.all_down = AllDown::refuse;
    world.down = {named("10.0.1.11:80"), named("10.0.1.12:80")};
    EXPECT_FALSE(plan().services.at(1).refuse);
    world.down.insert({named("10.0.1.13:80"), named("10.0.1.14:80")});
    EXPECT_TRUE(plan().services.at(1).refuse);
}

TEST_F(PlanOfBackups, the_others_have_the_table_that_they_would_have_without_them)
{
    web().algorithm = Algorithm::maglev;
    const auto with = slots();
    web().backends.resize(2);
    have = {};
    EXPECT_EQ(slots(), with);
}

TEST_F(PlanOfBackups, in_an_ip_version_that_has_nothing_else_they_are_ordinary)
{
    world.next_hops[address("fd00::11")] = next_hop("fd00::1");
    web().listeners.push_back(listen("[2001:db8::10]:80"));
    web().backends.push_back(backend("[fd00::11]:80"));
    web().backends.back().backup = true;
    plan();
    EXPECT_THAT(have.services.at(2).slots, ElementsAre(5));
    EXPECT_THAT(have.services.at(1).slots, ElementsAre(1, 2));
}

TEST_F(PlanOfBackups, a_backend_that_drains_by_its_agent_is_no_failure)
{
    web().sharing.agent = AgentConfig{.port = 9, .send = ""};
    web().algorithm = Algorithm::weighted_round_robin;
    web().failure.min_healthy = 100;
    world.drained = {named("10.0.1.11:80")};
    EXPECT_THAT(slots(), ElementsAre(2));
    EXPECT_THAT(panicking(have), IsEmpty());
}

TEST_F(PlanOfBackups, what_agents_said_does_not_count_where_there_are_none)
{
    world.drained = {named("10.0.1.11:80")};
    world.percents[named("10.0.1.12:80")] = 0;
    web().algorithm = Algorithm::weighted_round_robin;
    EXPECT_THAT(slots(), ElementsAre(1, 2));
}

TEST_F(PlanOfBackups, weights_now_are_in_hundredths)
{
    web().algorithm = Algorithm::resource_based;
    web().sharing = {.slow_start = std::chrono::seconds(30), .agent = AgentConfig{.port = 9, .send = ""}};
    web().backends[0].weight = 3;
    world.percents = {{named("10.0.1.11:80"), 50}, {named("10.0.1.12:80"), 1}, {named("10.0.1.13:80"), 0}};
    world.ramps = {{named("10.0.1.11:80"), 10}, {named("10.0.1.12:80"), 10}};
    plan();
    EXPECT_EQ(have.backends.at(1).weight, 15U);
    EXPECT_EQ(have.backends.at(2).weight, 1U) << "little, but not nothing";
    EXPECT_EQ(have.backends.at(3).weight, 0U);
    EXPECT_EQ(have.backends.at(4).weight, 100U);
}

TEST_F(PlanOfBackups, room_is_kept_for_whatever_may_be_used)
{
    web().algorithm = Algorithm::maglev;
    const Limits tight{.services = 10, .backends = 10, .slots = 1024, .prefixes = 10};
    EXPECT_TRUE(make_tables(config, world, {}, {}, tight));
    web().backends[2].weight = 1000; // the backups would have a larger table
    EXPECT_FALSE(make_tables(config, world, {}, {}, tight)) << "refused now, and not when the others fail";
}

} // namespace
} // namespace featherlb
