// SPDX-License-Identifier: Apache-2.0
// What a service does about backends that fail or leave: right settings, defaults, and wrong ones.
// tests/lab/bad_configs has a file for each kind of error; here is what those do not show.
#include "unit/config_cases.h"

namespace featherlb {
namespace {

using namespace std::chrono_literals;
using config_test::expect_problem;
using config_test::service_saying;
using config_test::sound;
using config_test::web;

FailureConfig failure_of(const std::string& more, const std::string& defaults = "")
{
    return sound(service_saying(more, defaults)).services.at(0).failure;
}
void expect_failure_problem(const std::string& more, std::string_view what, std::string_view remedy)
{
    SCOPED_TRACE(more);
    expect_problem(service_saying(more), what, remedy);
}

TEST(ConfigFailure, has_defaults_that_change_nothing_unasked)
{
    const FailureConfig failure = sound(web).services.at(0).failure;
    EXPECT_FALSE(failure.health.has_value());
    EXPECT_EQ(failure.min_healthy, 0u);
    EXPECT_FALSE(failure.all_down.has_value());
    EXPECT_EQ(failure.tcp, BackendDown::keep);
    EXPECT_EQ(failure.udp, BackendDown::rehash);
    EXPECT_TRUE(failure.syn_failover);
    EXPECT_EQ(failure.avoid_refused, 5s);
    EXPECT_FALSE(failure.drain_timeout.has_value());
}

TEST(ConfigFailure, reads_every_setting)
{
    const FailureConfig failure = failure_of(
        "health: {type: http, path: /healthz, expect: 200-204, host: \"web.internal:80\", port: 8081, interval: 500ms, "
        "timeout: 250ms, rise: 4, fall: 5}\n    min_healthy: 30%\n    all_down: refuse\n"
        "    on_backend_down: {tcp: reset, udp: keep}\n    syn_failover: false\n    avoid_refused: 0s\n"
        "    drain_timeout: 1h");
    const HealthConfig expected{.type = HealthType::http,
        .port = std::uint16_t{8081},
        .interval = 500ms,
        .timeout = 250ms,
        .rise = 4,
        .fall = 5,
        .path = "/healthz",
        .host = "web.internal:80",
        .expect_first = 200,
        .expect_last = 204};
    EXPECT_EQ(failure.health, expected);
    EXPECT_EQ(failure.min_healthy, 30u);
    EXPECT_EQ(failure.all_down, AllDown::refuse);
    EXPECT_EQ(failure.tcp, BackendDown::reset);
    EXPECT_EQ(failure.udp, BackendDown::keep);
    EXPECT_FALSE(failure.syn_failover);
    EXPECT_EQ(failure.avoid_refused, 0s);
    EXPECT_EQ(failure.drain_timeout, 1h);
}

TEST(ConfigFailure, takes_from_defaults_what_the_service_does_not_say)
{
    const std::string defaults =
        "defaults: {health: {type: http, path: /up, rise: 9}, min_healthy: 20%, drain_timeout: 10m}\n";
    const FailureConfig as_defaults = failure_of("syn_failover: true", defaults);
    EXPECT_EQ(as_defaults.health.value().path, "/up");
    EXPECT_EQ(as_defaults.min_healthy, 20u);
    EXPECT_EQ(as_defaults.drain_timeout, 10min);
    const FailureConfig own = failure_of("health: {type: tcp}\n    drain_timeout: never", defaults);
    EXPECT_EQ(own.health, HealthConfig{}) << "replaced as a whole";
    EXPECT_FALSE(own.drain_timeout.has_value());
    EXPECT_FALSE(failure_of("health: none", defaults).health.has_value());
    EXPECT_EQ(sound(service_saying("health: none", defaults)).drain_timeout, 10min);
}

TEST(ConfigFailure, one_word_says_it_for_both_protocols)
{
    EXPECT_EQ(failure_of("on_backend_down: keep").udp, BackendDown::keep);
    EXPECT_EQ(failure_of("on_backend_down: rehash").tcp, BackendDown::rehash);
    EXPECT_EQ(failure_of("on_backend_down: reset").tcp, BackendDown::reset);
    EXPECT_EQ(failure_of("on_backend_down: reset").udp, BackendDown::rehash) << "UDP has nothing to reset";
    EXPECT_EQ(failure_of("on_backend_down: {udp: keep}").tcp, BackendDown::keep);
}

TEST(ConfigFailure, a_short_interval_shortens_the_timeout_that_is_not_written)
{
    EXPECT_EQ(failure_of("health: {type: tcp, interval: 300ms}").health.value().timeout, 300ms);
    EXPECT_EQ(failure_of("health: {type: tcp, interval: 1m}").health.value().timeout, 1s);
    EXPECT_EQ(failure_of("health: {type: http, expect: 204}").health.value().expect_last, 204);
}

TEST(ConfigFailure, wrong_values_are_named)
{
    expect_failure_problem("health: §[tcp]", "health must be a mapping, not a list", "health: {type: http");
    expect_failure_problem("health: {type: tcp, §intervall: 1s}", "unknown key", "did you mean \"interval\"?");
    expect_failure_problem("health: {type: tcp, interval: §2h}", "from 100ms to 1h", "such as 30s");
    expect_failure_problem("health: {type: tcp, timeout: §61s}", "from 100ms to 1m", "such as 30s");
    expect_failure_problem("health: {type: tcp, timeout: §3s}", "longer than health.interval, 2s", "a longer interval");
    expect_failure_problem("health: {type: http, expect: §99-200}", "no range of HTTP status codes", "100 to 599");
    expect_failure_problem("health: {type: http, expect: §200-600}", "no range of HTTP status codes", "100 to 599");
    expect_failure_problem("health: {type: http, expect: §[200]}", "not a list", "such as 200-299");
    expect_failure_problem("health: {type: http, host: §\"a\\r\\nb\"}", "a character that is not allowed", "ASCII");
    expect_failure_problem(
        "health: {type: http, path: §/" + std::string(1024, 'a') + "}", "1025 bytes", "at most 1024");
    expect_failure_problem("health: {type: tcp, §host: web}", "health.host has no meaning", "remove it");
    expect_failure_problem("min_healthy: §many", "is not a percentage", "such as 30%");
    expect_failure_problem("min_healthy: §-1%", "is not a percentage", "such as 30%");
    expect_failure_problem("min_healthy: §[30%]", "must be a percentage, not a list", "such as 30%");
    expect_failure_problem("on_backend_down: {§icmp: keep}", "unknown key \"icmp\"", "may have: tcp, udp");
    expect_failure_problem("avoid_refused: §2h", "must be from 0s to 1h", "such as 30s");
    expect_failure_problem("drain_timeout: §0s", "must be from 1s to 30d", "such as 30s");
}

} // namespace
} // namespace featherlb
