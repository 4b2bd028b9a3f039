// SPDX-License-Identifier: Apache-2.0
// What the tests of src/plan share: short ways to write configurations and what is known of the machine, the rules
// that Tables keep at any moment, and how a list of changes acts on them.
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "plan/tables.h"

namespace featherlb::plan_test {

inline constexpr Limits roomy{.services = 1000, .backends = 10000, .slots = 10'000'000, .prefixes = 262'144};

inline IpAddress address(std::string_view text)
{
    return IpAddress::parse(text).value();
}

inline Endpoint endpoint(std::string_view text)
{
    return Endpoint::parse(text).value();
}

// "10.0.0.1:80", TCP unless said otherwise.
inline ListenerKey key(std::string_view text, Protocol protocol = Protocol::tcp)
{
    const Endpoint parsed = endpoint(text);
    return {parsed.address, parsed.port, protocol};
}

inline ListenerConfig listen(std::string_view text, Protocol protocol = Protocol::tcp)
{
    const Endpoint parsed = endpoint(text);
    return {.address = parsed.address, .port = parsed.port, .protocol = protocol, .place = {}};
}

inline ListenerConfig listen_everywhere(std::uint16_t port, Protocol protocol = Protocol::tcp)
{
    return {.address = std::nullopt, .port = port, .protocol = protocol, .place = {}};
}

inline BackendConfig backend(std::string_view text, std::uint32_t weight = 1)
{
    return {.name = std::string(text), .target = endpoint(text), .weight = weight, .place = {}};
}

inline BackendConfig dns_backend(const std::string& host, std::uint16_t port, std::uint32_t weight = 1)
{
    return {.name = host, .target = DnsName{host, port}, .weight = weight, .place = {}};
}

inline ServiceConfig service(std::string name, std::vector<ListenerConfig> listeners,
    std::vector<BackendConfig> backends, Forward forward = Forward::snat, Algorithm algorithm = Algorithm::round_robin)
{
    return {.name = std::move(name),
        .listeners = std::move(listeners),
        .algorithm = algorithm,
        .forward = forward,
        .backends = std::move(backends),
        .admission = {},
        .place = {}};
}

inline Config config_of(std::vector<ServiceConfig> services)
{
    Config config;
    config.services = std::move(services);
    return config;
}

inline flb_hop some_hop(std::uint8_t last = 1)
{
    flb_hop hop{};
    hop.mac[0] = 2;
    hop.mac[5] = last;
    hop.link = 3;
    return hop;
}

inline NextHop next_hop(std::string_view source, std::uint8_t last = 1)
{
    return {.hop = some_hop(last), .mtu = 1500, .source = address(source)};
}

inline BackendId id_of(const Tables& tables, std::string_view text, ServiceId service = 1)
{
    const Endpoint wanted = endpoint(text);
    const auto row = std::find_if(tables.backends.begin(), tables.backends.end(),
        [&](const auto& entry) { return entry.second.endpoint == wanted && entry.second.service == service; });
    return row == tables.backends.end() ? 0 : row->first;
}

inline void apply(Tables& tables, const Tables& want, const Change& change)
{
    using Kind = Change::Kind;
    switch (change.kind) {
    case Kind::put_backend:
        tables.backends[change.id] = want.backends.at(change.id);
        break;
    case Kind::put_slots:
        tables.services.at(change.id).slots = want.services.at(change.id).slots;
        break;
    case Kind::put_service:
        tables.services[change.id] = want.services.at(change.id);
        break;
    case Kind::put_prefix:
    case Kind::remove_prefix: {
        AccessRules rules = tables.access.contains(change.id) ? *tables.access[change.id] : AccessRules{};
        std::erase_if(rules, [&](const AccessRule& rule) { return rule.network == change.rule.network; });
        if (change.kind == Kind::put_prefix)
            rules.insert(std::ranges::lower_bound(rules, change.rule), change.rule);
        if (rules.empty())
            tables.access.erase(change.id);
        else
            tables.access[change.id] = std::make_shared<const AccessRules>(std::move(rules));
        break;
    }
    case Kind::put_source:
        tables.sources[change.key] = want.sources.at(change.key);
        break;
    case Kind::put_listener:
        tables.listeners[change.key] = want.listeners.at(change.key);
        break;
    case Kind::remove_listener:
        tables.listeners.erase(change.key);
        break;
    case Kind::remove_source:
        tables.sources.erase(change.key);
        break;
    case Kind::remove_service:
        tables.services.erase(change.id);
        break;
    case Kind::remove_backend:
        tables.backends.erase(change.id);
        break;
    case Kind::put_settings:
        tables.timeouts = want.timeouts;
        tables.snat_ports = want.snat_ports;
        break;
    }
}

// The first reference that leads nowhere, in words; empty if there is none.
inline std::string broken_reference(const Tables& tables)
{
    for (const auto& [listener, id] : tables.listeners) {
        if (!tables.services.contains(id))
            return "a listener leads to service " + std::to_string(id);
    }
    for (const auto& [source, row] : tables.sources) {
        if (!tables.backends.contains(row.backend))
            return "a source leads to backend " + std::to_string(row.backend);
    }
    for (const auto& [id, row] : tables.services) {
        for (const BackendId slot : row.slots) {
            if (!tables.backends.contains(slot))
                return "a slot of " + row.name + " leads to backend " + std::to_string(slot);
        }
    }
    return {};
}

} // namespace featherlb::plan_test
