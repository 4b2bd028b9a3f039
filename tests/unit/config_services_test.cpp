// SPDX-License-Identifier: Apache-2.0
// Services that are wrong: listeners, backends, and what does not go together.
#include "unit/config_cases.h"

namespace featherlb {
namespace {

using config_test::expect_problem;
using config_test::listening;
using config_test::problems_of;
using config_test::service_with;
using config_test::web;
using config_test::with_backend;

void expect_listen_problem(const std::string& text, std::string_view what, std::string_view remedy)
{
    SCOPED_TRACE(text);
    expect_problem(listening("§\"" + text + "\""), what, remedy);
}

void expect_address_problem(const std::string& text, std::string_view what, std::string_view remedy)
{
    SCOPED_TRACE(text);
    expect_problem(with_backend("{address: §\"" + text + "\"}"), what, remedy);
}

void expect_dns_problem(const std::string& text, std::string_view what, std::string_view remedy)
{
    SCOPED_TRACE(text);
    expect_problem(with_backend("{dns: §\"" + text + "\"}"), what, remedy);
}

void expect_source_problem(const std::string& text, std::string_view what, std::string_view remedy)
{
    SCOPED_TRACE(text);
    expect_problem("snat: {addresses: [§\"" + text + "\"]}\n" + web, what, remedy);
}

TEST(ConfigListen, has_a_protocol)
{
    expect_listen_problem("10.1.0.1:80", "\"10.1.0.1:80\" has no protocol", "write \"10.1.0.1:80/tcp\"");
    expect_listen_problem("10.1.0.1", "has no protocol", "write \"10.1.0.1:80/tcp\"");
    expect_listen_problem("10.1.0.1:80/sctp", "unknown protocol \"sctp\"", "supported: tcp, udp");
    expect_listen_problem("10.1.0.1:80/TCP", "unknown protocol \"TCP\"", "did you mean \"tcp\"?");
    expect_listen_problem("10.1.0.1:80/", "unknown protocol \"\"", "supported: tcp, udp");
    expect_problem(listening("§80"), "listen must be text, not the number 80", "quotes");
}

TEST(ConfigListen, has_a_port)
{
    expect_listen_problem("10.1.0.1/tcp", "\"10.1.0.1\" has no port", "write \"10.1.0.1:80/tcp\"");
    expect_listen_problem("[fd00::1]/tcp", "\"[fd00::1]\" has no port behind ]", "write \"[fd00::1]:80/tcp\"");
    expect_listen_problem("10.1.0.1:/tcp", "the port is missing", "write a port from 1 to 65535");
    expect_listen_problem("10.1.0.1:0/tcp", "the port 0 is not from 1 to 65535", "write a port from 1 to 65535");
    expect_listen_problem("10.1.0.1:65536/tcp", "the port 65536 is not from 1 to 65535", "from 1 to 65535");
    expect_listen_problem("10.1.0.1:99999999999999999999999/tcp", "is not from 1 to 65535", "from 1 to 65535");
    expect_listen_problem("10.1.0.1:080/tcp", "the port \"080\" has a leading zero", "such as 80");
    expect_listen_problem("10.1.0.1:0x50/tcp", "the port \"0x50\" is not a decimal number", "from 1 to 65535");
    expect_listen_problem("10.1.0.1:+80/tcp", "the port \"+80\" is not a decimal number", "from 1 to 65535");
    expect_listen_problem("10.1.0.1:http/tcp", "the port \"http\" is not a decimal number", "from 1 to 65535");
    expect_listen_problem("10.1.0.1: 80/tcp", "the port \" 80\" is not a decimal number", "from 1 to 65535");
}

TEST(ConfigListen, has_ranges_that_are_sound)
{
    expect_listen_problem(
        "*:8099-8000/udp", "the range of ports \"8099-8000\" ends before it begins", "write 8000-8099");
    expect_listen_problem("*:0-10/udp", "the port 0 is not from 1 to 65535", "from 1 to 65535");
    expect_listen_problem("*:10-65536/udp", "the port 65536 is not from 1 to 65535", "from 1 to 65535");
    expect_listen_problem("*:10-/udp", "the port is missing", "from 1 to 65535");
    expect_listen_problem("*:-10/udp", "the port is missing", "from 1 to 65535");
    expect_listen_problem("*:10-20-30/udp", "the port \"20-30\" is not a decimal number", "from 1 to 65535");
    expect_listen_problem("*:10-0x20/udp", "the port \"0x20\" is not a decimal number", "from 1 to 65535");
    expect_listen_problem("*:010-20/udp", "the port \"010\" has a leading zero", "such as 10");
}

TEST(ConfigListen, has_an_address_or_a_star)
{
    expect_listen_problem("web.internal:80/tcp", "\"web.internal\" is not an address", "such as 10.0.1.11");
    expect_listen_problem("10.1.0:80/tcp", "\"10.1.0\" is not an IPv4 address", "four numbers from 0 to 255");
    expect_listen_problem("10.1.0.256:80/tcp", "\"10.1.0.256\" is not an IPv4 address", "four numbers from 0 to 255");
    expect_listen_problem("10.01.0.1:80/tcp", "\"10.01.0.1\" has leading zeros", "write 10.1.0.1");
    expect_listen_problem("0x0a.1.0.1:80/tcp", "\"0x0a.1.0.1\" is not an address", "such as 10.0.1.11");
    expect_listen_problem("10.1.0.0/24:80/tcp", "\"10.1.0.0/24\" is a network, not one address", "without /");
    expect_listen_problem("[*]:80/tcp", "\"*\" is not an address", "such as 10.0.1.11");
    expect_listen_problem("**:80/tcp", "\"**\" is not an address", "such as 10.0.1.11");
}

TEST(ConfigListen, has_ipv6_in_brackets)
{
    expect_listen_problem(
        "fd00::1:80/tcp", "\"fd00::1:80\" has an IPv6 address without brackets", "write \"[fd00::1]:80/tcp\"");
    expect_listen_problem("[fd00::1:80/tcp", "has [ without ]", "write \"[2001:db8::10]:80/tcp\"");
    expect_listen_problem("[fd00::1]80/tcp", "has no port behind ]", "write \"[fd00::1]:80/tcp\"");
    expect_listen_problem("[fd00::g]:80/tcp", "\"fd00::g\" is not an IPv6 address", "such as 2001:db8::10");
    expect_listen_problem("[]:80/tcp", "\"\" is not an", "write");
    expect_listen_problem(
        "[10.1.0.1]:80/tcp", "brackets are for IPv6, and 10.1.0.1 is IPv4", "write \"10.1.0.1:80/tcp\"");
    expect_listen_problem("[fe80::1%eth0]:80/tcp", "\"fe80::1%eth0\" has an interface (%)", "without %");
    expect_listen_problem("[::ffff:10.1.0.1]:80/tcp", "is an IPv4 address in IPv6 form", "write 10.1.0.1");
    expect_listen_problem("[::ffff:a01:1]:80/tcp", "is an IPv4 address in IPv6 form", "write it as 10.0.0.1");
}

TEST(ConfigListen, has_an_address_that_packets_may_carry)
{
    expect_listen_problem("0.0.0.0:80/tcp", "0.0.0.0 is no address to listen on", "write \"*\" for every address");
    expect_listen_problem("[::]:80/tcp", ":: is no address to listen on", "write \"*\" for every address");
    expect_listen_problem("127.0.0.1:80/tcp", "127.0.0.1 is a loopback address", "that the network knows");
    expect_listen_problem("[::1]:80/tcp", "::1 is a loopback address", "that the network knows");
    expect_listen_problem("224.0.0.1:80/udp", "224.0.0.1 is a multicast or broadcast address", "one machine");
    expect_listen_problem("255.255.255.255:80/udp", "is a multicast or broadcast address", "one machine");
    expect_listen_problem("[ff02::1]:80/udp", "ff02::1 is a multicast or broadcast address", "one machine");
    expect_listen_problem("[fe80::1]:80/tcp", "fe80::1 is a link-local address", "fd00::/8");
}

TEST(ConfigBackend, has_an_address_that_can_be_reached)
{
    expect_address_problem("10.0.0.1:", "the port is missing", "write a port from 1 to 65535");
    expect_address_problem("fd00::1", "\"fd00::1\" has an IPv6 address without brackets",
        "write \"[fd00::1]:8080\", or \"[fd00::1]\" to keep the port");
    expect_address_problem("[fd00::1", "has [ without ]", "write \"[fd00::11]:8080\"");
    expect_address_problem("[10.0.0.1]", "brackets are for IPv6", "write \"10.0.0.1\"");
    expect_address_problem("web.internal", "is a name, not an address", "write dns: \"web.internal\"");
    expect_address_problem("*", "\"*\" is not an address", "such as 10.0.1.11");
    expect_address_problem("127.0.0.1", "127.0.0.1 is a loopback address", "on the network");
    expect_address_problem("10.0.0.1:0", "the port 0 is not from 1 to 65535", "from 1 to 65535");
    expect_address_problem("10.0.0.1:80-81", "\"80-81\" is a range of ports", "write one port, or none");
    expect_address_problem(
        "10.0.0.1:80/tcp", "names a protocol; a backend's is that of the listener", "write \"10.0.0.1:80\"");
    expect_address_problem(
        "web.internal:80", "\"web.internal\" is a name, not an address", "write dns: \"web.internal:80\"");
    expect_address_problem("10.0.0.300:80", "\"10.0.0.300\" is not an IPv4 address", "four numbers");
    expect_address_problem("fd00::1:80", "without brackets", "write \"[fd00::1]:80\"");
    expect_address_problem("0.0.0.0:80", "0.0.0.0 is no address of a machine", "the machine's own address");
    expect_address_problem("0.1.2.3:80", "0.1.2.3 is no address of a machine", "the machine's own address");
    expect_address_problem("127.0.0.1:80", "127.0.0.1 is a loopback address, to which nothing can be forwarded",
        "the address that the backend has on the network");
    expect_address_problem("[::1]:80", "::1 is a loopback address", "on the network");
    expect_address_problem("239.1.1.1:80", "multicast", "one machine");
    expect_address_problem("[fe80::1]:80", "link-local", "fd00::/8");
    expect_address_problem("*:80", "\"*\" is not an address", "such as 10.0.1.11");
}

TEST(ConfigBackend, has_a_dns_name_that_can_be_looked_up)
{
    expect_dns_problem("web.internal:", "the port is missing", "write a port from 1 to 65535");
    expect_dns_problem("10.0.0.1", "\"10.0.0.1\" is an address, not a name", "write address: \"10.0.0.1\"");
    expect_dns_problem("[fd00::1]", "is not a DNS name", "such as \"web.internal:8080\"");
    expect_dns_problem("10.0.0.1:80", "\"10.0.0.1:80\" is an address, not a name", "write address: \"10.0.0.1:80\"");
    expect_dns_problem("fd00::1", "\"fd00::1\" is an address, not a name", "write address: \"[fd00::1]\"");
    for (const std::string host : {"", "-web", "web-", "a..b", ".a", "a b", "a/b", "999.0.0.1", "10", "wéb",
             "0123456789012345678901234567890123456789012345678901234567890123"})
        expect_dns_problem(host + ":80", "is not a DNS name", "such as \"web.internal:8080\"");
    for (const std::string host : {"-web", "a..b", "a b", "999.0.0.1", "10"})
        expect_dns_problem(host, "is not a DNS name", "such as \"web.internal:8080\"");
    std::string long_name = "a";
    while (long_name.size() < 254)
        long_name += ".a";
    expect_dns_problem(long_name + ":80", "is not a DNS name", "letters, digits");
    expect_dns_problem("web.internal:0", "the port 0 is not from 1 to 65535", "from 1 to 65535");
}

TEST(ConfigBackend, has_either_an_address_or_a_name)
{
    expect_problem(with_backend("§{weight: 1}"), "a backend has neither address nor dns",
        "add address: \"10.0.1.11:8080\" or dns");
    expect_problem(
        with_backend("{address: \"10.0.0.1:80\", §dns: \"a:80\"}"), "either address or dns, not both", "two backends");
}

TEST(ConfigBackend, is_in_a_service_once)
{
    const auto two = [](const std::string& first, const std::string& second) {
        return service_with("\"*:80/tcp\"", "\n      - " + first + "\n      - " + second);
    };
    expect_problem(two("{address: \"10.0.0.1:80\"}", "{address: §\"10.0.0.1:80\"}"),
        "the backend 10.0.0.1:80 is there twice", "the one in line 5");
    expect_problem(two("{address: \"[fd00::1]:80\"}", "{address: §\"[FD00:0::1]:80\"}"),
        "the backend [fd00::1]:80 is there twice", "the one in line 5");
    expect_problem(two("{dns: \"Web.internal.:80\"}", "{dns: §\"web.internal:80\"}"),
        "the backend \"web.internal:80\" is there twice", "the one in line 5");
    expect_problem(two("{name: a, dns: \"a:80\"}", "{name: §a, dns: \"a:81\"}"),
        "the backend name \"a\" is there twice", "the one in line 5");
    EXPECT_EQ(problems_of(two("{address: \"10.0.0.1:80\"}", "{address: \"10.0.0.1:81\"}")), "");
}

TEST(ConfigWeights, mean_nothing_to_round_robin)
{
    const std::string text = with_backend("{dns: \"a:80\", weight: §2}");
    expect_problem("defaults: {algorithm: round-robin}\n" + text, "round-robin does not use weights, and this one is 2",
        "write algorithm: weighted-round-robin, or remove the weight");
    expect_problem(text + "\n    algorithm: round-robin\n", "round-robin does not use weights", "weighted-round-robin");
    std::string sound = text;
    sound.erase(sound.find("§"), std::string("§").size());
    EXPECT_EQ(
        problems_of("defaults: {algorithm: round-robin}\n" + sound + "\n    algorithm: weighted-round-robin\n"), "");
}

TEST(ConfigWeights, are_not_all_nought)
{
    expect_problem("services: [{name: a, listen: \"*:80/tcp\", backends: §[{dns: \"a:1\", weight: 0}, {dns: \"b:1\", "
                   "weight: 0}]}]",
        "all backends have weight 0", "give at least one a weight from 1 to 1000");
}

TEST(ConfigFamilies, of_listeners_have_backends)
{
    expect_problem(service_with("[\"10.1.0.1:80/tcp\", §\"[fd00::1]:80/tcp\"]", "[{address: \"10.0.0.1:80\"}]"),
        "an IPv6 listener, and the service has no IPv6 backend", "add an IPv6 backend, or remove this listener");
    expect_problem(service_with("§\"10.1.0.1:80/tcp\"", "[{address: \"[fd00::2]:80\"}]"),
        "an IPv4 listener, and the service has no IPv4 backend", "both sides need the same IP version");
    expect_problem(service_with("[\"*:80/tcp\", §\"[fd00::1]:81/tcp\"]", "[{address: \"10.0.0.1:80\"}]"),
        "an IPv6 listener, and the service has no IPv6 backend", "add an IPv6 backend");
}

TEST(ConfigFamilies, of_backends_have_listeners)
{
    expect_problem(service_with("\"10.1.0.1:80/tcp\"", "[{address: \"10.0.0.1:80\"}, {address: §\"[fd00::2]:80\"}]"),
        "an IPv6 backend, and the service has no IPv6 listener", "add an IPv6 listener, or remove this backend");
    expect_problem(service_with("\"[fd00::1]:80/tcp\"", "[{dns: \"a:80\"}, {address: §\"10.0.0.1:80\"}]"),
        "an IPv4 backend, and the service has no IPv4 listener", "both sides need the same IP version");
}

TEST(ConfigServices, have_names_of_their_own)
{
    expect_problem("services:\n  - {name: a, listen: \"*:80/tcp\", backends: [{dns: \"a:1\"}]}\n"
                   "  - {name: §a, listen: \"*:81/tcp\", backends: [{dns: \"a:1\"}]}\n",
        "the service name \"a\" is there twice", "the one in line 2");
}

// Two services, a and b, and where they listen.
std::string two_services(const std::string& first, const std::string& second)
{
    return "services:\n  - {name: a, listen: " + first +
           ", backends: [{dns: \"a:1\"}]}\n  - {name: b, listen: " + second + ", backends: [{dns: \"a:1\"}]}\n";
}

TEST(ConfigServices, have_listeners_of_their_own)
{
    expect_problem(two_services("\"10.1.0.1:80/tcp\"", "[\"10.1.0.1:80/udp\", §\"10.1.0.1:80/tcp\"]"),
        "two services on one listener: \"10.1.0.1:80/tcp\" belongs to \"a\" already", "the one in line 2");
    expect_problem(two_services("\"*:80/tcp\"", "§\"*:80/tcp\""),
        "two services on one listener: \"*:80/tcp\" belongs to \"a\"", "line 2");
    expect_problem(two_services("\"[fd00::1]:80/tcp\"", "§\"[fd00:0::1]:80/tcp\""),
        "\"[fd00::1]:80/tcp\" belongs to \"a\"", "line 2");
    expect_problem(listening("[\"*:80/tcp\", §\"*:80/tcp\"]"), "the listener \"*:80/tcp\" is there twice", "line 3");
    expect_problem(listening("[\"10.1.0.1:80/tcp\", §\"10.1.0.1:80/tcp\"]"),
        "the listener \"10.1.0.1:80/tcp\" is there twice", "line 3");
}

TEST(ConfigServices, do_not_share_a_port_between_a_star_and_an_address)
{
    expect_problem(two_services("\"*:80/tcp\"", "§\"10.1.0.1:80/tcp\""),
        "two services on one listener: \"10.1.0.1:80/tcp\" overlaps one of \"a\", and \"*\" means every address",
        "line 2");
    expect_problem(
        two_services("\"[fd00::1]:80/tcp\"", "§\"*:80/tcp\""), "\"*:80/tcp\" overlaps one of \"a\"", "line 2");
    EXPECT_EQ(problems_of(two_services("\"*:80/tcp\"", "[\"*:80/udp\", \"10.1.0.1:81/tcp\"]")), "");
}

TEST(ConfigSources, are_addresses_of_this_machine)
{
    expect_source_problem("0.0.0.0", "snat.addresses: 0.0.0.0 is no address of a machine", "the machine's own address");
    expect_source_problem("127.0.0.1", "127.0.0.1 is a loopback address", "that the network knows");
    expect_source_problem("224.0.0.1", "multicast", "one machine");
    expect_source_problem("fe80::1", "link-local", "fd00::/8");
    expect_source_problem(
        "10.0.0.5:1024", "\"10.0.0.5:1024\" has a port", "write 10.0.0.5 here and the ports in snat.ports");
    expect_source_problem("10.0.0.0/24", "is a network, not one address", "without /");
    expect_source_problem("10.0.0.05", "has leading zeros", "write 10.0.0.5");
    expect_source_problem("here", "\"here\" is not an address", "such as 10.0.1.11");
    expect_problem("snat: {addresses: [10.0.0.5, §10.0.0.5]}\n" + web, "the address 10.0.0.5 is there twice", "line 1");
    expect_problem(
        "snat: {addresses: §10.0.0.5}\n" + web, "snat.addresses must be a list", "write auto or [\"10.0.0.5\"]");
    expect_problem("snat: {addresses: §[]}\n" + web, "snat.addresses is an empty list", "write auto or");
}

TEST(ConfigSources, exist_for_every_ip_version_that_needs_one)
{
    expect_problem("snat: {addresses: §[\"fd00::5\"]}\n" + web,
        "snat.addresses has no IPv4 address, which the service \"web\" needs", "add one, or write addresses: auto");
    expect_problem("snat: {addresses: §[10.0.0.5]}\n" + service_with("\"*:80/tcp\"", "[{address: \"[fd00::2]:80\"}]"),
        "snat.addresses has no IPv6 address, which the service \"web\" needs", "add one");
    expect_problem(
        "snat: {addresses: §[10.0.0.5]}\n" + listening("\"[fd00::1]:80/tcp\""), "has no IPv6 address", "add one");
    EXPECT_EQ(problems_of("snat: {addresses: [10.0.0.5]}\n" + listening("\"*:80/tcp\"")), "");
}

TEST(ConfigErrors, are_all_reported_in_the_order_of_the_file)
{
    const std::string text = problems_of(R"(flow: {max: 1}
snat: {ports: 7}
services:
  - name: a
    listen: "10.1.0.1:0/tcp"
    backends:
      - {address: "10.0.0.1:0"}
      - {dns: "a:80", weight: 010}
)");
    EXPECT_THAT(
        text, ::testing::MatchesRegex("f:1:1: unknown key [^\n]*\nf:2:15: snat.ports [^\n]*\nf:5:13: listen: [^\n]*\n"
                                      "f:7:19: address: [^\n]*\nf:8:31: weight [^\n]*\n"));
}

TEST(ConfigErrors, are_cut_after_twenty)
{
    std::string text;
    for (int i = 0; i < 50; ++i)
        text += "zzz" + std::to_string(i) + ": 1\n";
    const auto config = parse_config(text + web, "f");
    ASSERT_FALSE(config.has_value());
    EXPECT_EQ(config.error().problems.size(), 20u);
    EXPECT_EQ(config.error().problems.back().place.line, 20u);
    EXPECT_EQ(config.error().more, 30u);
    EXPECT_THAT(config.error().format(), ::testing::EndsWith("\nf: and 30 more\n"));
}

} // namespace
} // namespace featherlb
