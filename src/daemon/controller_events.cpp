// SPDX-License-Identifier: Apache-2.0
// What the controller knows of single packets.
#include <algorithm>
#include <map>

#include <fmt/format.h>
#include <net/if.h>

#include "base/text.h"
#include "daemon/controller.h"

namespace featherlb {

std::vector<Event> Controller::events_of(std::span<const SeenSample> samples) const
{
    std::map<std::string, std::map<Endpoint, std::string>> names; // of the backends of a service, made once
    std::map<std::uint16_t, std::string> interfaces;
    std::vector<Event> events;
    events.reserve(samples.size());
    for (const auto& [sample, time] : samples) {
        Event event = make_event(sample, time, have_);
        if (const auto row = have_.backends.find(sample.backend); row != have_.backends.end()) {
            const auto [of_service, is_new] = names.try_emplace(event.service);
            if (is_new)
                of_service->second = backend_names(event.service);
            if (const auto name = of_service->second.find(row->second.endpoint); name != of_service->second.end())
                event.backend = name->second;
        }
        const auto [interface, new_interface] = interfaces.try_emplace(sample.slot);
        if (new_interface)
            interface->second = interface_name(sample.slot);
        event.interface = interface->second;
        events.push_back(std::move(event));
    }
    return events;
}

std::map<Endpoint, std::string> Controller::backend_names(const std::string& service) const
{
    std::map<Endpoint, std::string> names;
    if (!config_)
        return names;
    const auto one = std::ranges::find(config_->services, service, &ServiceConfig::name);
    if (one != config_->services.end())
        for (const auto& [endpoint, backend] : endpoints_of(*one, dns_))
            names.emplace(endpoint, backend->name);
    return names;
}

std::string Controller::interface_name(std::uint16_t slot) const
{
    flb_hop hop{};
    hop.link = slot;
    const std::optional<LinkOut> link = plane_.link_out(hop);
    char name[IF_NAMESIZE] = {};
    return link && ::if_indextoname(link->ifindex, name) != nullptr ? name : "";
}

Result<void> Controller::check_service(const std::string& name) const
{
    std::set<std::string> names; // those that drain included
    for (const auto& [id, row] : have_.services)
        names.insert(row.name);
    if (config_)
        for (const ServiceConfig& service : config_->services)
            names.insert(service.name);
    if (names.contains(name))
        return {};
    return fail(fmt::format("there is no service {}", quote(name)), meant(name, {names.begin(), names.end()}));
}

} // namespace featherlb
