// SPDX-License-Identifier: Apache-2.0
#include "config/rules.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "base/text.h"
#include "config/listeners.h"
#include "config/lists.h"
#include "config/metrics.h"

namespace featherlb {

namespace {

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
    check_listeners(config, problems);
    check_sources(config, problems);
    check_metrics(config, problems);
}

} // namespace featherlb
