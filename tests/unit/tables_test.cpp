// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "unit/plan_support.h"

namespace featherlb {
namespace {

using namespace plan_test;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

World small_world()
{
    World world;
    world.local_addresses = {address("10.0.0.1"), address("192.0.2.1"), address("fd00::1"), address("fe80::1")};
    for (const IpAddress& own : world.local_addresses)
        world.homes[own] = some_hop().link & FLB_LINK_SLOT;
    for (const char* text : {"10.0.1.11", "10.0.1.12", "10.0.1.13"})
        world.next_hops[address(text)] = next_hop("10.0.0.1");
    for (const char* text : {"fd00::11", "fd00::12"})
        world.next_hops[address(text)] = next_hop("fd00::1");
    return world;
}

Tables plan(const Config& config, const World& world = small_world(), const Tables& have = {},
    const std::set<BackendId>& unreferenced = {}, const Limits& limits = roomy)
{
    auto tables = make_tables(config, world, have, unreferenced, limits);
    EXPECT_TRUE(tables.has_value()) << (tables ? "" : tables.error().message);
    EXPECT_EQ(broken_reference(*tables), "");
    return std::move(*tables);
}

Config one_service(std::vector<BackendConfig> backends, Forward forward = Forward::snat)
{
    return config_of({service("web", {listen("203.0.113.10:80")}, std::move(backends), forward)});
}

const std::vector<BackendConfig> two{backend("10.0.1.11:8080"), backend("10.0.1.12:8080")};

TEST(MakeTables, compiles_a_service_with_its_listener_and_backends)
{
    Config config = one_service(two);
    config.services[0].algorithm = Algorithm::ip_hash;
    config.hash_seed = 77;
    config.snat.ports = {2000, 3000};
    config.timeouts.tcp_reset = std::chrono::seconds{9};
    const Tables tables = plan(config);

    ASSERT_THAT(tables.services, SizeIs(1));
    const ServiceRow& web = tables.services.at(1);
    EXPECT_EQ(web.name, "web");
    EXPECT_EQ(web.family, Family::ipv4);
    EXPECT_EQ(web.pick, FLB_PICK_HASH_ADDRESSES);
    EXPECT_EQ(web.pick_seed, 77U);
    EXPECT_THAT(web.slots, SizeIs(1021));
    EXPECT_THAT(tables.listeners, ElementsAre(std::pair(key("203.0.113.10:80"), 1U)));
    ASSERT_THAT(tables.backends, SizeIs(2));
    const BackendRow expected{.service = 1,
        .endpoint = endpoint("10.0.1.12:8080"),
        .up = true,
        .draining = false,
        .hop = some_hop(),
        .mtu = 1500,
        .snat_addresses = {address("10.0.0.1")}};
    EXPECT_EQ(tables.backends.at(2), expected);
    EXPECT_THAT(tables.sources, IsEmpty());
    EXPECT_EQ(tables.snat_ports.first, 2000);
    EXPECT_EQ(tables.timeouts.tcp_reset.count(), 9);
}

TEST(MakeTables, answers_to_a_source_that_lives_on_another_interface_may_come_by_any_side)
{
    World world = small_world();
    EXPECT_FALSE(plan(one_service(two), world).backends.at(1).any_side);
    EXPECT_FALSE(plan(one_service(two, Forward::dnat), world).backends.at(1).any_side);
    world.homes[address("10.0.0.1")] += 1;
    EXPECT_TRUE(plan(one_service(two), world).backends.at(1).any_side);
    EXPECT_FALSE(plan(one_service(two, Forward::dnat), world).backends.at(1).any_side);
    Config config = one_service(two);
    config.snat.addresses = {address("192.0.2.1"), address("198.51.100.7")};
    EXPECT_TRUE(plan(config, world).backends.at(1).any_side) << "of the second it is not known where it lives";
}

TEST(MakeTables, turns_each_algorithm_into_its_pick)
{
    const std::vector<std::pair<Algorithm, flb_pick>> picks{{Algorithm::round_robin, FLB_PICK_TURN},
        {Algorithm::weighted_round_robin, FLB_PICK_TURN}, {Algorithm::random, FLB_PICK_RANDOM},
        {Algorithm::ip_hash, FLB_PICK_HASH_ADDRESSES}, {Algorithm::maglev, FLB_PICK_HASH_5TUPLE},
        {Algorithm::resource_based, FLB_PICK_TURN}};
    for (const auto& [algorithm, pick] : picks) {
        Config config = one_service(two);
        config.services[0].algorithm = algorithm;
        EXPECT_EQ(plan(config).services.at(1).pick, pick) << to_string(algorithm);
    }
}

TEST(MakeTables, makes_a_row_for_each_ip_version)
{
    const Tables tables = plan(config_of({service("web", {listen("203.0.113.10:80"), listen("[2001:db8::10]:80")},
        {backend("10.0.1.11:80"), backend("[fd00::11]:80"), backend("[fd00::12]:80")})}));
    ASSERT_THAT(tables.services, SizeIs(2));
    EXPECT_EQ(tables.services.at(1).family, Family::ipv4);
    EXPECT_THAT(tables.services.at(1).slots, ElementsAre(1));
    EXPECT_EQ(tables.services.at(2).family, Family::ipv6);
    EXPECT_THAT(tables.services.at(2).slots, ElementsAre(2, 3));
    EXPECT_EQ(tables.listeners.at(key("[2001:db8::10]:80")), 2U);
    EXPECT_THAT(tables.backends.at(2).snat_addresses, ElementsAre(address("fd00::1")));
}

// ---- "*" -------------------------------------------------------------------------------------------------------

TEST(ListenEverywhere, means_the_addresses_of_the_families_that_have_backends)
{
    const Tables tables = plan(config_of({service("web", {listen_everywhere(80)}, two)}));
    EXPECT_THAT(tables.listeners, ElementsAre(std::pair(key("10.0.0.1:80"), 1U), std::pair(key("192.0.2.1:80"), 1U)));
}

TEST(ListenEverywhere, leaves_out_link_local_addresses)
{
    const Tables tables = plan(config_of({service("web", {listen_everywhere(80)}, {backend("[fd00::11]:80")})}));
    EXPECT_THAT(tables.listeners, ElementsAre(std::pair(key("[fd00::1]:80"), 1U)));
}

TEST(ListenEverywhere, follows_the_addresses_of_the_interfaces)
{
    const Config config = config_of({service("web", {listen_everywhere(80)}, two)});
    World world = small_world();
    const Tables before = plan(config, world);
    world.local_addresses = {address("10.0.0.2")};
    const Tables after = plan(config, world, before);
    EXPECT_THAT(after.listeners, ElementsAre(std::pair(key("10.0.0.2:80"), 1U)));
    EXPECT_EQ(after.backends, before.backends);
}

TEST(ListenEverywhere, yields_to_an_address_that_is_written_out)
{
    const Tables tables = plan(config_of({service("all", {listen_everywhere(80)}, {backend("10.0.1.11:80")}),
        service("one", {listen("10.0.0.1:80")}, {backend("10.0.1.12:80")})}));
    EXPECT_EQ(tables.services.at(tables.listeners.at(key("10.0.0.1:80"))).name, "one");
    EXPECT_EQ(tables.services.at(tables.listeners.at(key("192.0.2.1:80"))).name, "all");
}

TEST(ListenEverywhere, keeps_the_host_out_while_names_have_no_answer)
{
    const Tables tables = plan(config_of({service("web", {listen_everywhere(80)}, {dns_backend("nowhere", 80)})}));
    EXPECT_THAT(tables.listeners, SizeIs(3));
    for (const auto& [id, row] : tables.services)
        EXPECT_THAT(row.slots, IsEmpty());
}

// ---- names -----------------------------------------------------------------------------------------------------

TEST(DnsBackends, become_one_backend_for_each_address)
{
    World world = small_world();
    world.dns["web.internal"] = {address("10.0.1.11"), address("10.0.1.12")};
    const Tables tables = plan(one_service({dns_backend("web.internal", 8080)}), world);
    EXPECT_THAT(tables.backends, SizeIs(2));
    EXPECT_EQ(id_of(tables, "10.0.1.11:8080"), 1U);
    EXPECT_EQ(id_of(tables, "10.0.1.12:8080"), 2U);
}

TEST(DnsBackends, of_a_family_without_listeners_are_left_out)
{
    World world = small_world();
    world.dns["web.internal"] = {address("10.0.1.11"), address("fd00::11")};
    const Tables tables = plan(one_service({dns_backend("web.internal", 8080)}), world);
    EXPECT_THAT(tables.services, SizeIs(1));
    EXPECT_THAT(tables.backends, SizeIs(1));
}

TEST(DnsBackends, that_equal_an_address_in_the_file_are_one_backend)
{
    World world = small_world();
    world.dns["web.internal"] = {address("10.0.1.11"), address("10.0.1.12")};
    const Tables tables = plan(one_service({backend("10.0.1.12:80", 5), dns_backend("web.internal", 80)}), world);
    EXPECT_THAT(tables.backends, SizeIs(2));
    EXPECT_THAT(tables.services.at(1).slots, ElementsAre(id_of(tables, "10.0.1.12:80"), id_of(tables, "10.0.1.11:80")));
}

TEST(DnsBackends, without_an_answer_leave_a_service_that_refuses)
{
    const Tables tables = plan(one_service({dns_backend("nowhere", 80)}));
    EXPECT_THAT(tables.services.at(1).slots, IsEmpty());
    EXPECT_EQ(tables.listeners.at(key("203.0.113.10:80")), 1U);
}

TEST(DnsBackends, that_vanish_drain)
{
    World world = small_world();
    world.dns["web.internal"] = {address("10.0.1.11"), address("10.0.1.12")};
    const Config config = one_service({dns_backend("web.internal", 80)});
    const Tables before = plan(config, world);
    world.dns["web.internal"] = {address("10.0.1.12")};
    const Tables after = plan(config, world, before);
    EXPECT_TRUE(after.backends.at(1).draining);
    EXPECT_THAT(after.services.at(1).slots, ElementsAre(2));
}

// ---- backends --------------------------------------------------------------------------------------------------

TEST(Backends, of_two_services_on_one_endpoint_are_two_rows)
{
    const Tables tables = plan(config_of({service("a", {listen("203.0.113.10:80")}, {backend("10.0.1.11:80")}),
        service("b", {listen("203.0.113.10:81")}, {backend("10.0.1.11:80")})}));
    EXPECT_EQ(id_of(tables, "10.0.1.11:80", 1), 1U);
    EXPECT_EQ(id_of(tables, "10.0.1.11:80", 2), 2U);
}

TEST(Backends, of_weight_zero_drain)
{
    const Tables tables = plan(one_service({backend("10.0.1.11:80", 0), backend("10.0.1.12:80")}));
    EXPECT_TRUE(tables.backends.at(1).draining);
    EXPECT_FALSE(tables.backends.at(1).up);
    EXPECT_THAT(tables.services.at(1).slots, ElementsAre(2));
}

TEST(Backends, without_a_next_hop_have_no_slots_while_others_are_reachable)
{
    World world = small_world();
    world.next_hops[address("10.0.1.11")].hop = {};
    const Tables tables = plan(one_service(two), world);
    EXPECT_TRUE(tables.backends.at(1).up);
    EXPECT_THAT(tables.services.at(1).slots, ElementsAre(2));
}

TEST(Backends, without_a_next_hop_have_slots_where_none_is_reachable)
{
    EXPECT_THAT(plan(one_service(two), World{}).services.at(1).slots, ElementsAre(1, 2));
}

TEST(Backends, keep_the_hop_that_they_had_while_the_world_does_not_name_it)
{
    const Tables before = plan(one_service(two));
    const Tables after = plan(one_service(two), World{}, before);
    EXPECT_EQ(after, before);
}

TEST(Backends, lose_the_hop_when_the_neighbour_is_gone)
{
    World world = small_world();
    const Tables before = plan(one_service(two), world);
    world.next_hops[address("10.0.1.12")].hop = {};
    const Tables after = plan(one_service(two), world, before);
    EXPECT_EQ(after.backends.at(2).hop.link, 0);
    EXPECT_THAT(after.services.at(1).slots, ElementsAre(1));
}

TEST(Backends, are_reached_from_the_configured_addresses_of_their_family)
{
    Config config = config_of({service("web", {listen("203.0.113.10:80"), listen("[2001:db8::10]:80")},
        {backend("10.0.1.11:80"), backend("[fd00::11]:80")})});
    config.snat.addresses = {address("10.0.0.5"), address("10.0.0.4")};
    const Tables tables = plan(config);
    EXPECT_THAT(tables.backends.at(1).snat_addresses, ElementsAre(address("10.0.0.5"), address("10.0.0.4")));
    EXPECT_THAT(tables.backends.at(2).snat_addresses, ElementsAre(address("fd00::1")));
}

TEST(Backends, of_dnat_services_have_no_source_addresses)
{
    EXPECT_THAT(plan(one_service(two, Forward::dnat)).backends.at(1).snat_addresses, IsEmpty());
}

// ---- sources ---------------------------------------------------------------------------------------------------

TEST(Sources, leave_as_the_first_listener_of_their_protocol_and_family)
{
    const Tables tables = plan(config_of({service("dns",
        {listen("203.0.113.10:54"), listen("203.0.113.10:53"), listen("[2001:db8::10]:53"),
            listen("203.0.113.11:53", Protocol::udp)},
        {backend("10.0.1.11:53")}, Forward::dnat)}));
    EXPECT_THAT(
        tables.sources, ElementsAre(std::pair(key("10.0.1.11:53"), SourceRow{endpoint("203.0.113.10:54"), 1}),
                            std::pair(key("10.0.1.11:53", Protocol::udp), SourceRow{endpoint("203.0.113.11:53"), 1})));
}

TEST(Sources, belong_to_the_first_service_that_shares_a_backend)
{
    const Tables tables =
        plan(config_of({service("a", {listen("203.0.113.10:80")}, {backend("10.0.1.11:80")}, Forward::dnat),
            service("b", {listen("203.0.113.10:81")}, {backend("10.0.1.11:80")}, Forward::dnat)}));
    EXPECT_EQ(tables.sources.at(key("10.0.1.11:80")).service, endpoint("203.0.113.10:80"));
}

TEST(Sources, stay_while_a_backend_drains_from_a_service_that_listens)
{
    const Tables before = plan(one_service(two, Forward::dnat));
    const Tables after = plan(one_service({backend("10.0.1.12:8080")}, Forward::dnat), small_world(), before);
    EXPECT_EQ(after.sources, before.sources);
    EXPECT_THAT(plan(config_of({}), small_world(), before).sources, IsEmpty());
}

// ---- identifiers -----------------------------------------------------------------------------------------------

TEST(Identifiers, stay_with_name_and_endpoint_in_whatever_order)
{
    const ServiceConfig a = service("a", {listen("203.0.113.10:80")}, two);
    const ServiceConfig b = service("b", {listen("203.0.113.11:80")}, {backend("10.0.1.13:80")});
    const Tables before = plan(config_of({a, b}));
    ServiceConfig reversed = a;
    std::reverse(reversed.backends.begin(), reversed.backends.end());
    const Tables after = plan(config_of({b, reversed}), small_world(), before);
    EXPECT_EQ(after.backends, before.backends);
    EXPECT_EQ(after.listeners, before.listeners);
    EXPECT_THAT(after.services.at(1).slots, ElementsAre(2, 1));
}

TEST(Identifiers, of_new_rows_are_the_lowest_free)
{
    Tables have;
    have.services[2] = {.name = "web", .family = Family::ipv4, .slots = {}};
    have.backends[1] = {.service = 2, .endpoint = endpoint("10.0.1.12:8080"), .snat_addresses = {}};
    have.backends[3] = {.service = 2, .endpoint = endpoint("10.0.1.13:8080"), .snat_addresses = {}};
    Config config = one_service({backend("10.0.1.11:8080"), backend("10.0.1.12:8080"), backend("10.0.1.14:8080")});
    config.services.push_back(service("new", {listen("203.0.113.12:80")}, {}));
    const Tables tables = plan(config, small_world(), have);
    EXPECT_EQ(id_of(tables, "10.0.1.11:8080", 2), 2U);
    EXPECT_EQ(id_of(tables, "10.0.1.12:8080", 2), 1U);
    EXPECT_EQ(id_of(tables, "10.0.1.14:8080", 2), 4U);
    EXPECT_EQ(tables.services.at(1).name, "new");
}

TEST(Draining, keeps_a_removed_backend_until_no_flow_refers_to_it)
{
    const Config smaller = one_service({backend("10.0.1.12:8080")});
    const Tables before = plan(one_service(two));
    const Tables draining = plan(smaller, small_world(), before, {1});
    ASSERT_TRUE(draining.backends.contains(1)) << "it may have got a connection since the flows were counted";
    EXPECT_TRUE(draining.backends.at(1).draining);
    EXPECT_FALSE(draining.backends.at(1).up);
    EXPECT_EQ(draining.backends.at(1).hop.link, before.backends.at(1).hop.link);
    EXPECT_THAT(draining.backends.at(1).snat_addresses, ElementsAre(address("10.0.0.1")));
    EXPECT_THAT(draining.services.at(1).slots, ElementsAre(2));

    EXPECT_EQ(plan(smaller, small_world(), draining), draining);
    const Tables gone = plan(smaller, small_world(), draining, {1});
    EXPECT_FALSE(gone.backends.contains(1));
}

TEST(Draining, follows_the_next_hop)
{
    World world = small_world();
    const Tables before = plan(one_service(two), world);
    world.next_hops[address("10.0.1.11")] = next_hop("10.0.0.1", 9);
    const Tables after = plan(one_service({}), world, before);
    EXPECT_EQ(after.backends.at(1).hop.mac[5], 9);
}

TEST(Draining, ends_when_the_backend_comes_back)
{
    const Tables before = plan(one_service(two));
    const Tables draining = plan(one_service({backend("10.0.1.12:8080")}), small_world(), before);
    EXPECT_EQ(plan(one_service(two), small_world(), draining, {1}), before);
}

TEST(Draining, keeps_a_removed_service_without_slots_until_its_last_backend_is_gone)
{
    const Tables before = plan(one_service(two));
    const Tables draining = plan(config_of({}), small_world(), before);
    ASSERT_THAT(draining.services, SizeIs(1));
    EXPECT_THAT(draining.services.at(1).slots, IsEmpty());
    EXPECT_THAT(draining.listeners, IsEmpty());

    const Tables half = plan(config_of({}), small_world(), draining, {1});
    EXPECT_THAT(half.services, SizeIs(1));
    const Tables gone = plan(config_of({}), small_world(), half, {2});
    EXPECT_THAT(gone.services, IsEmpty());
    EXPECT_THAT(gone.backends, IsEmpty());
}

TEST(Draining, gives_an_identifier_away_from_the_next_plan_on)
{
    const Tables before = plan(one_service({backend("10.0.1.11:8080")}));
    const Tables draining = plan(config_of({}), small_world(), before);
    const Config other = config_of({service("other", {listen("203.0.113.11:80")}, {backend("10.0.1.12:80")})});
    const Tables both = plan(other, small_world(), draining, {1});
    EXPECT_EQ(both.services.begin()->first, 2U);
    EXPECT_EQ(both.backends.begin()->first, 2U);
    const Tables later =
        plan(config_of({other.services[0], service("third", {listen("203.0.113.12:80")}, {})}), small_world(), both);
    EXPECT_EQ(later.services.at(1).name, "third");
}

// ---- limits ----------------------------------------------------------------------------------------------------

Error refusal(const Config& config, const Limits& limits, const Tables& have = {})
{
    const auto tables = make_tables(config, small_world(), have, {}, limits);
    EXPECT_FALSE(tables.has_value());
    return tables ? Error{} : tables.error();
}

TEST(LimitsOfTheMaps, are_named_with_what_to_do)
{
    Limits limits = roomy;
    limits.services = 1;
    EXPECT_THAT(refusal(one_service(two), limits).message, HasSubstr("`services`"));
    limits = roomy;
    limits.backends = 2;
    EXPECT_THAT(refusal(one_service(two), limits).message, HasSubstr("`backends`"));
    limits = roomy;
    limits.slots = 1;
    EXPECT_THAT(refusal(one_service(two), limits).message, HasSubstr("`slots`"));
    EXPECT_THAT(refusal(one_service(two), limits).remedy, HasSubstr("round-robin"));
}

TEST(LimitsOfTheMaps, can_be_used_up)
{
    const Tables tables =
        plan(one_service(two), small_world(), {}, {}, {.services = 2, .backends = 3, .slots = FLB_SLOTS_PER_CHUNK});
    EXPECT_THAT(tables.services.at(1).slots, ElementsAre(1, 2));
}

TEST(LimitsOfTheMaps, count_what_drains)
{
    const Tables before = plan(one_service(two));
    Limits limits = roomy;
    limits.backends = 3;
    const Error error = refusal(one_service({backend("10.0.1.13:8080")}), limits, before);
    EXPECT_THAT(error.message, HasSubstr("3 backends, 2 of them draining"));
}

} // namespace
} // namespace featherlb
