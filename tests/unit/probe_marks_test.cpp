// SPDX-License-Identifier: Apache-2.0
// Which backends are asked at the service address, and by which mark.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "daemon/machine.h"
#include "daemon/probe_marks.h"

namespace featherlb {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

IpAddress address_at(const std::string& text)
{
    return *IpAddress::parse(text);
}

Config config_of(const std::string& forward, const std::string& listen, const std::string& more = "")
{
    const std::string ipv6 = listen.find('[') == std::string::npos ? "" : R"(, {address: "[fd00::12]:80"})";
    const auto config = parse_config("services:\n  - name: web\n    listen: [" + listen + "]\n    forward: " + forward +
                                         "\n    health: {type: tcp" + more +
                                         "}\n    backends: [{address: \"10.0.1.11:80\"}" + ipv6 + "]\n",
        "test.yaml");
    EXPECT_TRUE(config.has_value()) << config.error().format();
    return config.value();
}
ServiceConfig web(const std::string& forward, const std::string& listen, const std::string& more = "")
{
    return config_of(forward, listen, more).services.at(0);
}

const Endpoint four{address_at("10.0.1.11"), 80}, six{address_at("fd00::12"), 80};
const std::string plain = R"("203.0.113.10:80/tcp")";

TEST(ProbedAddress, IsTheServicesWhereBackendsOwnIt)
{
    EXPECT_EQ(probed_address(web("dsr", plain), four), address_at("203.0.113.10"));
    EXPECT_EQ(probed_address(web("ipip", plain), four), address_at("203.0.113.10"));
    EXPECT_EQ(probed_address(web("snat", plain), four), std::nullopt);
    EXPECT_EQ(probed_address(web("dnat", plain), four), std::nullopt);
}

TEST(ProbedAddress, IsOfTheOtherIpVersionOnlyInATunnel)
{
    EXPECT_EQ(probed_address(web("ipip", plain), six), address_at("203.0.113.10"));
    EXPECT_EQ(probed_address(web("dsr", plain), six), std::nullopt);
}

TEST(OwnAddress, IsOfTheWayOutAndNoServices)
{
    Machine machine;
    machine.addresses = {{.address = address_at("10.0.0.5"), .ifindex = 2},
        {.address = address_at("fe80::1"), .ifindex = 3}, {.address = address_at("203.0.113.10"), .ifindex = 3},
        {.address = address_at("10.0.1.9"), .ifindex = 3, .deprecated = true},
        {.address = address_at("10.0.1.1"), .ifindex = 3}};
    EXPECT_EQ(own_address(machine, 3, Family::ipv4, {address_at("203.0.113.10")}), address_at("10.0.1.1"));
    EXPECT_EQ(own_address(machine, 3, Family::ipv6, {}), std::nullopt);
    EXPECT_EQ(own_address(machine, 4, Family::ipv4, {}), std::nullopt);
}

TEST(ProbedAddress, IsOfTheBackendsIpVersionIfItCanAndWrittenOut)
{
    EXPECT_EQ(probed_address(web("ipip", plain + R"(, "[2001:db8::10]:80/tcp")"), six), address_at("2001:db8::10"));
    EXPECT_EQ(probed_address(web("dsr", R"("*:80/tcp")"), four), std::nullopt);
}

TEST(ProbedAddress, PrefersAListenerOnThePortThatIsAsked)
{
    ServiceConfig service = web("dsr", plain);
    service.listeners = {{.address = address_at("203.0.113.9"), .port = 443},
        {.address = address_at("203.0.113.10"), .port = 80},
        {.address = address_at("203.0.113.11"), .port = 8000, .more_ports = 9}};
    EXPECT_EQ(probed_address(service, four), address_at("203.0.113.10"));
    service.failure.health->port = 443;
    EXPECT_EQ(probed_address(service, four), address_at("203.0.113.9"));
    service.failure.health->port = 8009;
    EXPECT_EQ(probed_address(service, four), address_at("203.0.113.11"));
    service.failure.health->port = 8010;
    EXPECT_EQ(probed_address(service, four), address_at("203.0.113.9")) << "none: the first";
}

TEST(ProbeMarks, StayWithABackendAndAreUsedAgainWhenItHasGone)
{
    ProbeMarks marks;
    const BackendKey a{"web", four}, b{"web", {address_at("10.0.1.12"), 80}}, c{"api", four};
    const ProbeRoute route{address_at("10.0.1.11"), address_at("203.0.113.10"), {}, false};
    marks.follow({{a, route}, {b, route}});
    const std::uint32_t of_a = marks.mark_of(a), of_b = marks.mark_of(b);
    EXPECT_EQ(of_a & FLB_PROBE_MARK_MASK, FLB_PROBE_MARK);
    EXPECT_NE(of_a, of_b);
    EXPECT_EQ(marks.mark_of(c), 0u);
    marks.follow({{b, route}, {c, route}});
    EXPECT_EQ(marks.mark_of(a), 0u);
    EXPECT_EQ(marks.mark_of(b), of_b) << "a reload does not change the mark of checks under way";
    EXPECT_EQ(marks.mark_of(c), of_a);
    const ProbeRoute other{address_at("10.0.1.11"), address_at("203.0.113.11"), {}, true};
    marks.follow({{b, other}});
    EXPECT_EQ(marks.by_mark(), (std::map<std::uint32_t, ProbeRoute>{{of_b, other}}));
}

TEST(ProbeWarnings, NameBackendsThatAreAskedAtTheirOwnAddress)
{
    EXPECT_THAT(probe_warnings(config_of("dsr", R"("*:80/tcp")")),
        ElementsAre(testing::AllOf(HasSubstr("\"web\""), HasSubstr("10.0.1.11:80"), HasSubstr("own address"))));
    Config crossing = config_of("ipip", plain);
    crossing.services[0].backends[0].target = six;
    EXPECT_THAT(probe_warnings(crossing), IsEmpty());
    crossing.services[0].forward = Forward::dsr;
    EXPECT_THAT(probe_warnings(crossing), ElementsAre(HasSubstr("no listener has an address of IPv6")));
    EXPECT_THAT(probe_warnings(config_of("ipip", plain + R"(, "[2001:db8::10]:80/tcp")")), IsEmpty());
    EXPECT_THAT(probe_warnings(config_of("dnat", plain)), IsEmpty());
}

} // namespace
} // namespace featherlb
