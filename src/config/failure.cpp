// SPDX-License-Identifier: Apache-2.0
#include "config/failure.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "base/text.h"
#include "config/values.h"
#include "config/words.h"

namespace featherlb {

namespace {

using namespace std::chrono_literals;

constexpr std::string_view health_example = "health: {type: http, path: /healthz}, or health: none";
constexpr std::size_t longest_request_part = 1024;
constexpr std::uint64_t most_in_a_row = 100;
constexpr DurationLimits interval_limits{100ms, 1h};
constexpr DurationLimits timeout_limits{100ms, 1min};
constexpr DurationLimits avoid_limits{0ms, 1h};

bool is_printable(std::string_view text)
{
    return std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < 0x7f; });
}

// Part of a request of HTTP: what could break it apart is refused.
std::optional<std::string> read_request_part(const Node& node, std::string_view setting, Problems& problems)
{
    auto text = read_text(node, setting, problems);
    if (!text)
        return std::nullopt;
    if (text->size() > longest_request_part) {
        problems.add(node.place, fmt::format("{} is {} bytes long", setting, text->size()),
            fmt::format("use at most {}", longest_request_part));
        return std::nullopt;
    }
    if (!is_printable(*text)) {
        problems.add(node.place, fmt::format("{} has a character that is not allowed: {}", setting, quote(*text)),
            "use printable ASCII without spaces; encode others as %20");
        return std::nullopt;
    }
    return text;
}

void read_path(const Node& node, HealthConfig& health, Problems& problems)
{
    auto path = read_request_part(node, "health.path", problems);
    if (path && !path->starts_with('/'))
        problems.add(
            node.place, fmt::format("health.path must begin with /: {}", quote(*path)), "write one such as /healthz");
    else if (path)
        health.path = *std::move(path);
}

// "200", "200-299"
void read_expect(const Node& node, HealthConfig& health, Problems& problems)
{
    static constexpr std::string_view remedy = "write a code or a range of codes from 100 to 599, such as 200-299";
    if (node.kind != Node::Kind::scalar)
        return problems.add(node.place,
            fmt::format("health.expect must be a range of HTTP status codes, not {}", describe(node)),
            std::string(remedy));
    const std::string_view text = node.text;
    const std::size_t dash = text.find('-');
    const auto first = parse_decimal(text.substr(0, dash));
    const auto last = dash == std::string_view::npos ? first : parse_decimal(text.substr(dash + 1));
    if (!first || !last || *first < 100 || *last > 599 || *first > *last)
        return problems.add(node.place, fmt::format("health.expect is no range of HTTP status codes: {}", quote(text)),
            std::string(remedy));
    health.expect_first = static_cast<std::uint16_t>(*first);
    health.expect_last = static_cast<std::uint16_t>(*last);
}

void read_times(const Section& section, HealthConfig& health, Problems& problems)
{
    if (const Node* node = section.find("interval"))
        health.interval =
            read_milliseconds(*node, "health.interval", interval_limits, problems).value_or(health.interval);
    const Node* node = section.find("timeout");
    if (node == nullptr) {
        health.timeout = std::min(health.timeout, health.interval);
        return;
    }
    const auto timeout = read_milliseconds(*node, "health.timeout", timeout_limits, problems);
    if (!timeout)
        return;
    health.timeout = *timeout;
    if (*timeout > health.interval)
        problems.add(node->place,
            fmt::format("health.timeout, {}, is longer than health.interval, {}", write_duration(*timeout),
                write_duration(health.interval)),
            fmt::format("write timeout: {} or less, or a longer interval", write_duration(health.interval)));
}

void read_count(const Section& section, std::string_view key, std::uint32_t& count, Problems& problems)
{
    if (const Node* node = section.find(key)) {
        const auto value =
            read_number(*node, fmt::format("health.{}", key), {1, most_in_a_row}, Quotes::refused, problems);
        count = static_cast<std::uint32_t>(value.value_or(count));
    }
}

void read_http(const Section& section, HealthConfig& health, Problems& problems)
{
    if (health.type != HealthType::http) {
        for (const std::string_view key : {"path", "expect", "host"}) {
            if (section.has(key))
                problems.add(section.place(key), fmt::format("health.{} has no meaning with type: tcp", key),
                    "write type: http, or remove it");
        }
        return;
    }
    if (const Node* path = section.find("path"))
        read_path(*path, health, problems);
    if (const Node* expect = section.find("expect"))
        read_expect(*expect, health, problems);
    if (const Node* host = section.find("host"))
        health.host = read_request_part(*host, "health.host", problems).value_or("");
}

std::optional<HealthConfig> read_health(const Node& node, Problems& problems)
{
    if (says_none(node))
        return std::nullopt;
    const Section section(node, keys::health, health_example, problems);
    HealthConfig health;
    if (!section.is_mapping())
        return health;
    const Node* type = section.require("type", "type: tcp, or type: http");
    const auto index = type == nullptr ? std::nullopt : read_word(*type, "type", words::health_type, {}, problems);
    if (index) {
        health.type = static_cast<HealthType>(*index);
        read_http(section, health, problems);
    }
    if (const Node* port = section.find("port")) {
        if (const auto value = read_number(*port, "health.port", {1, 65535}, Quotes::refused, problems))
            health.port = static_cast<std::uint16_t>(*value);
    }
    read_times(section, health, problems);
    read_count(section, "rise", health.rise, problems);
    read_count(section, "fall", health.fall, problems);
    return health;
}

std::optional<BackendDown> read_backend_down(const Node& node, std::string_view setting, Problems& problems)
{
    const auto index = read_word(node, setting, words::backend_down, {}, problems);
    return index ? std::optional(static_cast<BackendDown>(*index)) : std::nullopt;
}

// One word for both protocols (UDP has nothing to reset, and keeps what it had), or one for each.
void read_on_backend_down(const Node& node, FailureConfig& failure, Problems& problems)
{
    if (node.kind != Node::Kind::mapping) {
        const auto both = read_backend_down(node, "on_backend_down", problems);
        failure.tcp = both.value_or(failure.tcp);
        if (both && *both != BackendDown::reset)
            failure.udp = *both;
        return;
    }
    const Section section(node, keys::backend_down, "on_backend_down: {tcp: reset, udp: rehash}", problems);
    if (const Node* tcp = section.find("tcp"))
        failure.tcp = read_backend_down(*tcp, "on_backend_down.tcp", problems).value_or(failure.tcp);
    const Node* udp = section.find("udp");
    const auto word = udp == nullptr ? std::nullopt : read_backend_down(*udp, "on_backend_down.udp", problems);
    if (word == BackendDown::reset)
        problems.add(udp->place, "on_backend_down.udp cannot be \"reset\": UDP has nothing that resets a connection",
            "supported for udp: keep, rehash");
    else
        failure.udp = word.value_or(failure.udp);
}

} // namespace

void read_failure(const Section& section, FailureConfig& failure, Problems& problems)
{
    if (const Node* health = section.find("health"))
        failure.health = read_health(*health, problems);
    if (const Node* percent = section.find("min_healthy"))
        failure.min_healthy = read_percent(*percent, "min_healthy", problems).value_or(0);
    if (const Node* all_down = section.find("all_down")) {
        if (const auto index = read_word(*all_down, "all_down", words::all_down, {}, problems))
            failure.all_down = static_cast<AllDown>(*index);
    }
    if (const Node* down = section.find("on_backend_down"))
        read_on_backend_down(*down, failure, problems);
    if (const Node* failover = section.find("syn_failover"))
        failure.syn_failover = read_boolean(*failover, "syn_failover", problems).value_or(true);
    if (const Node* avoid = section.find("avoid_refused"))
        failure.avoid_refused =
            read_seconds(*avoid, "avoid_refused", avoid_limits, problems).value_or(failure.avoid_refused);
    if (const Node* drain = section.find("drain_timeout")) {
        if (drain->kind == Node::Kind::scalar && drain->text == "never")
            failure.drain_timeout.reset();
        else
            failure.drain_timeout = read_duration(*drain, "drain_timeout", problems);
    }
}

} // namespace featherlb
