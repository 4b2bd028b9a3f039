// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "unit/plan_support.h"

namespace featherlb {
namespace {

using plan_test::address;
using plan_test::endpoint;
using plan_test::key;

std::uint8_t kinds_of(const Tables& tables, std::string_view text)
{
    return make_prefilter(tables).at(flb_prefilter_index(address(text).folded()));
}

Tables with_backend(Forward forward, bool draining)
{
    Tables tables;
    tables.services[1] = {.name = "web", .family = Family::ipv6, .forward = forward, .slots = {}};
    tables.backends[1] = {
        .service = 1, .endpoint = endpoint("[fd00::11]:80"), .draining = draining, .snat_addresses = {}};
    if (forward == Forward::snat)
        tables.backends[1].snat_addresses = {address("fd00::1"), address("fd00::2")};
    return tables;
}

TEST(Prefilter, is_empty_without_tables)
{
    for (const std::uint8_t kinds : make_prefilter({}))
        ASSERT_EQ(kinds, 0);
}

TEST(Prefilter, knows_the_addresses_of_listeners)
{
    Tables tables;
    tables.listeners[key("203.0.113.10:80")] = 1;
    tables.listeners[key("[2001:db8::10]:53", Protocol::udp)] = 2;
    EXPECT_EQ(kinds_of(tables, "203.0.113.10"), FLB_KIND_LISTENER);
    EXPECT_EQ(kinds_of(tables, "2001:db8::10"), FLB_KIND_LISTENER);
    EXPECT_EQ(kinds_of(tables, "203.0.113.11"), 0);
}

TEST(Prefilter, knows_the_addresses_that_snat_connections_come_from)
{
    for (const bool draining : {false, true}) {
        const Tables tables = with_backend(Forward::snat, draining);
        EXPECT_EQ(kinds_of(tables, "fd00::1"), FLB_KIND_SNAT);
        EXPECT_EQ(kinds_of(tables, "fd00::2"), FLB_KIND_SNAT);
        EXPECT_EQ(kinds_of(tables, "fd00::11"), 0);
    }
}

TEST(Prefilter, knows_dnat_backends_until_they_have_drained)
{
    for (const bool draining : {false, true})
        EXPECT_EQ(kinds_of(with_backend(Forward::dnat, draining), "fd00::11"), FLB_KIND_BACKEND);
}

TEST(Prefilter, keeps_all_that_an_address_may_be)
{
    Tables tables = with_backend(Forward::dnat, false);
    tables.listeners[key("[fd00::11]:443")] = 1;
    EXPECT_EQ(kinds_of(tables, "fd00::11"), FLB_KIND_BACKEND | FLB_KIND_LISTENER);
}

} // namespace
} // namespace featherlb
