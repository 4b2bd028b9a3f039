// SPDX-License-Identifier: Apache-2.0
// `featherlb decap`: its options, and which of the host's addresses may be what.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/arguments.h"
#include "kernel/decap.h"

namespace featherlb {
namespace {

using cli::Arguments;
using cli::EarlyExit;
using testing::ElementsAre;
using testing::HasSubstr;

IpAddress at(const std::string& text)
{
    return *IpAddress::parse(text);
}

DecapOptions accepted(std::vector<std::string> words)
{
    words.insert(words.begin(), "decap");
    const auto parsed = cli::parse_arguments(words);
    if (const auto* early = std::get_if<EarlyExit>(&parsed)) {
        ADD_FAILURE() << early->text;
        return {};
    }
    EXPECT_EQ(std::get<Arguments>(parsed).command, cli::Command::decap);
    return std::get<Arguments>(parsed).decap_options;
}

std::string refused(std::vector<std::string> words)
{
    words.insert(words.begin(), "decap");
    const auto parsed = cli::parse_arguments(words);
    const auto* early = std::get_if<EarlyExit>(&parsed);
    if (early == nullptr)
        return "accepted";
    EXPECT_EQ(early->code, exit_usage);
    EXPECT_EQ(early->text.find('\n'), std::string::npos);
    return early->text;
}

TEST(DecapOptions, AreTaken)
{
    const DecapOptions options = accepted({"--interface", "eth0", "--interface", "eth1", "--attach", "xdp", "--service",
        "203.0.113.10", "--service", "2001:db8::10", "--from", "10.0.0.0/24", "--mtu", "1400", "--json"});
    EXPECT_THAT(options.interfaces, ElementsAre("eth0", "eth1"));
    EXPECT_EQ(options.attach, Attach::xdp);
    EXPECT_THAT(options.services, ElementsAre(at("203.0.113.10"), at("2001:db8::10")));
    EXPECT_THAT(options.from, ElementsAre(NetworkPrefix::of(at("10.0.0.0"), 24)));
    EXPECT_EQ(options.mtu, 1400u);
    EXPECT_TRUE(options.json);
    const DecapOptions least = accepted({"--interface", "eth0"});
    EXPECT_EQ(least.attach, Attach::tc);
    EXPECT_TRUE(least.services.empty() && least.from.empty() && !least.mtu && !least.json);
    EXPECT_EQ(accepted({"--interface", "e", "--attach", "xdp-generic"}).attach, Attach::xdp_generic);
}

TEST(DecapOptions, ThatCannotBeMeantAreRefused)
{
    EXPECT_THAT(refused({}), HasSubstr("decap needs --interface NAME"));
    EXPECT_THAT(refused({"--interface", "a", "--interface", "a"}), HasSubstr("--interface \"a\" is given twice"));
    EXPECT_THAT(refused({"--interface", "a", "--attach", "auto"}), HasSubstr("use tc, xdp or xdp-generic"));
    EXPECT_THAT(refused({"--interface", "a", "--service", "10.0.0.1/32"}), HasSubstr("--service: "));
    EXPECT_THAT(refused({"--interface", "a", "--service", "127.0.0.1"}), HasSubstr("loopback"));
    EXPECT_THAT(refused({"--interface", "a", "--from", "10.0.0.1"}), HasSubstr("write 10.0.0.1/32"));
    EXPECT_THAT(refused({"--interface", "a", "--from", "10.0.0.1/24"}), HasSubstr("bits behind its prefix"));
    EXPECT_THAT(refused({"--interface", "a", "--mtu", "100"}), HasSubstr("--mtu 100 is not from 576 to 65535"));
    EXPECT_NE(refused({"eth0"}), "accepted");
}

class DecapRolesTest : public testing::Test {
protected:
    DecapRolesTest()
    {
        featherlb::Interface lo, eth0;
        lo.index = 1;
        lo.loopback = true;
        eth0.index = 2;
        interfaces_ = {lo, eth0};
        add("127.0.0.1", 1);
        add("::1", 1);
        add("203.0.113.10", 1);
        add("2001:db8::10", 1);
        add("10.0.1.11", 2);
        add("203.0.113.11", 2);
    }
    void add(const std::string& address, std::uint32_t index)
    {
        addresses_.push_back({.address = at(address), .prefix_length = 32, .ifindex = index});
    }
    std::vector<Interface> interfaces_;
    std::vector<InterfaceAddress> addresses_;
};

TEST_F(DecapRolesTest, WithoutServicesTheAddressesOnLoAreServices)
{
    const DecapRoles expected{{at("203.0.113.10"), FLB_DECAP_SERVICE}, {at("2001:db8::10"), FLB_DECAP_SERVICE},
        {at("10.0.1.11"), FLB_DECAP_OUTER}, {at("203.0.113.11"), FLB_DECAP_OUTER}};
    EXPECT_EQ(decap_roles(interfaces_, addresses_, {}), expected);
}

TEST_F(DecapRolesTest, ServicesThatAreNamedAreTheOnlyOnesIfTheHostHasThem)
{
    const DecapRoles expected{{at("203.0.113.10"), FLB_DECAP_OUTER}, {at("2001:db8::10"), FLB_DECAP_OUTER},
        {at("10.0.1.11"), FLB_DECAP_OUTER}, {at("203.0.113.11"), FLB_DECAP_SERVICE}};
    EXPECT_EQ(decap_roles(interfaces_, addresses_, {at("203.0.113.11"), at("198.51.100.1")}), expected);
}

TEST_F(DecapRolesTest, AnAddressOnTwoDevicesIsAService)
{
    add("203.0.113.10", 2);
    EXPECT_EQ(decap_roles(interfaces_, addresses_, {}).at(at("203.0.113.10")), FLB_DECAP_SERVICE);
}

} // namespace
} // namespace featherlb
