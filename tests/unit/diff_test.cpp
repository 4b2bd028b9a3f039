// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "unit/plan_support.h"

namespace featherlb {
namespace {

using namespace plan_test;
using testing::ElementsAre;
using testing::IsEmpty;
using Kind = Change::Kind;

std::vector<Kind> kinds_of(const std::vector<Change>& changes)
{
    std::vector<Kind> kinds;
    for (const Change& change : changes)
        kinds.push_back(change.kind);
    return kinds;
}

Tables simple()
{
    Tables tables;
    tables.services[1] = {.name = "web", .slots = {1, 2}};
    for (const BackendId id : {1U, 2U})
        tables.backends[id] = {.service = 1,
            .endpoint = {address("10.0.1.1" + std::to_string(id)), 80},
            .hop = some_hop(),
            .mtu = 1500,
            .snat_addresses = {address("10.0.0.1")}};
    tables.listeners[key("203.0.113.10:80")] = 1;
    tables.sources[key("10.0.1.11:80")] = {.service = endpoint("203.0.113.10:80"), .backend = 1};
    return tables;
}

TEST(Diff, of_equal_tables_is_empty)
{
    EXPECT_THAT(diff(simple(), simple()), IsEmpty());
}

TEST(Diff, builds_from_the_backends_up)
{
    EXPECT_THAT(kinds_of(diff({}, simple())),
        ElementsAre(Kind::put_backend, Kind::put_backend, Kind::put_service, Kind::put_source, Kind::put_listener));
}

TEST(Diff, removes_from_the_listeners_down)
{
    EXPECT_THAT(kinds_of(diff(simple(), {})), ElementsAre(Kind::remove_listener, Kind::remove_source,
                                                  Kind::remove_service, Kind::remove_backend, Kind::remove_backend));
}

TEST(Diff, swaps_only_the_slots_where_only_they_differ)
{
    Tables want = simple();
    want.services[1].slots = {2, 1};
    EXPECT_THAT(diff(simple(), want), ElementsAre(Change{.kind = Kind::put_slots, .id = 1, .key = {}}));
}

TEST(Diff, puts_the_whole_service_where_more_differs)
{
    Tables want = simple();
    want.services[1].slots = {2, 1};
    want.services[1].pick = FLB_PICK_TURN;
    EXPECT_THAT(kinds_of(diff(simple(), want)), ElementsAre(Kind::put_service));
}

TEST(Diff, changes_one_backend_for_a_new_neighbour)
{
    Tables want = simple();
    want.backends[2].hop = some_hop(7);
    EXPECT_THAT(diff(simple(), want), ElementsAre(Change{.kind = Kind::put_backend, .id = 2, .key = {}}));
}

TEST(Diff, takes_slots_from_a_backend_before_it_drains)
{
    Tables want = simple();
    want.services[1].slots = {2};
    want.backends[1].up = false;
    want.backends[1].draining = true;
    EXPECT_THAT(kinds_of(diff(simple(), want)), ElementsAre(Kind::put_slots, Kind::put_backend));
    EXPECT_THAT(kinds_of(diff(want, simple())), ElementsAre(Kind::put_backend, Kind::put_slots));
}

TEST(Diff, empties_a_service_only_when_no_listener_leads_there)
{
    Tables want = simple();
    want.listeners.clear();
    want.sources.clear();
    want.services[1].slots.clear();
    EXPECT_THAT(
        kinds_of(diff(simple(), want)), ElementsAre(Kind::remove_listener, Kind::remove_source, Kind::put_slots));
}

TEST(Diff, puts_settings_before_anything_else)
{
    Tables want = simple();
    want.timeouts.udp_stream = std::chrono::seconds{5};
    EXPECT_THAT(kinds_of(diff(simple(), want)), ElementsAre(Kind::put_settings));
    want = simple();
    want.snat_ports.last = 20000;
    want.services[1].slots = {1};
    EXPECT_THAT(kinds_of(diff(simple(), want)), ElementsAre(Kind::put_settings, Kind::put_slots));
}

// ---- properties ------------------------------------------------------------------------------------------------

std::string number(int value)
{
    return std::to_string(value);
}

// Some configuration out of few names and addresses, so that a sequence of them meets the same ones again.
Config some_config()
{
    Config config;
    const bool dnat = *rc::gen::arbitrary<bool>();
    for (int s = 0; s < 4; ++s) {
        if (*rc::gen::inRange(0, 3) == 0)
            continue;
        ServiceConfig some =
            service("s" + number(s), {listen("203.0.113." + number(*rc::gen::inRange(0, 3)) + ":8" + number(s))}, {},
                dnat ? Forward::dnat : Forward::snat,
                *rc::gen::element(Algorithm::round_robin, Algorithm::weighted_round_robin, Algorithm::maglev));
        if (*rc::gen::arbitrary<bool>())
            some.listeners.push_back(listen("[2001:db8::1]:8" + number(s)));
        if (*rc::gen::arbitrary<bool>())
            some.listeners.push_back(listen_everywhere(80, Protocol::udp));
        for (int b = 0; b < 4; ++b) {
            const auto weight = *rc::gen::inRange<std::uint32_t>(0, 4);
            if (*rc::gen::arbitrary<bool>())
                some.backends.push_back(backend("10.0.1." + number(b) + ":80", weight));
            if (*rc::gen::arbitrary<bool>())
                some.backends.push_back(backend("[fd00::1" + number(b) + "]:80", weight));
        }
        if (*rc::gen::arbitrary<bool>())
            some.backends.push_back(dns_backend("name", 80));
        config.services.push_back(std::move(some));
    }
    std::reverse(
        config.services.begin(), config.services.begin() + *rc::gen::inRange<long>(0, std::ssize(config.services) + 1));
    config.snat.ports.last = *rc::gen::element<std::uint16_t>(20000, 30000);
    return config;
}

World some_world()
{
    World world;
    for (const char* text : {"10.0.0.1", "10.0.0.2", "fd00::1", "fe80::1"}) {
        if (*rc::gen::arbitrary<bool>())
            world.local_addresses.insert(address(text));
    }
    for (const char* text : {"10.0.1.1", "10.0.1.2", "10.0.1.9", "fd00::11", "fd00::12"}) {
        if (*rc::gen::arbitrary<bool>())
            world.next_hops[address(text)] =
                next_hop(address(text).is_ipv4() ? "10.0.0.1" : "fd00::1", *rc::gen::inRange<std::uint8_t>(0, 3));
    }
    for (const char* text : {"10.0.1.1", "10.0.1.9", "fd00::11"}) {
        if (*rc::gen::arbitrary<bool>())
            world.dns["name"].push_back(address(text));
    }
    return world;
}

std::set<BackendId> some_unreferenced(const Tables& have)
{
    std::set<BackendId> ids;
    for (const auto& [id, row] : have.backends) {
        if (*rc::gen::inRange(0, 3) != 0)
            ids.insert(id);
    }
    return ids;
}

Tables planned(const Tables& have, const std::set<BackendId>& unreferenced)
{
    const auto want = make_tables(some_config(), some_world(), have, unreferenced, roomy);
    RC_ASSERT(want.has_value());
    return *want;
}

void check_step(const Tables& have, const Tables& want)
{
    Tables now = have;
    for (const Change& change : diff(have, want)) {
        apply(now, want, change);
        RC_ASSERT(broken_reference(now) == "");
    }
    RC_ASSERT(now == want);
    RC_ASSERT(diff(want, want).empty());
}

RC_GTEST_PROP(Diff, leads_to_what_is_wanted_and_never_through_a_broken_reference, ())
{
    const Tables have = planned({}, {});
    check_step(have, planned({}, {})); // ids mean other things
    const Tables next = planned(have, some_unreferenced(have));
    check_step(have, next);
    check_step(next, {});
}

// A slot leads to a backend that takes connections, in every state on the way.
RC_GTEST_PROP(Diff, never_leaves_a_slot_with_a_backend_that_drains, ())
{
    const auto slots_are_good = [](const Tables& tables) {
        for (const auto& [id, row] : tables.services) {
            for (const BackendId slot : row.slots) {
                if (!tables.backends.at(slot).up || tables.backends.at(slot).service != id)
                    return false;
            }
        }
        return true;
    };
    Tables now = planned({}, {});
    RC_ASSERT(slots_are_good(now));
    for (int reload = 0; reload < 5; ++reload) {
        const Tables want = planned(now, some_unreferenced(now));
        for (const Change& change : diff(now, want)) {
            apply(now, want, change);
            RC_ASSERT(slots_are_good(now));
        }
    }
}

RC_GTEST_PROP(Identifiers, are_stable_over_any_sequence_of_reloads, ())
{
    Tables now = planned({}, {});
    for (int reload = 0; reload < 8; ++reload) {
        const auto unreferenced = some_unreferenced(now);
        const Tables want = planned(now, unreferenced);
        for (const auto& [id, row] : now.services) {
            const auto later = want.services.find(id);
            RC_ASSERT(
                later == want.services.end() || (later->second.name == row.name && later->second.family == row.family));
        }
        std::set<std::pair<ServiceId, Endpoint>> seen;
        for (const auto& [id, row] : want.backends)
            RC_ASSERT(seen.emplace(row.service, row.endpoint).second);
        for (const auto& [id, row] : now.backends) {
            const auto later = want.backends.find(id);
            if (later == want.backends.end())
                RC_ASSERT(row.draining && unreferenced.contains(id));
            else
                RC_ASSERT(later->second.endpoint == row.endpoint && later->second.service == row.service);
        }
        now = want;
    }
}

RC_GTEST_PROP(MakeTables, changes_nothing_when_nothing_changed, ())
{
    const Tables have = planned({}, {});
    const Config config = some_config();
    const World world = some_world();
    const auto first = make_tables(config, world, have, {}, roomy);
    RC_ASSERT(first.has_value());
    const auto second = make_tables(config, world, *first, {}, roomy);
    RC_ASSERT(second.has_value());
    RC_ASSERT(diff(*first, *second).empty());
}

} // namespace
} // namespace featherlb
