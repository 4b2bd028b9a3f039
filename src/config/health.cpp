// SPDX-License-Identifier: Apache-2.0
#include "config/health.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "base/certificates.h"
#include "base/text.h"
#include "config/endpoints.h"
#include "config/file.h"
#include "config/values.h"
#include "config/words.h"

namespace featherlb {

namespace {

using namespace std::chrono_literals;

constexpr std::string_view health_example = "health: {type: http, path: /healthz}, or health: none";
constexpr std::size_t longest_request_part = 1024;
constexpr std::size_t longest_bytes = 1024; // of one datagram that every network carries
constexpr std::uint64_t most_in_a_row = 100;
constexpr std::uint32_t most_jitter = 50;
constexpr std::string_view hex_mark = "hex:";

struct KeyMeaning {
    std::string_view key;
    std::initializer_list<HealthType> types; // that it says something to; the first is what was probably meant
};
constexpr HealthType http = HealthType::http, https = HealthType::https, udp = HealthType::udp, dns = HealthType::dns;

void refuse_foreign(const Section& section, HealthType type, Problems& problems)
{
    static const KeyMeaning meanings[] = {{"path", {http, https}}, {"host", {http, https}}, {"body", {http, https}},
        {"expect", {http, https, udp, dns}}, {"verify", {https}}, {"ca", {https}}, {"send", {udp}}, {"name", {dns}},
        {"record", {dns}}};
    for (const auto& [key, types] : meanings) {
        if (section.has(key) && std::ranges::find(types, type) == types.end())
            problems.add(section.place(key),
                fmt::format("health.{} has no meaning with type: {}", key, to_string(type)),
                fmt::format("write type: {}, or remove it", to_string(*types.begin())));
    }
}

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
void read_status(const Node& node, HealthConfig& health, Problems& problems)
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

std::optional<std::string> decode_hex(std::string_view digits)
{
    std::string bytes;
    const auto value = [](char c) {
        if (c >= '0' && c <= '9')
            return c - '0';
        const char lower = static_cast<char>(c | 0x20);
        return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
    };
    if (digits.empty() || digits.size() % 2 != 0)
        return std::nullopt;
    for (std::size_t at = 0; at < digits.size(); at += 2) {
        const int high = value(digits[at]);
        const int low = value(digits[at + 1]);
        if (high < 0 || low < 0)
            return std::nullopt;
        bytes.push_back(static_cast<char>(high * 16 + low));
    }
    return bytes;
}

// Text as it stands, or "hex:00ff".
std::string read_bytes(const Node& node, std::string_view setting, Problems& problems)
{
    auto text = read_text(node, setting, problems);
    if (!text)
        return {};
    if (text->starts_with(hex_mark)) {
        auto bytes = decode_hex(std::string_view(*text).substr(hex_mark.size()));
        if (!bytes) {
            problems.add(node.place,
                fmt::format("{} has no pairs of hexadecimal digits behind hex:: {}", setting, quote(*text)),
                "write two digits for each byte, such as \"hex:00ff10\"");
            return {};
        }
        text = std::move(bytes);
    }
    if (text->size() > longest_bytes) {
        problems.add(node.place, fmt::format("{} is {} bytes long", setting, text->size()),
            fmt::format("write 1 to {} bytes, as text or as \"hex:00ff\"", longest_bytes));
        return {};
    }
    return *std::move(text);
}

void read_ca(const Node& node, HealthConfig& health, Problems& problems)
{
    const auto path = read_text(node, "health.ca", problems);
    if (!path)
        return;
    if (!path->starts_with('/'))
        return problems.add(node.place, fmt::format("health.ca is not an absolute path: {}", quote(*path)),
            "write one such as /etc/featherlb/ca.pem");
    auto text = read_config_file(*path);
    if (!text)
        return problems.add(node.place, fmt::format("health.ca: {}: {}", *path, text.error().what),
            "name a readable file with certificates in PEM form");
    if (const Result<std::size_t> count = count_certificates(*text); !count)
        return problems.add(node.place, fmt::format("health.ca: {}: {}", *path, count.error().message),
            "name a file with certificates in PEM form: -----BEGIN CERTIFICATE-----");
    health.ca.text = std::make_shared<const std::string>(*std::move(text));
}

void read_tls(const Section& section, HealthConfig& health, Problems& problems)
{
    if (const Node* verify = section.find("verify"))
        health.verify = read_boolean(*verify, "health.verify", problems).value_or(true);
    const Node* ca = section.find("ca");
    if (ca == nullptr)
        return;
    if (!health.verify)
        return problems.add(
            section.place("ca"), "health.ca says nothing with verify: false", "remove it, or write verify: true");
    read_ca(*ca, health, problems);
}

void read_http(const Section& section, HealthConfig& health, Problems& problems)
{
    if (const Node* path = section.find("path"))
        read_path(*path, health, problems);
    if (const Node* expect = section.find("expect"))
        read_status(*expect, health, problems);
    if (const Node* host = section.find("host"))
        health.host = read_request_part(*host, "health.host", problems).value_or("");
    if (const Node* body = section.find("body"))
        health.body = read_bytes(*body, "health.body", problems);
    if (health.type == HealthType::https)
        read_tls(section, health, problems);
}

void read_udp(const Section& section, HealthConfig& health, Problems& problems)
{
    if (const Node* send = section.require("send", R"(send: "ping\n", or send: "hex:00ff")"))
        health.send = read_bytes(*send, "health.send", problems);
    if (const Node* expect = section.find("expect"))
        health.expect_bytes = read_bytes(*expect, "health.expect", problems);
}

void read_dns(const Section& section, HealthConfig& health, Problems& problems)
{
    if (const Node* name = section.require("name", "name: www.example.com")) {
        if (const auto text = read_text(*name, "health.name", problems)) {
            const auto parsed = parse_dns_name(*text);
            if (!parsed || parsed->port != 0)
                problems.add(name->place,
                    parsed ? fmt::format("health.name has a port: {}", quote(*text))
                           : fmt::format("health.name: {}", parsed.error().what),
                    "write a name that the backends know, such as www.example.com");
            else
                health.name = parsed->host;
        }
    }
    if (const Node* record = section.find("record")) {
        if (const auto index = read_word(*record, "health.record", words::dns_record, {}, problems))
            health.record = static_cast<DnsRecord>(*index);
    }
    if (const Node* expect = section.find("expect")) {
        if (const auto index = read_word(*expect, "health.expect", words::dns_expect, {}, problems))
            health.expect_dns = static_cast<DnsExpect>(*index);
    }
}

void read_by_type(const Section& section, HealthConfig& health, Problems& problems)
{
    refuse_foreign(section, health.type, problems);
    switch (health.type) {
    case HealthType::tcp:
        return;
    case HealthType::http:
    case HealthType::https:
        return read_http(section, health, problems);
    case HealthType::udp:
        return read_udp(section, health, problems);
    case HealthType::dns:
        return read_dns(section, health, problems);
    }
}

void read_fast(const Section& section, HealthConfig& health, Problems& problems)
{
    const Node* fast = section.find("fast_interval");
    if (fast == nullptr)
        return;
    health.fast_interval =
        read_milliseconds(*fast, "health.fast_interval", ask_interval_limits, problems).value_or(health.fast_interval);
    if (health.fast_interval > health.interval)
        problems.add(fast->place,
            fmt::format("health.fast_interval, {}, is longer than health.interval, {}",
                write_duration(health.fast_interval), write_duration(health.interval)),
            fmt::format("write fast_interval: {} or less, or a longer interval", write_duration(health.interval)));
}

void read_times(const Section& section, HealthConfig& health, Problems& problems)
{
    if (const Node* node = section.find("interval"))
        health.interval =
            read_milliseconds(*node, "health.interval", ask_interval_limits, problems).value_or(health.interval);
    read_fast(section, health, problems);
    if (const Node* jitter = section.find("jitter")) {
        health.jitter = read_percent(*jitter, "health.jitter", problems).value_or(0);
        if (health.jitter > most_jitter)
            problems.add(jitter->place,
                fmt::format("health.jitter must be from 0% to {}%, not {}%", most_jitter, health.jitter),
                fmt::format("write {}% or less", most_jitter));
    }
    const Node* node = section.find("timeout");
    if (node == nullptr) {
        health.timeout = std::min(health.timeout, health.interval);
        return;
    }
    const auto timeout = read_milliseconds(*node, "health.timeout", ask_timeout_limits, problems);
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

} // namespace

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
        read_by_type(section, health, problems);
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

void check_health_way(const Section& section, const ServiceConfig& service, Problems& problems)
{
    const auto& health = service.failure.health;
    if (!health || !is_one_way(service.forward) || (health->type != udp && health->type != dns))
        return;
    problems.add(section.has("health") ? section.place("health") : service.place,
        fmt::format("checks of type: {} cannot be had under forward: {}: those ask the service address at the backend, "
                    "and only over TCP",
            to_string(health->type), to_string(service.forward)),
        "write type: tcp, http or https, with the port of something on the backend that answers");
}

} // namespace featherlb
