// SPDX-License-Identifier: Apache-2.0
// The planner when backends are down or drain for too long: who gets slots, and what becomes of the connections.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "unit/plan_support.h"

namespace featherlb {
namespace {

using namespace plan_test;
using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::IsEmpty;

class PlanOfFailure : public testing::Test {
protected:
    PlanOfFailure()
    {
        for (const char* text : {"10.0.1.11", "10.0.1.12", "10.0.1.13", "10.0.1.14"})
            world.next_hops[address(text)] = next_hop("10.0.0.1");
        config = config_of({service("web", {listen("203.0.113.10:80")},
            {backend("10.0.1.11:80"), backend("10.0.1.12:80"), backend("10.0.1.13:80"), backend("10.0.1.14:80")})});
    }
    FailureConfig& failure() { return config.services[0].failure; }
    void down(const std::vector<const char*>& backends)
    {
        world.down.clear();
        for (const char* text : backends)
            world.down.insert({"web", endpoint(text)});
    }
    Tables plan()
    {
        auto tables = make_tables(config, world, have, {}, roomy);
        EXPECT_EQ(broken_reference(*tables), "");
        have = *tables;
        return have;
    }
    const BackendRow& row(const Tables& tables, const char* text) { return tables.backends.at(id_of(tables, text)); }

    Config config;
    World world;
    Tables have;
};

TEST_F(PlanOfFailure, one_that_is_down_gets_no_slots_and_keeps_its_place)
{
    const Tables before = plan();
    down({"10.0.1.12:80"});
    const Tables tables = plan();
    EXPECT_THAT(tables.services.at(1).slots, ElementsAre(1, 3, 4));
    const BackendRow& dead = row(tables, "10.0.1.12:80");
    EXPECT_FALSE(dead.up);
    EXPECT_TRUE(dead.down);
    EXPECT_FALSE(dead.draining);
    EXPECT_TRUE(dead.rehash_udp) << "the default for UDP";
    EXPECT_FALSE(dead.reset || dead.rehash_tcp) << "keep, the default for TCP";
    down({});
    EXPECT_EQ(plan(), before);
}

TEST_F(PlanOfFailure, a_maglev_table_is_refilled_in_its_size)
{
    config.services[0].algorithm = Algorithm::maglev;
    const auto before = plan().services.at(1).slots;
    down({"10.0.1.12:80"});
    const auto after = plan().services.at(1).slots;
    ASSERT_EQ(before.size(), after.size());
    for (std::size_t i = 0; i < before.size(); ++i) {
        EXPECT_NE(after[i], 2u);
        if (before[i] != 2) {
            EXPECT_EQ(after[i], before[i]) << "only the slots of the one that is down change hands";
        }
    }
}

TEST_F(PlanOfFailure, health_belongs_to_a_service)
{
    ServiceConfig other = config.services[0];
    other.name = "shop";
    other.listeners = {listen("203.0.113.10:81")};
    config.services.push_back(other);
    down({"10.0.1.12:80"});
    const Tables tables = plan();
    EXPECT_TRUE(tables.backends.at(id_of(tables, "10.0.1.12:80", 1)).down);
    EXPECT_FALSE(tables.backends.at(id_of(tables, "10.0.1.12:80", 2)).down);
}

TEST_F(PlanOfFailure, connections_meet_what_is_configured)
{
    down({"10.0.1.12:80"});
    failure().tcp = BackendDown::reset;
    failure().udp = BackendDown::keep;
    BackendRow dead = row(plan(), "10.0.1.12:80");
    EXPECT_TRUE(dead.reset);
    EXPECT_FALSE(dead.rehash_tcp || dead.rehash_udp);
    failure().tcp = BackendDown::rehash;
    dead = row(plan(), "10.0.1.12:80");
    EXPECT_TRUE(dead.rehash_tcp);
    EXPECT_FALSE(dead.reset);
    EXPECT_FALSE(row(have, "10.0.1.11:80").rehash_tcp) << "of those that are up nothing changes";
}

TEST_F(PlanOfFailure, too_few_up_means_all_are_used)
{
    failure().min_healthy = 30;
    failure().tcp = BackendDown::reset;
    down({"10.0.1.11:80", "10.0.1.12:80"});
    EXPECT_THAT(plan().services.at(1).slots, ElementsAre(3, 4));
    EXPECT_THAT(panicking(have), IsEmpty());
    down({"10.0.1.11:80", "10.0.1.12:80", "10.0.1.13:80"});
    EXPECT_THAT(plan().services.at(1).slots, ElementsAre(1, 2, 3, 4));
    EXPECT_THAT(panicking(have), ElementsAre(1u));
    const BackendRow& used = row(have, "10.0.1.11:80");
    EXPECT_TRUE(used.down && used.up);
    EXPECT_FALSE(used.reset || used.rehash_udp) << "in panic nobody's connections are touched";
    down({"10.0.1.11:80", "10.0.1.12:80"});
    EXPECT_THAT(plan().services.at(1).slots, ElementsAre(3, 4));
    EXPECT_THAT(panicking(have), IsEmpty());
}

TEST_F(PlanOfFailure, exactly_as_many_as_must_be_up_is_no_panic)
{
    failure().min_healthy = 50;
    down({"10.0.1.11:80", "10.0.1.12:80"});
    EXPECT_THAT(panicking(plan()), IsEmpty());
    failure().min_healthy = 51;
    EXPECT_THAT(panicking(plan()), ElementsAre(1u));
}

TEST_F(PlanOfFailure, those_without_weight_do_not_count_for_panic)
{
    failure().min_healthy = 60;
    config.services[0].backends[3].weight = 0;
    down({"10.0.1.11:80"});
    EXPECT_THAT(panicking(plan()), IsEmpty()) << "two of three";
    down({"10.0.1.11:80", "10.0.1.12:80"});
    EXPECT_THAT(plan().services.at(1).slots, ElementsAre(1, 2, 3));
    EXPECT_TRUE(row(have, "10.0.1.14:80").draining);
}

TEST_F(PlanOfFailure, all_down_refuses_where_that_is_configured)
{
    const std::vector<const char*> all{"10.0.1.11:80", "10.0.1.12:80", "10.0.1.13:80", "10.0.1.14:80"};
    down(all);
    EXPECT_THAT(plan().services.at(1).slots, IsEmpty());
    EXPECT_FALSE(have.services.at(1).refuse) << "drop is the default";
    failure().all_down = AllDown::refuse;
    EXPECT_TRUE(plan().services.at(1).refuse);
    failure().min_healthy = 30;
    EXPECT_TRUE(plan().services.at(1).refuse) << "what is said about all goes before panic";
    EXPECT_THAT(panicking(have), IsEmpty());
    failure().all_down.reset();
    EXPECT_THAT(panicking(plan()), ElementsAre(1u));
    failure().all_down = AllDown::refuse;
    down({"10.0.1.11:80", "10.0.1.12:80", "10.0.1.13:80"});
    EXPECT_FALSE(plan().services.at(1).refuse) << "one is up";
    EXPECT_THAT(panicking(have), ElementsAre(1u));
}

TEST_F(PlanOfFailure, a_drain_is_no_failure_until_it_is_overdue)
{
    plan();
    config.services[0].backends.erase(config.services[0].backends.begin());
    config.services[0].backends[0].weight = 0;
    plan();
    for (const char* text : {"10.0.1.11:80", "10.0.1.12:80"}) {
        EXPECT_TRUE(row(have, text).draining);
        EXPECT_FALSE(row(have, text).reset || row(have, text).rehash_udp);
    }
    world.overdue = {1, 2, 3};
    plan();
    for (const char* text : {"10.0.1.11:80", "10.0.1.12:80"})
        EXPECT_TRUE(row(have, text).reset && row(have, text).rehash_udp);
    EXPECT_FALSE(row(have, "10.0.1.13:80").reset) << "it does not drain";
    config.services[0].backends[0].weight = 1;
    world.overdue = {1};
    plan();
    EXPECT_FALSE(row(have, "10.0.1.12:80").reset) << "it takes connections again";
}

TEST_F(PlanOfFailure, one_that_is_down_when_it_is_removed_is_treated_as_before)
{
    failure().tcp = BackendDown::reset;
    down({"10.0.1.11:80"});
    plan();
    config.services[0].backends.erase(config.services[0].backends.begin());
    down({});
    plan();
    EXPECT_TRUE(row(have, "10.0.1.11:80").draining && row(have, "10.0.1.11:80").reset);
}

TEST_F(PlanOfFailure, settings_of_the_data_plane_come_from_the_service)
{
    EXPECT_TRUE(plan().services.at(1).syn_failover);
    EXPECT_EQ(have.services.at(1).avoid_refused, 5s);
    const Tables before = have;
    failure().syn_failover = false;
    failure().avoid_refused = 0s;
    plan();
    EXPECT_FALSE(have.services.at(1).syn_failover);
    EXPECT_EQ(have.services.at(1).avoid_refused, 0s);
    EXPECT_THAT(diff(before, have), ElementsAre(Change{.kind = Change::Kind::put_service, .id = 1, .key = {}}));
}

TEST_F(PlanOfFailure, slots_change_before_the_backend_and_come_back_after_it)
{
    using Kind = Change::Kind;
    failure().tcp = BackendDown::reset;
    const Tables well = plan();
    down({"10.0.1.12:80"});
    const Tables ill = plan();
    EXPECT_THAT(diff(well, ill), ElementsAre(Change{.kind = Kind::put_slots, .id = 1, .key = {}},
                                     Change{.kind = Kind::put_backend, .id = 2, .key = {}}));
    EXPECT_THAT(diff(ill, well), ElementsAre(Change{.kind = Kind::put_backend, .id = 2, .key = {}},
                                     Change{.kind = Kind::put_slots, .id = 1, .key = {}}));
}

} // namespace
} // namespace featherlb
