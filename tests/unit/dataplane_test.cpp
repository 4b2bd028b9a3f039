// SPDX-License-Identifier: Apache-2.0
// The parts of the data plane that need no kernel: sizes, records, the choice of a hook.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernel/dataplane_maps.h"
#include "kernel/dataplane_records.h"

namespace featherlb {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

TEST(DataPlaneSizes, GiveEveryMapItsEntries)
{
    const DataPlaneSizes sizes{.flows_max = 1000, .services = 10, .backends = 20, .slots = 33, .snat_addresses = 5};
    const auto entries = [&](const char* name) { return entries_for({.name = name, .max_entries = 1}, sizes, 4); };
    EXPECT_EQ(entries("flows4"), 1000u);
    EXPECT_EQ(entries("flows6"), 1000u);
    EXPECT_EQ(entries("names"), 10u);
    EXPECT_EQ(entries("backend_ports"), 20u);
    EXPECT_EQ(entries("slots"), 3u);
    EXPECT_EQ(entries("backend_counters"), 80u);
    EXPECT_EQ(entries("drop_counters"), 4u);
    EXPECT_EQ(entries_for({.name = "listeners", .max_entries = 131072}, sizes, 4), 131072u);
}

TEST(DataPlaneSizes, DifferOnlyWhereTheMapWouldDiffer)
{
    DataPlaneSizes pinned;
    DataPlaneSizes wanted;
    EXPECT_THAT(size_warnings(pinned, wanted), IsEmpty());
    wanted.slots = pinned.slots - 3; // the same number of chunks
    EXPECT_THAT(size_warnings(pinned, wanted), IsEmpty());
    wanted.flows_max = 5;
    EXPECT_THAT(size_warnings(pinned, wanted), ElementsAre(HasSubstr("flows.max stays 262144 instead of 5")));
}

TEST(Records, TurnIntoRowsAndBack)
{
    BackendRow backend{.service = 3,
        .endpoint = {*IpAddress::parse("fd00::1"), 443},
        .up = false,
        .draining = true,
        .down = true,
        .reset = true,
        .rehash_tcp = true,
        .rehash_udp = true,
        .any_side = true,
        .hop = {.mac = {1, 2, 3, 4, 5, 6}, .link = 0x2007, .vlan = {5, 6}},
        .mtu = 9000,
        .snat_addresses = {}};
    EXPECT_EQ(from_record(to_record(backend, 77)), backend);
    EXPECT_EQ(to_record(backend, 77).snat_first, 0u); // no list, no place
    const ListenerKey key{*IpAddress::parse("10.0.0.1"), 80, Protocol::udp};
    EXPECT_EQ(from_record(to_record(key)), key);
    const SourceRow source{.service = {*IpAddress::parse("10.0.0.9"), 81}, .backend = 4};
    EXPECT_EQ(from_record(to_record(source), Family::ipv4), source);
    const ServiceRow service{.name = "web.example-1",
        .family = Family::ipv6,
        .forward = Forward::dnat,
        .pick = FLB_PICK_TURN,
        .pick_seed = 9,
        .slots = {},
        .refuse = true,
        .syn_failover = true,
        .avoid_refused = std::chrono::seconds{5}};
    flb_settings settings{};
    settings.hz = 250;
    settings.tick_shift = 8;
    flb_name name{};
    write_name(name, "a much longer name that was there before");
    write_name(name, service.name);
    EXPECT_EQ(from_record(to_record(service, settings), name, settings), service);
}

TEST(Records, EachFateOfABackendHasItsFlag)
{
    const auto flags = [](const BackendRow& row) { return to_record(row, 0).flags; };
    EXPECT_EQ(flags({.snat_addresses = {}}), FLB_BACKEND_VALID | FLB_BACKEND_UP);
    EXPECT_EQ(flags({.up = false, .down = true, .reset = true, .snat_addresses = {}}),
        FLB_BACKEND_VALID | FLB_BACKEND_DOWN | FLB_BACKEND_RESET);
    EXPECT_EQ(flags({.up = false, .down = true, .rehash_tcp = true, .snat_addresses = {}}),
        FLB_BACKEND_VALID | FLB_BACKEND_DOWN | FLB_BACKEND_REHASH_TCP);
    EXPECT_EQ(flags({.up = false, .down = true, .rehash_udp = true, .snat_addresses = {}}),
        FLB_BACKEND_VALID | FLB_BACKEND_DOWN | FLB_BACKEND_REHASH_UDP);
}

TEST(Records, WhatIsOffStaysOff)
{
    flb_settings settings{};
    settings.hz = 1000;
    settings.tick_shift = 10;
    const ServiceRow service{.name = "", .slots = {}, .syn_failover = false};
    const flb_service record = to_record(service, settings);
    EXPECT_EQ(record.flags, FLB_SERVICE_VALID);
    EXPECT_EQ(record.refused_ticks, 0u);
    EXPECT_EQ(from_record(record, {}, settings), service);
}

TEST(Records, AHopIsWrittenWhole)
{
    flb_backend record{};
    const flb_hop hop{.mac = {1, 2, 3, 4, 5, 6}, .link = 0x1007, .vlan = {0xfff, 7}};
    put_hop(record.hop, hop);
    EXPECT_EQ(std::memcmp(&record.hop, &hop, sizeof(hop)), 0);
}

TEST(HookChoice, IsXdpForNetworkCardsAndTcForVirtualDevices)
{
    for (const char* driver : {"ixgbe", "mlx5_core", "virtio_net", "ena"})
        EXPECT_TRUE(choose_hook(driver).xdp) << driver;
    for (const char* driver : {"veth", "bridge", "macvlan", "bonding", "tun", "802.1Q VLAN Support", ""}) {
        EXPECT_FALSE(choose_hook(driver).xdp) << driver;
        EXPECT_FALSE(choose_hook(driver).why.empty()) << driver;
    }
}

} // namespace
} // namespace featherlb
