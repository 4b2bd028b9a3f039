// SPDX-License-Identifier: Apache-2.0
// Planning of `dsr` and `ipip`.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <netinet/in.h>

#include "kernel/dataplane_records.h"
#include "unit/plan_support.h"

namespace featherlb {
namespace {

using namespace plan_test;
using ::testing::Contains;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

World world_of_two()
{
    World world;
    world.next_hops[address("10.0.1.11")] = next_hop("10.0.0.1", 11);
    world.next_hops[address("10.0.1.12")] = next_hop("10.0.0.1", 12);
    world.next_hops[address("fd00::11")] = next_hop("fd00::1", 13);
    return world;
}

Tables plan(const Config& config, const World& world, const Tables& have = {}, const std::set<BackendId>& gone = {})
{
    auto tables = make_tables(config, world, have, gone, roomy);
    EXPECT_TRUE(tables.has_value()) << (tables ? "" : tables.error().message);
    return std::move(*tables);
}

Config one_way_web(Forward forward, std::vector<ListenerConfig> listeners = {listen("203.0.113.10:80")},
    std::vector<BackendConfig> backends = {backend("10.0.1.11:80"), backend("10.0.1.12:80")})
{
    return config_of({service("web", std::move(listeners), std::move(backends), forward)});
}

TEST(OneWayPlan, ipip_backends_serve_listeners_of_both_ip_versions)
{
    const Tables tables = plan(one_way_web(Forward::ipip, {listen("203.0.113.10:80"), listen("[2001:db8::10]:80")},
                                   {backend("10.0.1.11:80"), backend("[fd00::11]:80")}),
        world_of_two());
    ASSERT_THAT(tables.services, SizeIs(2));
    ASSERT_THAT(tables.backends, SizeIs(4));
    for (const auto& [id, row] : tables.backends) {
        EXPECT_EQ(row.one_way, Forward::ipip);
        EXPECT_THAT(
            row.snat_addresses, ElementsAre(row.endpoint.address.is_ipv4() ? address("10.0.0.1") : address("fd00::1")));
        EXPECT_EQ(row.source_bits, 0);
        EXPECT_FALSE(row.any_side);
    }
    EXPECT_THAT(tables.sources, IsEmpty());
}

TEST(OneWayPlan, the_outer_source_may_be_a_network)
{
    Config config =
        one_way_web(Forward::ipip, {listen("203.0.113.10:80")}, {backend("10.0.1.11:80"), backend("[fd00::11]:80")});
    config.ipip.source = {NetworkPrefix{address("10.127.0.0"), 16}, NetworkPrefix{address("fd00:127::5"), 128}};
    Tables tables = plan(config, world_of_two());
    EXPECT_THAT(tables.backends.at(1).snat_addresses, ElementsAre(address("10.127.0.0")));
    EXPECT_EQ(tables.backends.at(1).source_bits, 16);
    EXPECT_THAT(tables.backends.at(2).snat_addresses, ElementsAre(address("fd00:127::5")));
    EXPECT_EQ(tables.backends.at(2).source_bits, 0) << "one address";

    const Tables changed = plan(one_way_web(Forward::ipip), world_of_two(), tables);
    EXPECT_EQ(changed.backends.at(1).source_bits, 0);
    EXPECT_THAT(changed.backends.at(1).snat_addresses, ElementsAre(address("10.0.0.1")));
}

TEST(OneWayPlan, dsr_counts_a_gateway_as_no_next_hop)
{
    World world = world_of_two();
    world.next_hops[address("10.0.1.12")].gateway = true;
    const Tables direct = plan(one_way_web(Forward::dsr), world);
    EXPECT_EQ(direct.backends.at(1).hop.mac[5], 11);
    EXPECT_EQ(direct.backends.at(2).hop.link, 0);
    EXPECT_THAT(direct.services.at(1).slots.ids(), Each(1U));
    EXPECT_THAT(direct.backends.at(1).snat_addresses, IsEmpty());
    for (const Forward other : {Forward::snat, Forward::dnat, Forward::ipip})
        EXPECT_EQ(plan(one_way_web(other), world).backends.at(2).hop.mac[5], 12);
}

TEST(OneWayPlan, another_forward_makes_another_backend_and_the_old_one_drains_as_it_was)
{
    const std::vector<Forward> all{Forward::snat, Forward::dsr, Forward::ipip};
    for (const Forward before : all) {
        for (const Forward after : all) {
            if (before == after)
                continue;
            const Tables old = plan(one_way_web(before), world_of_two());
            const Tables now = plan(one_way_web(after), world_of_two(), old);
            ASSERT_THAT(now.backends, SizeIs(4));
            for (const BackendId id : {1U, 2U}) {
                EXPECT_TRUE(now.backends.at(id).draining);
                EXPECT_EQ(now.backends.at(id).one_way, old.backends.at(id).one_way);
                EXPECT_EQ(now.backends.at(id).snat_addresses, old.backends.at(id).snat_addresses);
                EXPECT_THAT(now.services.at(1).slots.ids(), Not(Contains(id)));
            }
            EXPECT_THAT(plan(one_way_web(after), world_of_two(), now, {1, 2}).backends, SizeIs(2));
            const Tables back = plan(one_way_web(before), world_of_two(), now);
            EXPECT_FALSE(back.backends.at(1).draining) << "the same again";
        }
    }
    const Tables snat = plan(one_way_web(Forward::snat), world_of_two());
    EXPECT_THAT(plan(one_way_web(Forward::dnat), world_of_two(), snat).backends, SizeIs(2))
        << "both directions come by here";
}

TEST(OneWayPlan, the_prefilter_knows_where_tunnels_end_and_not_where_they_begin)
{
    const Tables ipip = plan(one_way_web(Forward::ipip), world_of_two());
    const auto kinds = make_prefilter(ipip);
    EXPECT_EQ(kinds.at(flb_prefilter_index(address("10.0.1.11").folded())), FLB_KIND_TUNNEL);
    EXPECT_EQ(kinds.at(flb_prefilter_index(address("10.0.0.1").folded())), 0);
    const auto own = make_own_addresses(ipip);
    EXPECT_TRUE(own.contains({address("10.0.1.11"), 0, static_cast<Protocol>(IPPROTO_IPIP)}));
    EXPECT_FALSE(own.contains({address("10.0.0.1"), 0, Protocol::tcp}));
    const auto dsr = make_prefilter(plan(one_way_web(Forward::dsr), world_of_two()));
    EXPECT_EQ(dsr.at(flb_prefilter_index(address("10.0.1.11").folded())), 0);
}

TEST(OneWayPlan, a_daemon_that_adopts_the_maps_reads_the_mode_back)
{
    for (const Forward forward : {Forward::dsr, Forward::ipip, Forward::snat}) {
        BackendRow row = plan(one_way_web(forward), world_of_two()).backends.at(1);
        row.snat_addresses.clear(); // they are another map's
        EXPECT_EQ(from_record(to_record(row, 0)), row);
        EXPECT_EQ(from_record(to_record(row, 0)).one_way.has_value(), forward != Forward::snat);
    }
}

} // namespace
} // namespace featherlb
