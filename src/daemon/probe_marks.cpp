// SPDX-License-Identifier: Apache-2.0
#include "daemon/probe_marks.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/text.h"

namespace featherlb {

std::optional<IpAddress> probed_address(const ServiceConfig& service, const Endpoint& backend)
{
    if (!is_one_way(service.forward))
        return std::nullopt;
    const std::uint16_t port =
        service.failure.health && service.failure.health->port ? *service.failure.health->port : backend.port;
    const auto listens_on = [port](const ListenerConfig& listener) {
        return listener.port <= port && port <= listener.last_port();
    };
    // A tunnel takes either IP version.
    const auto rank = [&](const ListenerConfig& listener) {
        const bool same = listener.address && listener.address->family() == backend.address.family();
        if (!listener.address || (!same && service.forward != Forward::ipip))
            return 0;
        return (same ? 3 : 1) + (listens_on(listener) ? 1 : 0);
    };
    const auto best = std::ranges::max_element(service.listeners, {}, rank);
    return best == service.listeners.end() || rank(*best) == 0 ? std::nullopt : best->address;
}

std::optional<IpAddress> own_address(
    const Machine& machine, std::uint32_t ifindex, Family family, const std::set<IpAddress>& services)
{
    for (const InterfaceAddress& entry : machine.addresses) {
        if (entry.ifindex == ifindex && entry.address.family() == family && !entry.address.is_link_local() &&
            !entry.deprecated && !services.contains(entry.address))
            return entry.address;
    }
    return std::nullopt;
}

std::vector<std::string> probe_warnings(const Config& config)
{
    std::vector<std::string> warnings;
    for (const ServiceConfig& service : config.services) {
        if (!service.failure.health || !is_one_way(service.forward))
            continue;
        for (const BackendConfig& backend : service.backends) {
            const auto* endpoint = std::get_if<Endpoint>(&backend.target);
            if (endpoint != nullptr && !probed_address(service, *endpoint))
                warnings.push_back(fmt::format(
                    "service {}: {} is checked at its own address, not at the service's: no listener has an address {}"
                    "that is written out",
                    quote(service.name), endpoint->to_string(),
                    service.forward == Forward::dsr ? fmt::format("of {} ", to_string(endpoint->address.family()))
                                                    : ""));
        }
    }
    return warnings;
}

void ProbeMarks::follow(const std::map<BackendKey, ProbeRoute>& wanted)
{
    std::erase_if(marked_, [&](const auto& entry) {
        if (wanted.contains(entry.first))
            return false;
        used_.erase(entry.second.mark);
        return true;
    });
    std::uint32_t next = FLB_PROBE_MARK;
    for (const auto& [backend, route] : wanted) {
        const auto [entry, is_new] = marked_.try_emplace(backend);
        entry->second.route = route;
        if (!is_new)
            continue;
        while (used_.contains(next))
            ++next;
        entry->second.mark = next;
        used_.insert(next);
    }
}

std::uint32_t ProbeMarks::mark_of(const BackendKey& backend) const
{
    const auto entry = marked_.find(backend);
    return entry == marked_.end() ? 0 : entry->second.mark;
}

std::map<std::uint32_t, ProbeRoute> ProbeMarks::by_mark() const
{
    std::map<std::uint32_t, ProbeRoute> all;
    for (const auto& [backend, marked] : marked_)
        all.emplace(marked.mark, marked.route);
    return all;
}

} // namespace featherlb
