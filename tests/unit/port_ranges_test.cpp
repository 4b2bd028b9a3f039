// SPDX-License-Identifier: Apache-2.0
// Listeners with a range of ports, and backends without a port: what the file may say, and what becomes of it.
#include <random>

#include <fmt/format.h>

#include "observe/listeners.h"
#include "unit/config_cases.h"
#include "unit/plan_support.h"

namespace featherlb {
namespace {

using namespace plan_test;
using config_test::expect_problem;
using config_test::listening;
using config_test::problems_of;
using config_test::service_with;
using config_test::sound;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

std::vector<ListenerConfig> listeners_of(const std::string& text)
{
    return sound(listening(text)).services.at(0).listeners;
}

TEST(PortRange, is_read_as_one_listener)
{
    const auto read = listeners_of(R"(["203.0.113.10:8000-8099/tcp", "[2001:db8::10]:1-65535/udp", "*:7-7/tcp"])");
    ASSERT_THAT(read, SizeIs(3));
    EXPECT_EQ(read[0].address, address("203.0.113.10"));
    EXPECT_EQ(read[0].port, 8000);
    EXPECT_EQ(read[0].last_port(), 8099);
    EXPECT_EQ(read[0].count(), 100u);
    EXPECT_EQ(read[1].count(), 65535u);
    EXPECT_EQ(read[1].protocol, Protocol::udp);
    EXPECT_EQ(read[2].count(), 1u);
}

TEST(PortRange, without_an_address_is_everywhere)
{
    const auto read = listeners_of(R"([":8000-8099/udp", ":80/tcp"])");
    ASSERT_THAT(read, SizeIs(2));
    EXPECT_EQ(read[0].address, std::nullopt);
    EXPECT_EQ(to_string(read[0]), "*:8000-8099/udp");
    EXPECT_EQ(to_string(read[1]), "*:80/tcp");
}

TEST(PortRange, may_not_overlap_another_of_the_same_service)
{
    expect_problem(listening("[\"10.1.0.1:80-90/tcp\", §\"10.1.0.1:85/tcp\"]"),
        "the listener \"10.1.0.1:85/tcp\" overlaps \"10.1.0.1:80-90/tcp\"", "change this one or the one in line 3");
    expect_problem(listening("[\"10.1.0.1:85/tcp\", §\"10.1.0.1:80-90/tcp\"]"),
        "\"10.1.0.1:80-90/tcp\" overlaps \"10.1.0.1:85/tcp\"", "line 3");
    expect_problem(listening("[\"*:80-90/tcp\", §\":80-90/tcp\"]"), "\"*:80-90/tcp\" is there twice", "remove this");
    EXPECT_EQ(
        problems_of(listening(R"(["*:80-90/tcp", "*:91/tcp", "*:1-79/tcp", "*:80-90/udp", "10.1.0.1:85/tcp"])")), "");
}

std::string two_services(const std::string& first, const std::string& second)
{
    return "services:\n  - {name: a, listen: " + first +
           ", backends: [{dns: \"a:1\"}]}\n  - {name: b, listen: " + second + ", backends: [{dns: \"a:1\"}]}\n";
}

TEST(PortRange, belongs_to_one_service)
{
    expect_problem(two_services("\"10.1.0.1:80-90/tcp\"", "§\"10.1.0.1:90-99/tcp\""),
        "two services on one listener: \"10.1.0.1:90-99/tcp\" overlaps \"10.1.0.1:80-90/tcp\" of \"a\"", "line 2");
    expect_problem(two_services("\"10.1.0.1:80-90/tcp\"", "§\"10.1.0.1:80-90/tcp\""),
        "two services on one listener: \"10.1.0.1:80-90/tcp\" belongs to \"a\" already", "line 2");
    expect_problem(two_services("\"*:80-90/tcp\"", "§\"10.1.0.1:90-99/tcp\""),
        "\"10.1.0.1:90-99/tcp\" overlaps one of \"a\", and \"*\" means every address", "line 2");
    expect_problem(two_services("\"10.1.0.1:90-99/tcp\"", "§\"*:80-90/tcp\""), "overlaps one of \"a\"", "line 2");
    // The service's own "*" in the same range hides nothing.
    expect_problem(two_services("\"*:80-81/tcp\"", "[\"*:79/tcp\", §\"10.1.0.1:79-85/tcp\"]"),
        "\"10.1.0.1:79-85/tcp\" overlaps one of \"a\"", "line 2");
    EXPECT_EQ(problems_of(two_services("\"*:80-90/tcp\"", R"(["*:80-90/udp", "10.1.0.1:91-99/tcp"])")), "");
}

bool conflict(const ListenerConfig& a, const ListenerConfig& b, bool same_service)
{
    if (a.protocol != b.protocol || a.port > b.last_port() || b.port > a.last_port())
        return false;
    return a.address == b.address || (!same_service && (!a.address || !b.address));
}

TEST(PortRange, conflicts_are_exactly_those_that_a_comparison_of_all_pairs_finds)
{
    std::mt19937 random(7);
    unsigned refused = 0;
    for (int round = 0; round < 400; ++round) {
        const char* addresses[] = {"*", "10.1.0.1", "10.1.0.2"};
        std::string text = "services:\n";
        std::vector<std::pair<ListenerConfig, int>> all;
        for (int service = 0; service < 3; ++service) {
            std::string listen;
            for (int i = 0; i < 3; ++i) {
                const std::string host = addresses[random() % 3];
                const auto first = static_cast<unsigned>(1 + random() % 40), more = static_cast<unsigned>(random() % 3);
                const bool tcp = random() % 2 == 0;
                listen += fmt::format("\"{}:{}-{}/{}\", ", host, first, first + more, tcp ? "tcp" : "udp");
                all.push_back({{.address = IpAddress::parse(host),
                                   .port = static_cast<std::uint16_t>(first),
                                   .more_ports = static_cast<std::uint16_t>(more),
                                   .protocol = tcp ? Protocol::tcp : Protocol::udp,
                                   .place = {}},
                    service});
            }
            text += fmt::format("  - {{name: s{}, listen: [{}], backends: [{{dns: \"a:1\"}}]}}\n", service, listen);
        }
        bool expected = false;
        for (std::size_t i = 0; i < all.size(); ++i)
            for (std::size_t j = 0; j < i; ++j)
                expected |= conflict(all[i].first, all[j].first, all[i].second == all[j].second);
        EXPECT_EQ(!problems_of(text).empty(), expected) << text << problems_of(text);
        refused += expected;
    }
    EXPECT_GT(refused, 50u);
    EXPECT_LT(refused, 350u);
}

TEST(PortRange, has_an_end_where_the_map_is_full)
{
    expect_problem(listening(R"(["10.1.0.1:1-65535/tcp", "10.1.0.2:1-65535/tcp", "10.1.0.3:1-65535/tcp",
      "10.1.0.4:1-65535/tcp", §"10.1.0.5:1-65535/tcp"])"),
        "all listeners together are 327675 addresses and ports, and there is room for 262144",
        "smaller ranges of ports");
}

// ---- backends without a port ----

TEST(BackendWithoutPort, is_read)
{
    const Config config = sound(
        service_with("\"*:80-90/tcp\"", R"([{address: 10.0.1.11}, {address: "[fd00::11]"}, {dns: web.internal}])"));
    const auto& backends = config.services.at(0).backends;
    ASSERT_THAT(backends, SizeIs(3));
    EXPECT_EQ(std::get<Endpoint>(backends[0].target), (Endpoint{address("10.0.1.11"), 0}));
    EXPECT_EQ(backends[0].name, "10.0.1.11");
    EXPECT_EQ(std::get<Endpoint>(backends[1].target), (Endpoint{address("fd00::11"), 0}));
    EXPECT_EQ(std::get<Endpoint>(backends[1].target).to_string(), backends[1].name);
    EXPECT_EQ(std::get<DnsName>(backends[2].target).host, "web.internal");
    EXPECT_EQ(std::get<DnsName>(backends[2].target).port, 0);
}

TEST(BackendWithoutPort, is_in_a_service_once)
{
    expect_problem(service_with("\"*:80/tcp\"", "[{address: 10.0.1.11}, {address: §10.0.1.11}]"),
        "the backend 10.0.1.11 is there twice", "line 4");
    expect_problem(service_with("\"*:80/tcp\"", "[{dns: web.internal}, {dns: §web.internal.}]"),
        "the backend \"web.internal.\" is there twice", "line 4");
    EXPECT_EQ(problems_of(service_with("\"*:80/tcp\"", "[{address: 10.0.1.11}, {address: \"10.0.1.11:80\"}]")), "");
}

TEST(BackendWithoutPort, is_checked_where_the_file_says)
{
    const std::string check = "    health: {type: tcp}\n", check_port = "    health: {type: tcp, port: 81}\n";
    const std::string portless = "[{address: \"10.0.1.11:80\"}, {address: §10.0.1.12}]", what = "without a port";
    expect_problem(service_with("\"*:80-81/tcp\"", portless, check), what, "health: {type: tcp, port: 8080}");
    expect_problem(service_with("[\"*:80/tcp\", \"*:443/tcp\"]", portless, check), what, "add a port to `health`");
    const std::string backends = "[{address: 10.0.1.11}]";
    EXPECT_EQ(problems_of(service_with("\"*:80-81/tcp\"", backends, check_port)), "");
    EXPECT_EQ(problems_of(service_with("[\"*:53/udp\", \"*:53/tcp\"]", backends, check)), "");
    EXPECT_EQ(only_port(sound(service_with("[\"*:53/udp\", \"*:53/tcp\"]", backends)).services[0]), 53);
    EXPECT_EQ(only_port(sound(service_with("\"*:80-81/tcp\"", backends)).services[0]), std::nullopt);
    EXPECT_EQ(only_port(sound(service_with("[\"*:80/tcp\", \"*:81/tcp\"]", backends)).services[0]), std::nullopt);
}

// ---- plan ----

ListenerConfig range(std::string_view text, std::uint16_t more, Protocol protocol = Protocol::tcp)
{
    ListenerConfig listener = listen(text, protocol);
    listener.more_ports = more;
    return listener;
}

BackendConfig portless(std::string_view text)
{
    return {.name = std::string(text), .target = Endpoint{address(text), 0}, .weight = 1, .place = {}};
}

World world_of_ports()
{
    World world;
    world.local_addresses = {address("10.0.0.1"), address("192.0.2.1"), address("fd00::1")};
    for (const char* text : {"10.0.1.11", "10.0.1.12"})
        world.next_hops[address(text)] = next_hop("10.0.0.1");
    return world;
}

Tables plan(const Config& config, const Tables& have = {}, const Limits& limits = roomy)
{
    auto tables = make_tables(config, world_of_ports(), have, {}, limits);
    EXPECT_TRUE(tables.has_value()) << (tables ? "" : tables.error().message);
    return tables ? std::move(*tables) : Tables{};
}

Error refusal(const Config& config, const Limits& limits, const Tables& have = {})
{
    auto tables = make_tables(config, world_of_ports(), have, {}, limits);
    EXPECT_FALSE(tables.has_value());
    return tables ? Error{} : tables.error();
}

std::vector<std::string> written(const Tables& tables)
{
    std::vector<ListenerKey> keys;
    for (const auto& [key, service] : tables.listeners)
        keys.push_back(key);
    return write_listeners(std::move(keys));
}

TEST(PlanOfARange, has_a_row_for_each_port_and_is_written_as_a_range)
{
    const Tables tables = plan(config_of({service("web",
        {range("203.0.113.10:8000", 99), range("203.0.113.10:8050", 100, Protocol::udp), listen("203.0.113.10:9000")},
        {backend("10.0.1.11:8080")})}));
    EXPECT_THAT(tables.listeners, SizeIs(202));
    EXPECT_TRUE(tables.listeners.contains(key("203.0.113.10:8099")));
    EXPECT_FALSE(tables.listeners.contains(key("203.0.113.10:8100")));
    EXPECT_THAT(written(tables),
        ElementsAre("203.0.113.10:8000-8099/tcp", "203.0.113.10:8050-8150/udp", "203.0.113.10:9000/tcp"));
}

TEST(PlanOfARange, reaches_the_last_port)
{
    const Tables tables =
        plan(config_of({service("web", {range("203.0.113.10:1", 65534)}, {backend("10.0.1.11:8080")})}));
    EXPECT_THAT(written(tables), ElementsAre("203.0.113.10:1-65535/tcp"));
}

TEST(PlanOfARange, of_a_star_is_on_every_address)
{
    ListenerConfig star = listen_everywhere(8000);
    star.more_ports = 1;
    const Tables tables = plan(config_of({service("web", {star}, {backend("10.0.1.11:8080")})}));
    EXPECT_THAT(written(tables), ElementsAre("10.0.0.1:8000-8001/tcp", "192.0.2.1:8000-8001/tcp"));
}

TEST(PlanOfARange, that_is_too_large_is_refused_with_the_number_of_rows)
{
    const Config config = config_of({service("web", {range("203.0.113.10:8000", 99)}, {backend("10.0.1.11:8080")})});
    Limits limits = roomy;
    limits.listeners = 103; // and one for the address, two for the source address
    EXPECT_THAT(plan(config, {}, limits).listeners, SizeIs(100));
    limits.listeners = 102;
    EXPECT_THAT(
        refusal(config, limits).message, AllOf(HasSubstr("103 rows"), HasSubstr("the 102 of the map `listeners`")));
    EXPECT_THAT(refusal(config, limits).remedy, HasSubstr("smaller ranges"));
    limits.listeners = 49; // found before the rows are made
    EXPECT_THAT(refusal(config, limits).message, HasSubstr("100 rows"));
}

TEST(PlanOfARange, counts_what_is_being_replaced)
{
    const auto web = [](std::string_view first) {
        return config_of({service("web", {range(first, 99)}, {backend("10.0.1.11:8080")})});
    };
    const Tables before = plan(web("203.0.113.10:8000"));
    Limits limits = roomy;
    limits.listeners = 152;
    EXPECT_THAT(refusal(web("203.0.113.10:8050"), limits, before).message, HasSubstr("153 rows"));
    limits.listeners = 153;
    EXPECT_THAT(plan(web("203.0.113.10:8050"), before, limits).listeners, SizeIs(100));
}

TEST(PlanOfABackendWithoutPort, knows_it_by_its_address)
{
    const Config config = config_of(
        {service("web", {range("203.0.113.10:8000", 1)}, {portless("10.0.1.11"), backend("10.0.1.11:8000")})});
    const Tables tables = plan(config);
    ASSERT_THAT(tables.backends, SizeIs(2));
    EXPECT_EQ(tables.backends.at(1).endpoint, (Endpoint{address("10.0.1.11"), 0}));
    EXPECT_EQ(tables.backends.at(1).endpoint.to_string(), "10.0.1.11");
    EXPECT_THAT(tables.sources, IsEmpty()) << "snat needs none";
    EXPECT_EQ(diff(tables, plan(config, tables)), std::vector<Change>{});
}

TEST(PlanOfABackendWithoutPort, lets_dnat_answer_from_each_port)
{
    const Tables tables =
        plan(config_of({service("web", {range("203.0.113.10:8000", 1), listen("203.0.113.11:53", Protocol::udp)},
            {portless("10.0.1.11"), backend("10.0.1.12:80")}, Forward::dnat)}));
    EXPECT_THAT(tables.sources, SizeIs(5));
    for (const char* port : {"8000", "8001"})
        EXPECT_EQ(tables.sources.at(key(fmt::format("10.0.1.11:{}", port))),
            (SourceRow{endpoint(fmt::format("203.0.113.10:{}", port)), 1}));
    EXPECT_EQ(tables.sources.at(key("10.0.1.11:53", Protocol::udp)), (SourceRow{endpoint("203.0.113.11:53"), 1}));
    EXPECT_EQ(tables.sources.at(key("10.0.1.12:80")), (SourceRow{endpoint("203.0.113.10:8000"), 2}));
    EXPECT_EQ(tables.sources.at(key("10.0.1.12:80", Protocol::udp)), (SourceRow{endpoint("203.0.113.11:53"), 2}));
}

TEST(PlanOfABackendWithoutPort, is_refused_where_its_answers_need_too_many_rows)
{
    const Config config = config_of({service(
        "web", {range("203.0.113.10:8000", 99)}, {portless("10.0.1.11"), portless("10.0.1.12")}, Forward::dnat)});
    Limits limits = roomy;
    limits.sources = 200;
    EXPECT_THAT(plan(config, {}, limits).sources, SizeIs(200));
    limits.sources = 199;
    EXPECT_THAT(refusal(config, limits).message, HasSubstr("the 199 of the map `sources`"));
    EXPECT_THAT(refusal(config, limits).remedy, HasSubstr("give the backends a port"));
}

TEST(PlanOfABackendWithoutPort, takes_the_addresses_of_its_name)
{
    World here = world_of_ports();
    here.dns["web.internal"] = {address("10.0.1.11"), address("10.0.1.12")};
    const auto tables =
        make_tables(config_of({service("web", {listen("203.0.113.10:80")}, {dns_backend("web.internal", 0)})}), here,
            {}, {}, roomy);
    ASSERT_TRUE(tables.has_value());
    ASSERT_THAT(tables->backends, SizeIs(2));
    EXPECT_EQ(tables->backends.at(2).endpoint, (Endpoint{address("10.0.1.12"), 0}));
}

TEST(PlanOfTcpAndUdp, on_one_port_is_one_service_or_two)
{
    const std::vector<BackendConfig> backends{backend("10.0.1.11:53")};
    const Tables one = plan(
        config_of({service("dns", {listen("203.0.113.10:53"), listen("203.0.113.10:53", Protocol::udp)}, backends)}));
    EXPECT_EQ(one.listeners.at(key("203.0.113.10:53")), one.listeners.at(key("203.0.113.10:53", Protocol::udp)));
    const Tables two = plan(config_of({service("tcp", {listen("203.0.113.10:53")}, backends),
        service("udp", {listen("203.0.113.10:53", Protocol::udp)}, backends)}));
    EXPECT_NE(two.listeners.at(key("203.0.113.10:53")), two.listeners.at(key("203.0.113.10:53", Protocol::udp)));
}

TEST(SlotTables, are_made_again_only_where_something_changed)
{
    const auto config = [](std::uint32_t weight) {
        return config_of({service("a", {listen("203.0.113.10:80")}, {backend("10.0.1.11:1"), backend("10.0.1.12:1")},
                              Forward::snat, Algorithm::maglev),
            service("b", {listen("203.0.113.10:81")}, {backend("10.0.1.11:2", weight), backend("10.0.1.12:2")},
                Forward::snat, Algorithm::maglev)});
    };
    const Tables before = plan(config(1)), after = plan(config(5), before);
    EXPECT_EQ(&before.services.at(1).slots.ids(), &after.services.at(1).slots.ids());
    EXPECT_NE(before.services.at(2).slots, after.services.at(2).slots);
    EXPECT_EQ(after.services.at(2).slots, plan(config(5)).services.at(2).slots);
}

} // namespace
} // namespace featherlb
