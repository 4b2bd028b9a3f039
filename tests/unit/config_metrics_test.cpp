// SPDX-License-Identifier: Apache-2.0
// `metrics`: what it takes, and what it says of what it does not.
#include "unit/config_cases.h"

namespace featherlb {
namespace {

using config_test::expect_problem;
using config_test::listening;
using config_test::sound;
using config_test::web;

void expect_refused(const std::string& listen, std::string_view what, std::string_view remedy)
{
    SCOPED_TRACE(listen);
    expect_problem("metrics: {listen: §" + listen + "}\n" + web, what, remedy);
}

std::string listens(const std::string& listen, const std::string& services = web)
{
    return sound("metrics: {listen: \"" + listen + "\"}\n" + services).metrics->listen.to_string();
}

TEST(ConfigMetrics, no_section_opens_no_port)
{
    EXPECT_FALSE(sound(web).metrics);
}

TEST(ConfigMetrics, an_address_and_a_port_of_the_machine)
{
    for (const char* good : {"127.0.0.1:9420", "[::1]:9420", "0.0.0.0:9420", "[::]:80", "10.0.0.5:65535"})
        EXPECT_EQ(listens(good), good);
    EXPECT_EQ(sound("metrics: {listen: 127.0.0.1:9420}\n" + web).metrics->listen.port, 9420);
}

TEST(ConfigMetrics, wrong_texts_are_answered_with_right_ones)
{
    expect_refused("\":9420\"", "\":9420\" has no address", "\"127.0.0.1:9420\", or \"0.0.0.0:9420\"");
    expect_refused("\"*:9420\"", "\"*:9420\" has no address", "\"127.0.0.1:9420\", or \"0.0.0.0:9420\"");
    expect_refused("127.0.0.1", "\"127.0.0.1\" has no port", "write \"127.0.0.1:9420\"");
    expect_refused("\"::1\"", "\"::1\" has no port, or no brackets", "write \"[::1]:9420\"");
    expect_refused("\"[::1]\"", "\"[::1]\" has no port behind ]", "write \"[::1]:9420\"");
    expect_refused("\"127.0.0.1:9420/tcp\"", "names a protocol", "write \"127.0.0.1:9420\"");
    expect_refused("localhost:9420", "\"localhost\" is a name, not an address", "\"127.0.0.1:9420\"");
    expect_refused("127.0.0.1:0", "the port 0 is not from 1 to 65535", "1 to 65535");
    expect_refused("127.0.0.1:65536", "the port 65536 is not from 1 to 65535", "1 to 65535");
    expect_refused("010.0.0.1:80", "leading zeros", "write 10.0.0.1");
    expect_refused("224.0.0.1:80", "multicast", "one machine");
    expect_refused("0.0.0.1:80", "no address of a machine", "own address");
    expect_refused("\"[fe80::1]:80\"", "link-local", "global");
    expect_refused("9420", "metrics.listen must be text", "");
}

TEST(ConfigMetrics, a_section_without_its_key_or_with_others)
{
    expect_problem("metrics: §{}\n" + web, "metrics has no \"listen\"", "add listen: \"127.0.0.1:9420\"");
    expect_problem("metrics: §\"127.0.0.1:9420\"\n" + web, "metrics must be a mapping",
        "write metrics: {listen: \"127.0.0.1:9420\"}");
    expect_problem("metrics: {§lissen: \"127.0.0.1:9420\", listen: \"127.0.0.1:9420\"}\n" + web, "unknown key",
        "did you mean \"listen\"?");
}

TEST(ConfigMetrics, the_port_of_a_service_is_not_the_daemons)
{
    const auto clash = [](const std::string& listen, const std::string& service) {
        SCOPED_TRACE(listen + " and " + service);
        expect_problem("metrics: {listen: §\"" + listen + "\"}\n" + listening("\"" + service + "\""),
            "is taken by the listener \"" + service + "\" of the service \"web\"",
            "another port, or a loopback address");
    };
    clash("10.1.0.1:9420", "10.1.0.1:9420/tcp");
    clash("10.1.0.1:9420", "10.1.0.1:9000-9999/tcp");
    clash("10.1.0.1:9420", "*:9420/tcp");
    clash("0.0.0.0:9420", "10.1.0.1:9420/tcp");
    clash("[::]:9420", "*:9420/tcp");
    EXPECT_EQ(listens("127.0.0.1:9420", listening("\"*:9420/tcp\"")), "127.0.0.1:9420");
    EXPECT_EQ(listens("10.1.0.1:9420", listening("\"10.1.0.1:9420/udp\"")), "10.1.0.1:9420");
    EXPECT_EQ(listens("10.1.0.2:9420", listening("\"10.1.0.1:9420/tcp\"")), "10.1.0.2:9420");
    EXPECT_EQ(listens("[::]:9420", listening("\"10.1.0.1:9420/tcp\"")), "[::]:9420");
}

} // namespace
} // namespace featherlb
