// SPDX-License-Identifier: Apache-2.0
// A plan for some services gives what a plan for all would give, or says that one is needed.
#include <random>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "plan/partial.h"
#include "unit/plan_support.h"

namespace featherlb {
namespace {

using namespace plan_test;
using ::testing::Each;
using ::testing::Field;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr int services = 6;

Config many()
{
    std::vector<ServiceConfig> all;
    for (int i = 0; i < services; ++i) {
        std::vector<BackendConfig> backends;
        for (int k = 0; k < 3; ++k)
            backends.push_back(backend(fmt::format("10.0.1.{}:{}", 11 + k, 100 + i)));
        all.push_back(service(fmt::format("s{}", i), {listen(fmt::format("203.0.113.10:{}", 80 + i))},
            std::move(backends), i % 2 == 0 ? Forward::snat : Forward::dnat, Algorithm::maglev));
        all.back().failure.min_healthy = i < 3 ? 50 : 0;
        all.back().failure.all_down = i == 5 ? std::optional(AllDown::refuse) : std::nullopt;
    }
    return config_of(std::move(all));
}

World world()
{
    World world;
    world.local_addresses = {address("10.0.0.1")};
    for (int k = 0; k < 3; ++k)
        world.next_hops[address(fmt::format("10.0.1.{}", 11 + k))] = next_hop("10.0.0.1");
    return world;
}

Tables whole(const Config& config, const World& world, const Tables& have = {})
{
    return make_tables(config, world, have, {}, roomy).value();
}

std::optional<PartialPlan> partial(
    const Config& config, const World& world, const Tables& have, const ServiceNames& names)
{
    return make_partial_plan(config, world, part_of(have, names), {}, roomy, names).value();
}

TEST(PartialPlan, gives_what_a_plan_for_all_would_give)
{
    const Config config = many();
    World here = world();
    Tables have = whole(config, here);
    std::mt19937 random(5);
    std::size_t changes = 0;
    for (int round = 0; round < 300; ++round) {
        ServiceNames names;
        for (unsigned i = 0; i <= random() % 2; ++i) {
            const auto number = static_cast<unsigned>(random() % services);
            const BackendKey key{
                fmt::format("s{}", number), endpoint(fmt::format("10.0.1.{}:{}", 11 + random() % 3, 100 + number))};
            names.insert(key.service);
            if (!here.down.erase(key))
                here.down.insert(key);
        }
        const Tables want = whole(config, here, have);
        const auto plan = partial(config, here, have, names);
        ASSERT_TRUE(plan.has_value());
        changes += plan->changes.size();
        carry_over(*plan, have);
        ASSERT_EQ(have, want);
        ASSERT_EQ(diff(have, want), std::vector<Change>{});
    }
    EXPECT_GT(changes, 300u);
}

TEST(PartialPlan, of_a_service_that_is_as_it_was_changes_nothing)
{
    const Tables have = whole(many(), world());
    EXPECT_THAT(partial(many(), world(), have, {"s1", "s2"})->changes, IsEmpty());
}

TEST(PartialPlan, has_the_rows_of_its_services_only)
{
    const Tables part = part_of(whole(many(), world()), {"s1", "no such service"});
    EXPECT_THAT(part.services, SizeIs(1));
    EXPECT_THAT(part.backends, SizeIs(3));
    EXPECT_THAT(part.listeners, SizeIs(1));
    EXPECT_THAT(part.sources, SizeIs(3)) << "it is dnat";
}

TEST(PartialPlan, is_none_where_others_have_a_part_in_what_changes)
{
    const Tables have = whole(many(), world());
    Config more = many();
    more.services[1].backends.push_back(backend("10.0.1.12:999")); // a new id
    EXPECT_FALSE(partial(more, world(), have, {"s1"}).has_value());
    Config moved = many();
    moved.services[1].listeners = {listen("203.0.113.10:99")};
    EXPECT_FALSE(partial(moved, world(), have, {"s1"}).has_value());
    World elsewhere = world(); // connections come from another address, which the prefilter must know
    elsewhere.next_hops[address("10.0.1.11")] = next_hop("10.0.0.2");
    EXPECT_FALSE(partial(many(), elsewhere, have, {"s0"}).has_value());
    Config slower = many();
    slower.timeouts.tcp_reset = std::chrono::seconds{77};
    EXPECT_FALSE(partial(slower, world(), have, {"s0"}).has_value());
}

TEST(PartialPlan, lets_a_backend_that_left_the_file_drain)
{
    Tables have = whole(many(), world());
    Config fewer = many();
    fewer.services[1].backends.pop_back();
    const auto plan = partial(fewer, world(), have, {"s1"});
    ASSERT_TRUE(plan.has_value());
    const Tables want = whole(fewer, world(), have);
    carry_over(*plan, have);
    EXPECT_EQ(have, want);
}

TEST(PartialPlan, takes_a_next_hop_that_changed)
{
    const Tables have = whole(many(), world());
    World moved = world();
    moved.next_hops[address("10.0.1.11")] = next_hop("10.0.0.1", 9);
    const auto plan = partial(many(), moved, have, {"s0"});
    ASSERT_TRUE(plan.has_value());
    EXPECT_THAT(plan->changes, SizeIs(1));
    EXPECT_THAT(plan->changes, Each(Field(&Change::kind, Change::Kind::put_backend)));
}

} // namespace
} // namespace featherlb
