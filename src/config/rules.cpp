// SPDX-License-Identifier: Apache-2.0
#include "config/rules.h"

#include <algorithm>
#include <map>
#include <utility>

#include <fmt/format.h>

#include "base/text.h"
#include "config/lists.h"

namespace featherlb {

namespace {

struct Claim {
    std::size_t service = 0;
    Place place;
};

// Who listens on one port of one protocol.
struct PortClaims {
    std::optional<Claim> everywhere; // "*"
    std::map<IpAddress, Claim> addresses;
};

class ListenerRules {
public:
    ListenerRules(const Config& config, Problems& problems) : config_(config), problems_(problems) {}

    void check()
    {
        for (std::size_t service = 0; service < config_.services.size(); ++service) {
            for (const ListenerConfig& listener : config_.services[service].listeners)
                check(listener, service);
        }
    }

private:
    void check(const ListenerConfig& listener, std::size_t service)
    {
        PortClaims& claims = ports_[{listener.port, listener.protocol}];
        const Claim claim{service, listener.place};
        if (listener.address) {
            const auto [same, is_new] = claims.addresses.emplace(*listener.address, claim);
            if (!is_new)
                report_same(listener, service, same->second);
            else if (claims.everywhere && claims.everywhere->service != service)
                report_overlap(listener, *claims.everywhere);
            return;
        }
        if (claims.everywhere)
            return report_same(listener, service, *claims.everywhere);
        claims.everywhere = claim;
        const auto other = std::find_if(claims.addresses.begin(), claims.addresses.end(),
            [&](const auto& entry) { return entry.second.service != service; });
        if (other != claims.addresses.end())
            report_overlap(listener, other->second);
    }

    static std::string name(const ListenerConfig& listener)
    {
        const std::string where = listener.address ? Endpoint{*listener.address, listener.port}.to_string()
                                                   : fmt::format("*:{}", listener.port);
        return fmt::format("\"{}/{}\"", where, to_string(listener.protocol));
    }

    void report_same(const ListenerConfig& listener, std::size_t service, const Claim& first)
    {
        if (first.service == service)
            return problems_.add(listener.place, fmt::format("the listener {} is there twice", name(listener)),
                fmt::format("remove this one or the one in line {}", first.place.line));
        problems_.add(listener.place,
            fmt::format("two services on one listener: {} belongs to {} already", name(listener),
                quote(config_.services[first.service].name)),
            fmt::format("change this one or the one in line {}", first.place.line));
    }

    void report_overlap(const ListenerConfig& listener, const Claim& first)
    {
        problems_.add(listener.place,
            fmt::format("two services on one listener: {} overlaps one of {}, and \"*\" means every address",
                name(listener), quote(config_.services[first.service].name)),
            fmt::format("change this one or the one in line {}: list addresses instead of \"*\", or use another port",
                first.place.line));
    }

    const Config& config_;
    Problems& problems_;
    std::map<std::pair<std::uint16_t, Protocol>, PortClaims> ports_;
};

bool needs_source(const ServiceConfig& service, Family family)
{
    if (service.forward != Forward::snat)
        return false;
    bool by_name = false;
    for (const BackendConfig& backend : service.backends) {
        const auto* endpoint = std::get_if<Endpoint>(&backend.target);
        if (endpoint != nullptr && endpoint->address.family() == family)
            return true;
        by_name = by_name || endpoint == nullptr;
    }
    return by_name &&
           std::any_of(service.listeners.begin(), service.listeners.end(), [&](const ListenerConfig& listener) {
               return listener.address && listener.address->family() == family;
           });
}

void check_sources(const Config& config, Problems& problems)
{
    const auto& addresses = config.snat.addresses;
    if (addresses.empty())
        return;
    for (const Family family : {Family::ipv4, Family::ipv6}) {
        const bool has = std::any_of(
            addresses.begin(), addresses.end(), [&](const IpAddress& address) { return address.family() == family; });
        const auto service = std::find_if(config.services.begin(), config.services.end(),
            [&](const ServiceConfig& candidate) { return needs_source(candidate, family); });
        if (!has && service != config.services.end())
            problems.add(config.snat.place,
                fmt::format("snat.addresses has no {} address, which the service {} needs", to_string(family),
                    quote(service->name)),
                "add one, or write addresses: auto");
    }
}

} // namespace

void check_rules(const Config& config, Problems& problems)
{
    Once<std::string> names;
    for (const ServiceConfig& service : config.services) {
        if (!service.name.empty())
            names.add(service.name, service.place, fmt::format("the service name {}", quote(service.name)), problems);
    }
    ListenerRules(config, problems).check();
    check_sources(config, problems);
}

} // namespace featherlb
