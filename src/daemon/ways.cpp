// SPDX-License-Identifier: Apache-2.0
#include "daemon/ways.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace featherlb {

bool is_resolved(const flb_hop& hop)
{
    static constexpr flb_hop none{};
    return hop.link != 0 || std::memcmp(hop.mac, none.mac, sizeof none.mac) != 0;
}

std::string write_mac(const std::uint8_t (&mac)[6])
{
    return fmt::format("{:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
}

Error behind_gateway(const IpAddress& address, const Way& way)
{
    return {fmt::format("the route to {} leads over the gateway {}, and `dsr` reaches only what is on a link of this "
                        "machine",
                address.to_string(), way.neighbour ? way.neighbour->to_string() : "?"),
        "use forward: ipip, or give this machine an address in the backend's network"};
}

void Ways::refresh(const std::map<IpAddress, std::string>& destinations, const std::set<IpAddress>& adjacent)
{
    ways_.clear();
    for (const auto& [address, owners] : destinations) {
        Way& way = ways_[address];
        way = network_.next_hop(address);
        report(address, owners, way);
        if (!adjacent.contains(address) || !way.next.gateway)
            distant_.erase(address);
        else if (distant_.insert(address).second)
            log_.warning("backend address {} (of {}) is not reached: {}", address.to_string(), owners,
                describe(behind_gateway(address, way)));
    }
    std::erase_if(distant_, [this](const IpAddress& address) { return !ways_.contains(address); });
    std::erase_if(missing_, [this](const auto& entry) { return !ways_.contains(entry.first); });
}

void Ways::retain()
{
    std::set<IpAddress> destinations;
    for (const auto& [address, way] : ways_)
        destinations.insert(address);
    network_.retain(destinations);
}

void Ways::report(const IpAddress& address, const std::string& owners, const Way& way)
{
    const auto missing = missing_.find(address);
    if (is_resolved(way.next.hop)) {
        if (missing != missing_.end() && !missing->second.said.empty())
            log_.info("backend address {} (of {}) is reached again: {} by {}", address.to_string(), owners,
                write_mac(way.next.hop.mac), way.device);
        missing_.erase(address);
        return;
    }
    if (missing == missing_.end()) {
        missing_.emplace(address, Missing{loop_.now(), {}});
        return;
    }
    const std::string problem = way.problem ? describe(*way.problem) : "its link address is not known";
    if (loop_.now() - missing->second.since < patience || missing->second.said == problem)
        return;
    log_.warning("backend address {} (of {}) is not reached: {}", address.to_string(), owners, problem);
    missing->second.said = problem;
}

// Is it missing for so short a time that a way that is there shall stay?
bool Ways::is_patient(const IpAddress& address, const Way& way) const
{
    const auto missing = missing_.find(address);
    return missing != missing_.end() && way.ifindex != 0 && loop_.now() - missing->second.since < patience;
}

std::map<IpAddress, NextHop> Ways::for_plan(const Tables& have) const
{
    std::set<IpAddress> resolved_there;
    for (const auto& [id, row] : have.backends) {
        if (!missing_.empty() && is_resolved(row.hop))
            resolved_there.insert(row.endpoint.address);
    }
    std::map<IpAddress, NextHop> hops;
    for (const auto& [address, way] : ways_) {
        if (!is_patient(address, way) || !resolved_there.contains(address))
            hops.emplace_hint(hops.end(), address, way.next);
    }
    return hops;
}

std::map<IpAddress, NextHop> Ways::for_rows(const Tables& have) const
{
    std::map<IpAddress, NextHop> hops;
    std::set<IpAddress> resolved_there;
    for (const auto& [id, row] : have.backends) {
        if (is_resolved(row.hop))
            resolved_there.insert(row.endpoint.address);
    }
    for (const auto& [id, row] : have.backends) {
        const auto way = ways_.find(row.endpoint.address);
        if (way != ways_.end() && (!is_patient(way->first, way->second) || !resolved_there.contains(way->first)))
            hops.emplace(way->first, way->second.next);
    }
    return hops;
}

std::optional<Loop::Clock::time_point> Ways::patience_ends() const
{
    std::optional<Loop::Clock::time_point> first;
    for (const auto& [address, missing] : missing_) {
        const auto end = missing.since + patience;
        if (missing.said.empty() && (!first || end < *first))
            first = end;
    }
    return first;
}

} // namespace featherlb
