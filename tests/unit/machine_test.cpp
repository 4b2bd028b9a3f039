// SPDX-License-Identifier: Apache-2.0
#include "daemon/machine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace featherlb {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr const char* services = R"(
services:
  - name: web
    listen: ["10.0.0.1:80/tcp"]
    backends: [{name: a, address: "10.2.0.11:8080"}]
)";

IpAddress address(std::string_view text)
{
    return *IpAddress::parse(text);
}

Config config(const std::string& text)
{
    auto parsed = parse_config(text, "test.yaml");
    EXPECT_TRUE(parsed) << parsed.error().format();
    return parsed ? std::move(*parsed) : Config{};
}

Interface ethernet(std::uint32_t index, const std::string& name)
{
    Interface interface;
    interface.index = index;
    interface.name = name;
    interface.up = interface.carrier = interface.ethernet = true;
    interface.mtu = 1500;
    return interface;
}

// lo, front (10.0.0.1), back (10.2.0.1), spare (without an address).
Machine machine()
{
    Machine machine;
    Interface lo;
    lo.index = 1;
    lo.name = "lo";
    lo.up = lo.loopback = true;
    machine.interfaces = {lo, ethernet(2, "front"), ethernet(3, "back"), ethernet(4, "spare")};
    machine.addresses = {{.address = address("127.0.0.1"), .prefix_length = 8, .ifindex = 1},
        {.address = address("10.0.0.1"), .prefix_length = 24, .ifindex = 2},
        {.address = address("10.2.0.1"), .prefix_length = 24, .ifindex = 3}};
    machine.ports.local = PortRange{32768, 60999};
    return machine;
}

std::vector<std::string> names(const std::vector<ChosenInterface>& chosen)
{
    std::vector<std::string> all;
    for (const ChosenInterface& interface : chosen)
        all.push_back(interface.name);
    return all;
}

std::map<IpAddress, Way> way_by(std::uint32_t ifindex)
{
    Way way;
    way.ifindex = ifindex;
    return {{address("10.2.0.11"), way}};
}

TEST(CheckMachine, AConfigurationThatFitsHasNoProblem)
{
    const MachineReport report = check_machine(config(services), machine());
    EXPECT_THAT(report.problems, IsEmpty());
    EXPECT_THAT(report.warnings, IsEmpty());
}

TEST(CheckMachine, AMissingInterfaceIsNamedWithItsPlaceAndWhatWasMeant)
{
    const MachineReport report = check_machine(config(std::string("interfaces: [front, bakc]") + services), machine());
    ASSERT_EQ(report.problems.size(), 1u);
    EXPECT_EQ(report.problems[0].place.line, 1u);
    EXPECT_EQ(report.problems[0].place.column, 21u);
    EXPECT_EQ(report.problems[0].what, "interface \"bakc\" does not exist");
    EXPECT_EQ(report.problems[0].remedy, "did you mean \"back\"?");
}

TEST(CheckMachine, WithoutASimilarNameTheInterfacesAreListed)
{
    const MachineReport report = check_machine(config(std::string("interfaces: [wlan7]") + services), machine());
    ASSERT_EQ(report.problems.size(), 1u);
    EXPECT_EQ(report.problems[0].remedy, "this machine has front, back, spare");
}

TEST(CheckMachine, LoopbackIsRefused)
{
    const MachineReport report = check_machine(config(std::string("interfaces: [lo]") + services), machine());
    ASSERT_EQ(report.problems.size(), 1u);
    EXPECT_THAT(report.problems[0].what, HasSubstr("loopback"));
}

TEST(CheckMachine, AnInterfaceThatIsDownIsAWarning)
{
    Machine here = machine();
    here.interfaces[1].up = false;
    const MachineReport report = check_machine(config(std::string("interfaces: [front]") + services), here);
    EXPECT_THAT(report.problems, IsEmpty());
    EXPECT_THAT(report.warnings, ElementsAre(HasSubstr("front is down")));
}

TEST(CheckMachine, SourceAddressesMustBeTheMachinesOwn)
{
    const MachineReport report =
        check_machine(config(std::string("snat: {addresses: [10.2.0.9]}") + services), machine());
    ASSERT_EQ(report.problems.size(), 1u);
    EXPECT_THAT(report.problems[0].what, HasSubstr("10.2.0.9 is not an address of this machine"));
    EXPECT_THAT(report.problems[0].remedy, HasSubstr("10.0.0.1, 10.2.0.1"));
}

TEST(CheckMachine, SourcePortsMayNotBeTheMachinesOwn)
{
    const MachineReport report = check_machine(config(std::string("snat: {ports: 30000-40000}") + services), machine());
    ASSERT_EQ(report.problems.size(), 1u);
    EXPECT_THAT(report.problems[0].what, HasSubstr("30000-40000"));
    EXPECT_THAT(report.problems[0].what, HasSubstr("32768-60999"));
    EXPECT_THAT(report.problems[0].remedy, HasSubstr("use 1024-32767, or"));
}

TEST(CheckMachine, ReservedPortsAreNotTheMachinesOwn)
{
    Machine here = machine();
    here.ports.reserved = {{32768, 40000}};
    EXPECT_THAT(check_machine(config(std::string("snat: {ports: 30000-40000}") + services), here).problems, IsEmpty());
}

TEST(CheckMachine, WhereThereIsNoRoomBesideTheMachinesPortsReservingIsTheRemedy)
{
    Machine here = machine();
    here.ports.local = PortRange{1024, 65535};
    const MachineReport report = check_machine(config(services), here);
    ASSERT_EQ(report.problems.size(), 1u);
    EXPECT_THAT(report.problems[0].remedy, testing::StartsWith("keep the machine off them"));
}

TEST(CheckMachine, WithoutSnatThePortsDoNotMatter)
{
    Machine here = machine();
    here.ports.local = PortRange{1024, 65535};
    EXPECT_THAT(check_machine(config(std::string("defaults: {forward: dnat}") + services), here).problems, IsEmpty());
}

TEST(CheckMachine, AProgramThatListensWhereAServiceDoesIsAWarning)
{
    Machine here = machine();
    here.ports.listeners = {{{address("0.0.0.0"), 80}, Protocol::tcp}, {{address("0.0.0.0"), 80}, Protocol::udp},
        {{address("127.0.0.1"), 80}, Protocol::tcp}, {{address("10.2.0.1"), 80}, Protocol::tcp},
        {{address("0.0.0.0"), 22}, Protocol::tcp}};
    EXPECT_THAT(check_machine(config(services), here).warnings,
        ElementsAre(HasSubstr("listens on 0.0.0.0:80/tcp; while service web takes these packets")));
}

TEST(CheckMachine, AProgramThatListensInTheSourcePortsIsAWarning)
{
    Machine here = machine();
    here.ports.listeners = {{{address("0.0.0.0"), 9000}, Protocol::tcp}};
    EXPECT_THAT(check_machine(config(services), here).warnings, ElementsAre(HasSubstr("9000/tcp, inside snat.ports")));
}

TEST(ChooseInterfaces, ConfiguredOnesAreTakenAsTheyAre)
{
    const auto chosen = choose_interfaces(
        config(std::string("interfaces: [{name: spare, attach: xdp}, gone]") + services), machine(), way_by(3));
    ASSERT_EQ(chosen.size(), 1u);
    EXPECT_EQ(chosen[0], (ChosenInterface{4, "spare", Attach::xdp, "configured"}));
}

TEST(ChooseInterfaces, AutoTakesTheListenersInterfaceAndTheOneTowardsBackends)
{
    const auto chosen = choose_interfaces(config(services), machine(), way_by(3));
    ASSERT_EQ(names(chosen), (std::vector<std::string>{"front", "back"}));
    EXPECT_EQ(chosen[0].why, "carries 10.0.0.1");
    EXPECT_EQ(chosen[1].why, "leads to backend 10.2.0.11");
}

TEST(ChooseInterfaces, AListenerOnLoopbackOrNowhereMayBeAskedForEverywhere)
{
    Machine here = machine();
    here.addresses[1].ifindex = 1;
    here.addresses.push_back({.address = address("10.9.0.1"), .prefix_length = 24, .ifindex = 2});
    const auto chosen = choose_interfaces(config(services), here, {});
    ASSERT_EQ(names(chosen), (std::vector<std::string>{"front", "back"}));
    EXPECT_EQ(chosen[0].why, "may be asked for 10.0.0.1");
}

TEST(ChooseInterfaces, AutoLeavesOutWhatIsDown)
{
    Machine here = machine();
    here.interfaces[2].up = false;
    EXPECT_THAT(names(choose_interfaces(config(services), here, way_by(3))), ElementsAre("front"));
}

TEST(ChooseInterfaces, AnAddressOnAVlanDeviceCountsForTheDeviceBelow)
{
    Machine here = machine();
    Interface vlan = ethernet(9, "spare.10");
    vlan.vlan = VlanDevice{.parent = 4, .id = 10};
    here.interfaces.push_back(vlan);
    here.addresses[1].ifindex = 9;
    const auto chosen = choose_interfaces(config(services), here, {});
    EXPECT_THAT(names(chosen), ElementsAre("spare"));
    EXPECT_THAT(addresses_of(chosen, here), ElementsAre(address("10.0.0.1")));
}

TEST(HostPorts, RangesAreReadAsTheKernelWritesThem)
{
    const auto ranges = parse_port_ranges("32768\t60999\n");
    ASSERT_EQ(ranges.size(), 2u);
    EXPECT_EQ(ranges[1].first, 60999);
    const auto reserved = parse_port_ranges("80,1000-2000\n");
    ASSERT_EQ(reserved.size(), 2u);
    EXPECT_EQ(reserved[0].last, 80);
    EXPECT_EQ(reserved[1].last, 2000);
    EXPECT_THAT(parse_port_ranges("\n"), IsEmpty());
    EXPECT_THAT(parse_port_ranges("70000 x 5-y"), IsEmpty());
}

TEST(HostPorts, ListeningSocketsAreReadFromTheKernelsTables)
{
    const auto tcp = parse_socket_table(
        "  sl  local_address rem_address   st tx_queue rx_queue\n"
        "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1\n"
        "   1: 0100000A:0016 0200000A:C000 01 00000000:00000000 00:00000000 00000000     0        0 2 1\n",
        Protocol::tcp);
    ASSERT_EQ(tcp.size(), 1u);
    EXPECT_EQ(tcp[0].endpoint.to_string(), "127.0.0.1:8080");
    const auto udp =
        parse_socket_table("  sl  local_address                         remote_address                        st\n"
                           "  1: 00000000000000000000000001000000:0035 00000000000000000000000000000000:0000 07 0:0\n",
            Protocol::udp);
    ASSERT_EQ(udp.size(), 1u);
    EXPECT_EQ(udp[0].endpoint.to_string(), "[::1]:53");
    EXPECT_THAT(parse_socket_table("nonsense\n1: x 2 0A\n1: 0100007F:zz 0 0A\n", Protocol::tcp), IsEmpty());
}

} // namespace
} // namespace featherlb
