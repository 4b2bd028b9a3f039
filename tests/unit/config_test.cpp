// SPDX-License-Identifier: Apache-2.0
// What right configurations mean: defaults, and every setting at its bounds.
#include "config/config.h"

#include "unit/config_cases.h"

namespace featherlb {
namespace {

using config_test::listening;
using config_test::service_with;
using config_test::sound;
using config_test::web;
using config_test::with_backend;
using namespace std::chrono_literals;

TEST(Config, fills_in_every_default)
{
    const Config config = sound(web);
    EXPECT_EQ(config.file, "f");
    EXPECT_FALSE(config.interfaces.has_value());
    EXPECT_EQ(config.admin_socket, "/run/featherlb/admin.sock");
    EXPECT_EQ(config.admin_access, AdminAccess{});
    EXPECT_EQ(config.flows_max, 262144u);
    EXPECT_TRUE(config.snat.addresses.empty());
    EXPECT_EQ(config.snat.ports.first, 1024);
    EXPECT_EQ(config.snat.ports.last, 32767);
    EXPECT_EQ(config.hash_seed, 0u);
    EXPECT_EQ(config.timeouts.tcp_handshake, 30s);
    EXPECT_EQ(config.timeouts.tcp_established, 2h);
    EXPECT_EQ(config.timeouts.tcp_half_closed, 2min);
    EXPECT_EQ(config.timeouts.tcp_closed, 10s);
    EXPECT_EQ(config.timeouts.tcp_reset, 2s);
    EXPECT_EQ(config.timeouts.udp_unreplied, 30s);
    EXPECT_EQ(config.timeouts.udp_stream, 2min);
    ASSERT_EQ(config.services.size(), 1u);
    EXPECT_EQ(config.services[0].algorithm, Algorithm::maglev);
    EXPECT_EQ(config.services[0].forward, Forward::snat);
    EXPECT_EQ(config.services[0].backends[0].weight, 1u);
    EXPECT_EQ(config.services[0].backends[0].name, "10.0.1.11:8080");
}

TEST(Config, reads_every_setting)
{
    const Config config = sound(R"(
interfaces: [eth0, {name: eth1, attach: xdp}, {name: eth2.7, attach: xdp-generic}, {name: "10", attach: tc}]
admin: {socket: /tmp/a.sock, group: operators, mode: 0666}
flows: {max: 16777216}
snat: {addresses: [10.0.0.5, "fd00::5"], ports: 1-65535}
timeouts: {tcp_handshake: 1s, tcp_established: 30d, tcp_half_closed: 3m, tcp_closed: 2000ms, tcp_reset: 4s,
  udp_unreplied: 5s, udp_stream: "6h"}
hash_seed: 18446744073709551615
)" + web);
    ASSERT_EQ(config.interfaces->size(), 4u);
    EXPECT_EQ(config.interfaces->at(0).name, "eth0");
    EXPECT_EQ(config.interfaces->at(0).attach, Attach::automatic);
    EXPECT_EQ(config.interfaces->at(0).place.line, 2u);
    EXPECT_EQ(config.interfaces->at(0).place.column, 14u);
    EXPECT_EQ(config.interfaces->at(1).attach, Attach::xdp);
    EXPECT_EQ(config.interfaces->at(2).attach, Attach::xdp_generic);
    EXPECT_EQ(config.interfaces->at(3).name, "10");
    EXPECT_EQ(config.interfaces->at(3).attach, Attach::tc);
    EXPECT_EQ(config.admin_socket, "/tmp/a.sock");
    EXPECT_EQ(config.admin_access, (AdminAccess{"operators", 0666}));
    EXPECT_EQ(config.flows_max, 16777216u);
    ASSERT_EQ(config.snat.addresses.size(), 2u);
    EXPECT_EQ(config.snat.addresses[1].to_string(), "fd00::5");
    EXPECT_EQ(config.snat.ports.first, 1);
    EXPECT_EQ(config.snat.ports.last, 65535);
    EXPECT_EQ(config.timeouts.tcp_handshake, 1s);
    EXPECT_EQ(config.timeouts.tcp_established, 720h);
    EXPECT_EQ(config.timeouts.tcp_half_closed, 3min);
    EXPECT_EQ(config.timeouts.tcp_closed, 2s);
    EXPECT_EQ(config.timeouts.tcp_reset, 4s);
    EXPECT_EQ(config.timeouts.udp_unreplied, 5s);
    EXPECT_EQ(config.timeouts.udp_stream, 6h);
    EXPECT_EQ(config.hash_seed, UINT64_MAX);
}

TEST(Config, reads_services_listeners_and_backends)
{
    const Config config = sound(R"(defaults: {algorithm: random, forward: dnat}
services:
  - name: Web_1.x-y
    listen: ["203.0.113.10:80/tcp", "[2001:DB8::10]:65535/udp", "*:53/udp"]
    algorithm: weighted-round-robin
    forward: snat
    backends:
      - {name: web1, address: "10.0.1.11:8080", weight: 1000}
      - {address: "[fd00::11]:1", weight: 0}
      - {dns: "web_1.internal.:8080", weight: 2}
  - {name: dns, listen: "*:53/tcp", backends: [{dns: "dns:53"}]}
)");
    ASSERT_EQ(config.services.size(), 2u);
    const ServiceConfig& service = config.services[0];
    EXPECT_EQ(service.name, "Web_1.x-y");
    EXPECT_EQ(service.algorithm, Algorithm::weighted_round_robin);
    EXPECT_EQ(service.forward, Forward::snat);
    EXPECT_EQ(service.place.line, 3u);
    EXPECT_EQ(service.place.column, 11u);
    ASSERT_EQ(service.listeners.size(), 3u);
    EXPECT_EQ(service.listeners[0].address->to_string(), "203.0.113.10");
    EXPECT_EQ(service.listeners[0].port, 80);
    EXPECT_EQ(service.listeners[0].protocol, Protocol::tcp);
    EXPECT_EQ(service.listeners[1].address->to_string(), "2001:db8::10");
    EXPECT_EQ(service.listeners[1].port, 65535);
    EXPECT_EQ(service.listeners[1].protocol, Protocol::udp);
    EXPECT_EQ(service.listeners[1].place.column, 37u);
    EXPECT_FALSE(service.listeners[2].address.has_value());
    ASSERT_EQ(service.backends.size(), 3u);
    EXPECT_EQ(service.backends[0].name, "web1");
    EXPECT_EQ(std::get<Endpoint>(service.backends[0].target).to_string(), "10.0.1.11:8080");
    EXPECT_EQ(service.backends[0].weight, 1000u);
    EXPECT_EQ(service.backends[0].place.column, 31u);
    EXPECT_EQ(service.backends[1].name, "[fd00::11]:1");
    EXPECT_EQ(service.backends[1].weight, 0u);
    EXPECT_EQ(service.backends[2].name, "web_1.internal.:8080");
    EXPECT_EQ(std::get<DnsName>(service.backends[2].target).host, "web_1.internal.");
    EXPECT_EQ(std::get<DnsName>(service.backends[2].target).port, 8080);
    EXPECT_EQ(config.services[1].algorithm, Algorithm::random) << "from defaults";
    EXPECT_EQ(config.services[1].forward, Forward::dnat) << "from defaults";
}

TEST(Config, takes_words_that_stand_for_the_default)
{
    const Config config = sound("interfaces: auto\nsnat: {addresses: auto}\n" + web);
    EXPECT_FALSE(config.interfaces.has_value());
    EXPECT_TRUE(config.snat.addresses.empty());
}

TEST(Config, takes_a_quoted_seed)
{
    EXPECT_EQ(sound("hash_seed: \"7\"\n" + web).hash_seed, 7u);
    EXPECT_EQ(sound("hash_seed: 0\n" + web).hash_seed, 0u);
}

ServiceConfig with_default(std::string_view key, std::string_view word)
{
    return sound("defaults: {" + std::string(key) + ": " + std::string(word) + "}\n" + web).services.at(0);
}

TEST(Config, knows_every_algorithm_and_way_to_forward)
{
    for (const Algorithm algorithm : {Algorithm::round_robin, Algorithm::weighted_round_robin, Algorithm::random,
             Algorithm::ip_hash, Algorithm::maglev})
        EXPECT_EQ(with_default("algorithm", to_string(algorithm)).algorithm, algorithm);
    for (const Forward forward : {Forward::snat, Forward::dnat})
        EXPECT_EQ(with_default("forward", to_string(forward)).forward, forward);
    EXPECT_EQ(to_string(Attach::automatic), "auto");
    EXPECT_EQ(to_string(Attach::xdp_generic), "xdp-generic");
}

TEST(Config, takes_the_same_address_for_several_ports_protocols_and_services)
{
    sound(R"(services:
  - {name: a, listen: ["10.1.0.1:80/tcp", "10.1.0.1:80/udp", "10.1.0.1:81/tcp"], backends: [{address: "10.0.0.1:80"}]}
  - {name: b, listen: "10.1.0.2:80/tcp", backends: [{address: "10.0.0.1:80"}, {address: "10.0.0.1:81"}]}
)");
    sound(listening(R"(["*:80/tcp", "10.1.0.1:80/tcp"])"));
}

TEST(Config, takes_both_ip_versions_where_each_listener_has_a_backend)
{
    sound(service_with(
        R"(["10.1.0.1:80/tcp", "[fd00::1]:80/tcp"])", R"([{address: "10.0.0.1:80"}, {address: "[fd00::2]:80"}])"));
    sound(listening(R"(["10.1.0.1:80/tcp", "[fd00::1]:80/tcp"])"));
    sound(with_backend(R"({address: "[fd00::2]:80"})"));
}

TEST(Config, takes_weights_of_nought_and_one_under_round_robin)
{
    sound(
        "defaults: {algorithm: round-robin}\n" +
        service_with(R"("*:80/tcp")", R"([{address: "10.0.0.1:80", weight: 0}, {address: "10.0.0.2:80", weight: 1}])"));
}

TEST(Config, takes_source_addresses_that_serve_all_services)
{
    sound("snat: {addresses: [10.0.0.5]}\n" + web);
    sound("snat: {addresses: [10.0.0.5]}\ndefaults: {forward: dnat}\n" +
          service_with(R"("[fd00::1]:80/tcp")", R"([{address: "[fd00::2]:80"}])"));
}

TEST(Config, takes_yaml_that_people_write)
{
    EXPECT_EQ(sound("\xef\xbb\xbf" + web).services.size(), 1u) << "byte order mark";
    std::string windows = web;
    for (std::size_t at = 0; (at = windows.find('\n', at)) != std::string::npos; at += 2)
        windows.insert(at, "\r");
    EXPECT_EQ(sound("# CR LF\r\nflows: {max: 7}\r\n" + windows).flows_max, 7u);
    EXPECT_EQ(sound("---\nflows: # comment\n\t# a tab before a comment\n  max: 7\n\n" + web + "...\n").flows_max, 7u);
    EXPECT_EQ(sound("# gr\u00fc\u00dfe \u4f60\nflows: {'max': 7}\n" + web).flows_max, 7u);
    std::string unterminated = web;
    unterminated.pop_back();
    EXPECT_EQ(sound(unterminated).services.size(), 1u) << "no line end at the end";
    EXPECT_EQ(sound("admin: {socket: \"/run/\\u00fc\"}\n" + web).admin_socket, "/run/\u00fc");
}

} // namespace
} // namespace featherlb
