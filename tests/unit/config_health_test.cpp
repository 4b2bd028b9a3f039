// SPDX-License-Identifier: Apache-2.0
// The kinds of health checks: right settings, and wrong ones that tests/lab/bad_configs does not show.
#include <cstdio>
#include <fstream>

#include "unit/config_cases.h"
#include "unit/tls_server.h"

namespace featherlb {
namespace {

using namespace std::chrono_literals;
using config_test::expect_problem;
using config_test::service_saying;
using config_test::sound;

HealthConfig health_of(const std::string& settings)
{
    return sound(service_saying("health: {" + settings + "}")).services.at(0).failure.health.value_or(HealthConfig{});
}
void expect_health_problem(const std::string& settings, std::string_view what, std::string_view remedy)
{
    SCOPED_TRACE(settings);
    expect_problem(service_saying("health: {" + settings + "}"), what, remedy);
}

class TemporaryFile {
public:
    explicit TemporaryFile(const std::string& text) : path(::testing::TempDir() + "featherlb-config-health.pem")
    {
        std::ofstream(path) << text;
    }
    TemporaryFile(const TemporaryFile&) = delete;
    TemporaryFile& operator=(const TemporaryFile&) = delete;
    ~TemporaryFile() { std::remove(path.c_str()); }
    std::string path;
};

TEST(ConfigHealth, reads_https)
{
    const SharedText pem = Certificate("DNS:web.internal").pem();
    const TemporaryFile file(*pem.text);
    const HealthConfig health =
        health_of("type: https, host: web.internal, path: /up, expect: 204, body: ready, ca: \"" + file.path + "\"");
    const HealthConfig expected{.type = HealthType::https,
        .path = "/up",
        .host = "web.internal",
        .expect_first = 204,
        .expect_last = 204,
        .body = "ready",
        .ca = pem};
    EXPECT_EQ(health, expected);
    EXPECT_TRUE(health.verify);
    EXPECT_FALSE(health_of("type: https, verify: false").verify);
}

TEST(ConfigHealth, reads_udp_and_dns)
{
    const HealthConfig udp = health_of(R"(type: udp, send: "hex:00fF10", expect: "pong\n")");
    EXPECT_EQ(udp.send, std::string("\0\xff\x10", 3));
    EXPECT_EQ(udp.expect_bytes, "pong\n");
    EXPECT_EQ(health_of("type: udp, send: ping").expect_bytes, "");
    const HealthConfig dns = health_of("type: dns, name: www.example.com, record: AAAA, expect: nxdomain");
    EXPECT_EQ(dns.name, "www.example.com");
    EXPECT_EQ(dns.record, DnsRecord::aaaa);
    EXPECT_EQ(dns.expect_dns, DnsExpect::nxdomain);
    EXPECT_EQ(health_of("type: dns, name: localhost").expect_dns, DnsExpect::answer);
}

TEST(ConfigHealth, reads_when_to_ask)
{
    const HealthConfig health = health_of("type: tcp, interval: 5s, fast_interval: 500ms, jitter: 20%");
    EXPECT_EQ(health.fast_interval, 500ms);
    EXPECT_EQ(health.jitter, 20u);
    EXPECT_EQ(health_of("type: tcp").fast_interval, 0ms) << "the same";
}

TEST(ConfigHealth, wrong_values_are_named)
{
    expect_health_problem(
        "type: http, §verify: false", "no meaning with type: http", "write type: https, or remove it");
    expect_health_problem("type: https, §send: x", "no meaning with type: https", "write type: udp");
    expect_health_problem("type: dns, name: a.b, §path: /x", "no meaning with type: dns", "write type: http");
    expect_health_problem("type: udp, send: x, §record: A", "no meaning with type: udp", "write type: dns");
    expect_health_problem("type: udp, send: §\"hex:\"", "no pairs of hexadecimal digits", "hex:00ff10");
    expect_health_problem("type: udp, send: §" + std::string(1025, 'a'), "1025 bytes long", "1 to 1024 bytes");
    expect_health_problem("type: dns, name: §\"web.internal:53\"", "has a port", "www.example.com");
    expect_health_problem("type: dns, name: a.b, record: §MX", "unknown health.record \"MX\"", "A, AAAA");
    expect_health_problem("type: dns, name: a.b, expect: §200", "unknown health.expect", "answer, nxdomain, any");
    expect_health_problem("type: https, ca: §/nowhere/ca.pem", "/nowhere/ca.pem: there is no such file", "PEM");
    expect_health_problem("type: https, body: §[a]", "health.body must be text", "");
}

TEST(ConfigHealth, a_file_of_certificates_must_hold_some)
{
    const TemporaryFile file("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    expect_health_problem("type: https, ca: §\"" + file.path + "\"", "the certificate number 1 in it is broken", "PEM");
}

TEST(ConfigHealth, checks_by_udp_do_not_go_by_the_service_address)
{
    for (const char* health : {"{type: udp, send: x}", "{type: dns, name: a.b}"}) {
        SCOPED_TRACE(health);
        const std::string what = "cannot be had under forward: ipip";
        expect_problem(config_test::service_with("\"10.1.0.1:53/udp\"", "[{address: \"10.0.1.11:53\"}]",
                           "    forward: ipip\n    §health: " + std::string(health) + "\n"),
            what, "type: tcp");
        sound(service_saying("forward: dnat\n    health: " + std::string(health)));
    }
}

} // namespace
} // namespace featherlb
