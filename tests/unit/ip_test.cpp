// SPDX-License-Identifier: Apache-2.0
#include "base/ip.h"

#include <cstring>
#include <set>
#include <unordered_set>

#include <gtest/gtest.h>

namespace featherlb {
namespace {

IpAddress address(std::string_view text)
{
    const auto parsed = IpAddress::parse(text);
    EXPECT_TRUE(parsed.has_value()) << text;
    return parsed.value_or(IpAddress{});
}

TEST(IpAddress, reads_and_prints_both_families_canonically)
{
    EXPECT_EQ(address("10.0.1.255").to_string(), "10.0.1.255");
    EXPECT_EQ(address("0.0.0.0").to_string(), "0.0.0.0");
    EXPECT_EQ(address("2001:DB8:0:0:0:0:0:1").to_string(), "2001:db8::1");
    EXPECT_EQ(address("2001:db8:0:1:1:1:1:1").to_string(), "2001:db8:0:1:1:1:1:1");
    EXPECT_EQ(address("2001:0:0:1:0:0:0:1").to_string(), "2001:0:0:1::1");
    EXPECT_EQ(address("2001:db8:0:0:1:0:0:1").to_string(), "2001:db8::1:0:0:1");
    EXPECT_EQ(address("fd00:0:0:0:0:0:0:0").to_string(), "fd00::");
    EXPECT_EQ(address("::").to_string(), "::");
    EXPECT_EQ(address("::1").to_string(), "::1");
    EXPECT_EQ(address("::1:2").to_string(), "::1:2");
    EXPECT_EQ(address("1:2:3:4:5:6:7:8").to_string(), "1:2:3:4:5:6:7:8");
    EXPECT_EQ(address("64:ff9b::10.0.0.1").to_string(), "64:ff9b::a00:1");
}

TEST(IpAddress, refuses_what_is_not_exactly_an_address)
{
    using namespace std::string_view_literals;
    for (const std::string_view text : {""sv, "10"sv, "10.0.0"sv, "10.0.0.256"sv, "10.0.0.01"sv, "010.0.0.1"sv,
             " 10.0.0.1"sv, "10.0.0.1 "sv, "10.0.0.1/24"sv, "0x0a.0.0.1"sv, "10.0.0.1\0"sv, "::ffff:10.0.0.1"sv,
             "::ffff:a00:1"sv, "[::1]"sv, "fe80::1%eth0"sv, ":::"sv, "1::2::3"sv, "12345::"sv, "1:2:3:4:5:6:7"sv,
             "1:2:3:4:5:6:7:8:9"sv, "::10.0.0.01"sv})
        EXPECT_FALSE(IpAddress::parse(text).has_value()) << text;
    EXPECT_FALSE(IpAddress::parse(std::string(1000, '1')).has_value());
}

TEST(IpAddress, knows_special_addresses)
{
    EXPECT_TRUE(address("0.0.0.0").is_unspecified());
    EXPECT_TRUE(address("::").is_unspecified());
    EXPECT_FALSE(address("::1").is_unspecified());
    EXPECT_TRUE(address("127.8.0.1").is_loopback());
    EXPECT_TRUE(address("::1").is_loopback());
    EXPECT_FALSE(address("1::1").is_loopback());
    EXPECT_TRUE(address("224.0.0.1").is_multicast());
    EXPECT_TRUE(address("239.255.255.255").is_multicast());
    EXPECT_TRUE(address("255.255.255.255").is_multicast());
    EXPECT_FALSE(address("240.0.0.1").is_multicast());
    EXPECT_TRUE(address("ff02::1").is_multicast());
    EXPECT_TRUE(address("169.254.1.1").is_link_local());
    EXPECT_TRUE(address("fe80::1").is_link_local());
    EXPECT_TRUE(address("febf::1").is_link_local());
    EXPECT_FALSE(address("fec0::1").is_link_local());
}

TEST(IpAddress, survives_the_way_through_the_abi)
{
    for (const auto* text : {"10.1.2.3", "2001:db8::a:b"}) {
        const IpAddress original = address(text);
        EXPECT_EQ(IpAddress::from_abi(original.to_abi(), original.family()), original);
    }
    flb_addr dirty{};
    for (auto& byte : dirty.bytes)
        byte = 7;
    EXPECT_EQ(IpAddress::from_abi(dirty, Family::ipv4), address("7.7.7.7")) << "IPv4 takes only the first four bytes";
}

TEST(IpAddress, folds_as_the_packet_programs_do)
{
    const auto* bytes = reinterpret_cast<const std::uint8_t*>("\x0a\x01\x02\x03");
    std::uint32_t word = 0;
    std::memcpy(&word, bytes, 4);
    EXPECT_EQ(address("10.1.2.3").folded(), word);
    const flb_addr raw = address("2001:db8:1:2:3:4:5:6").to_abi();
    std::uint32_t words[4];
    std::memcpy(words, raw.bytes, 16);
    EXPECT_EQ(address("2001:db8:1:2:3:4:5:6").folded(), flb_fold_ipv6(words[0], words[1], words[2], words[3]));
}

TEST(IpAddress, has_an_order_and_a_hash)
{
    EXPECT_LT(address("10.0.0.2"), address("10.0.0.10"));
    EXPECT_LT(address("255.0.0.1"), address("::1")) << "IPv4 comes first";
    EXPECT_NE(address("0.0.0.0"), address("::"));
    const std::unordered_set<IpAddress> set{address("10.0.0.1"), address("10.0.0.1"), address("::1")};
    EXPECT_EQ(set.size(), 2u);
}

TEST(Endpoint, reads_and_prints_address_and_port)
{
    EXPECT_EQ(Endpoint::parse("10.0.0.1:80"), (Endpoint{address("10.0.0.1"), 80}));
    EXPECT_EQ(Endpoint::parse("[2001:db8::1]:65535"), (Endpoint{address("2001:db8::1"), 65535}));
    EXPECT_EQ((Endpoint{address("10.0.0.1"), 80}).to_string(), "10.0.0.1:80");
    EXPECT_EQ((Endpoint{address("2001:db8::1"), 80}).to_string(), "[2001:db8::1]:80");
    for (const auto* text : {"", "10.0.0.1", "10.0.0.1:", "10.0.0.1:0", "10.0.0.1:080", "10.0.0.1:65536",
             "10.0.0.1:+80", "10.0.0.1:99999999999", "[10.0.0.1]:80", "2001:db8::1:80", "[2001:db8::1]",
             "[2001:db8::1]80", "[]:80", ":80"})
        EXPECT_FALSE(Endpoint::parse(text).has_value()) << text;
    const std::set<Endpoint> order{{address("10.0.0.1"), 443}, {address("10.0.0.1"), 80}};
    EXPECT_EQ(order.begin()->port, 80);
    EXPECT_EQ(std::unordered_set<Endpoint>(order.begin(), order.end()).size(), 2u);
}

TEST(IpNames, are_those_of_the_configuration)
{
    EXPECT_EQ(to_string(Family::ipv4), "IPv4");
    EXPECT_EQ(to_string(Family::ipv6), "IPv6");
    EXPECT_EQ(to_string(Protocol::tcp), "tcp");
    EXPECT_EQ(to_string(Protocol::udp), "udp");
}

} // namespace
} // namespace featherlb
