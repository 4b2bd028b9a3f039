// SPDX-License-Identifier: Apache-2.0
// What a backend is told to do, for each way of forwarding. That the commands work is the lab's part.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "observe/backend_setup.h"

namespace featherlb {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::StartsWith;

IpAddress at(const std::string& text)
{
    return *IpAddress::parse(text);
}

ServiceConfig forwarded_web(const std::string& forward, const std::string& listen = R"("203.0.113.10:80/tcp")")
{
    const std::string ipv6 = listen.find('[') == std::string::npos ? "" : R"(, {name: b2, address: "[fd00::12]:80"})";
    const auto config = parse_config(
        "services:\n  - name: web\n    listen: [" + listen + "]\n    forward: " + forward +
            "\n    algorithm: round-robin\n    backends: [{name: b1, address: \"10.0.1.11:80\"}" + ipv6 + "]\n",
        "test.yaml");
    EXPECT_TRUE(config.has_value()) << config.error().format();
    return config.value().services.at(0);
}

const BackendView four{
    .name = "b1", .address = at("10.0.1.11"), .balancer = at("10.0.1.1"), .on_link = true, .mtu = 1500};
const BackendView six{.name = "b2", .address = at("fd00::12"), .balancer = at("fd00::1"), .on_link = true, .mtu = 1500};
const std::string both = R"("203.0.113.10:80/tcp", "203.0.113.10:80/udp", "[2001:db8::10]:80/tcp")";

TEST(BackendSetup, SnatNeedsNothingAndSaysSo)
{
    const BackendSetup setup = backend_setup(forwarded_web("snat"), four);
    EXPECT_THAT(setup.commands, IsEmpty());
    EXPECT_THAT(setup.notes, ElementsAre(HasSubstr("nothing to do")));
}

TEST(BackendSetup, DnatRoutesThroughTheBalancer)
{
    EXPECT_THAT(backend_setup(forwarded_web("dnat", both), four).commands,
        ElementsAre("ip -4 route replace default via 10.0.1.1"));
    EXPECT_THAT(backend_setup(forwarded_web("dnat", both), six).commands,
        ElementsAre("ip -6 route replace default via fd00::1"));
    BackendView far = four;
    far.on_link = false;
    const BackendSetup setup = backend_setup(forwarded_web("dnat"), far);
    EXPECT_THAT(setup.commands, IsEmpty());
    EXPECT_THAT(setup.notes, ElementsAre(HasSubstr("a router between")));
}

TEST(BackendSetup, DsrOwnsTheAddressOnlyAfterItIsSilentAboutIt)
{
    EXPECT_THAT(backend_setup(forwarded_web("dsr", both), four).commands,
        ElementsAre("sysctl -w net.ipv4.conf.all.arp_ignore=1", "sysctl -w net.ipv4.conf.all.arp_announce=2",
            "sysctl -w net.ipv4.conf.all.rp_filter=2", "ip -4 addr replace 203.0.113.10/32 dev lo"));
    EXPECT_THAT(backend_setup(forwarded_web("dsr", both), six).commands,
        ElementsAre("ip -6 addr replace 2001:db8::10/128 dev lo nodad preferred_lft 0"));
    EXPECT_THAT(backend_setup(forwarded_web("dsr", both), four).alternative, IsEmpty());
}

TEST(BackendSetup, IpipHasATunnelForEachIpVersionInside)
{
    const BackendSetup setup = backend_setup(forwarded_web("ipip", both), four);
    EXPECT_THAT(setup.commands, Contains(HasSubstr("ip link add flb4in4 type ipip local 10.0.1.11 remote any")));
    EXPECT_THAT(setup.commands, Contains(HasSubstr("ip link add flb6in4 type sit local 10.0.1.11 remote any")));
    EXPECT_THAT(setup.commands, Contains(AllOf(StartsWith("ip -4 route"), HasSubstr(" advmss 1440"))));
    EXPECT_THAT(setup.commands, Contains(AllOf(StartsWith("ip -6 route"), HasSubstr(" advmss 1420"))));
    const BackendSetup other = backend_setup(forwarded_web("ipip", both), six);
    EXPECT_THAT(other.commands, Contains(HasSubstr("type ip6tnl mode any encaplimit none local fd00::12 remote ::")));
    EXPECT_THAT(other.commands, Contains(AllOf(StartsWith("ip -4 route"), HasSubstr(" advmss 1420"))));
    EXPECT_THAT(other.commands, Contains(AllOf(StartsWith("ip -6 route"), HasSubstr(" advmss 1400"))));
}

// Linux drops what comes by a device without an IPv4 address from a source whose route is another device's, unless
// rp_filter is 0.
TEST(BackendSetup, IpipTunnelsOfIpv4HaveTheServiceAddressThemselves)
{
    EXPECT_THAT(backend_setup(forwarded_web("ipip", both), four).commands,
        Contains("ip -4 addr replace 203.0.113.10/32 dev flb4in4"));
    EXPECT_THAT(backend_setup(forwarded_web("ipip", both), six).commands,
        Contains("ip -4 addr replace 203.0.113.10/32 dev flb4in6"));
}

TEST(BackendSetup, IpipCanDoWithoutADeviceByDecap)
{
    const BackendSetup setup = backend_setup(forwarded_web("ipip"), four);
    EXPECT_THAT(setup.alternative, ElementsAre(AllOf(StartsWith("featherlb decap --interface "),
                                       HasSubstr("--from 10.0.1.1/32"), HasSubstr("--service 203.0.113.10"))));
    EXPECT_THAT(setup.notes, Not(Contains(HasSubstr("--attach xdp"))));
    BackendView varied = four;
    varied.sources = {NetworkPrefix::of(at("10.127.0.0"), 16)};
    EXPECT_THAT(backend_setup(forwarded_web("ipip"), varied).alternative,
        ElementsAre(HasSubstr("--from 10.0.1.1/32 --from 10.127.0.0/16 ")));
    EXPECT_THAT(backend_setup(forwarded_web("ipip", both), four).notes, Contains(HasSubstr("--attach xdp")));
    const nlohmann::json json = setups_to_json(forwarded_web("ipip"), {setup});
    const std::vector<std::string> with_decap = json["backends"][0]["commands_with_decap"];
    EXPECT_THAT(with_decap, ElementsAre(HasSubstr("arp_ignore"), HasSubstr("arp_announce"), HasSubstr("rp_filter"),
                                HasSubstr("addr replace"), HasSubstr("featherlb decap")));
}

TEST(BackendSetup, StarNamesNoAddressAndIsTold)
{
    EXPECT_THAT(
        backend_setup(forwarded_web("dsr", R"("*:80/tcp")"), four).notes, ElementsAre(HasSubstr("listens on \"*\"")));
}

TEST(BackendSetup, TextIsAScriptInWhichAllButTheCommandsIsComment)
{
    const ServiceConfig service = forwarded_web("ipip", both);
    const BackendSetup setup = backend_setup(service, four);
    const std::string text = format_setups(service, {setup});
    EXPECT_THAT(text, HasSubstr("# service web (ipip): on backend b1 (10.0.1.11)\n"));
    std::vector<std::string> commands;
    for (std::size_t from = 0; from < text.size();) {
        const std::size_t to = text.find('\n', from);
        ASSERT_NE(to, std::string::npos) << "the last line is whole";
        if (text[from] != '#' && from != to)
            commands.push_back(text.substr(from, to - from));
        from = to + 1;
    }
    EXPECT_EQ(commands, setup.commands);
}

} // namespace
} // namespace featherlb
