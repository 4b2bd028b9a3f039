// SPDX-License-Identifier: Apache-2.0
#include "daemon/service_totals.h"

#include <set>

namespace featherlb {

namespace {

TrafficStatus minus(const TrafficStatus& traffic)
{
    return {.connections = 0 - traffic.connections,
        .packets_in = 0 - traffic.packets_in,
        .packets_out = 0 - traffic.packets_out,
        .bytes_in = 0 - traffic.bytes_in,
        .bytes_out = 0 - traffic.bytes_out};
}

} // namespace

TrafficStatus traffic_of(const BackendCounts& counts)
{
    return {.connections = counts.connections,
        .packets_in = counts.packets[0],
        .packets_out = counts.packets[1],
        .bytes_in = counts.bytes[0],
        .bytes_out = counts.bytes[1]};
}

TrafficStatus& operator+=(TrafficStatus& sum, const TrafficStatus& more)
{
    sum.connections += more.connections;
    sum.packets_in += more.packets_in;
    sum.packets_out += more.packets_out;
    sum.bytes_in += more.bytes_in;
    sum.bytes_out += more.bytes_out;
    return sum;
}

void ServiceTotals::begin(const Tables& have, const Plane& plane)
{
    for (const auto& [id, row] : have.backends) {
        if (const auto service = have.services.find(row.service); service != have.services.end())
            besides_[service->second.name] += minus(traffic_of(plane.backend_counts(id)));
    }
}

ServiceTotals::Gone ServiceTotals::collect(const Tables& have, const std::vector<Change>& changes, const Plane& plane)
{
    Gone gone;
    for (const Change& change : changes) {
        if (change.kind != Change::Kind::remove_backend)
            continue;
        const auto row = have.backends.find(change.id);
        if (row == have.backends.end())
            continue;
        if (const auto service = have.services.find(row->second.service); service != have.services.end())
            gone.emplace_back(service->second.name, traffic_of(plane.backend_counts(change.id)));
    }
    return gone;
}

void ServiceTotals::add(const Gone& gone, const Tables& have)
{
    if (gone.empty())
        return;
    for (const auto& [service, traffic] : gone)
        besides_[service] += traffic;
    std::set<std::string_view> there;
    for (const auto& [id, row] : have.services)
        there.insert(row.name);
    std::erase_if(besides_, [&there](const auto& entry) { return !there.contains(entry.first); });
}

TrafficStatus ServiceTotals::besides(const std::string& service) const
{
    const auto found = besides_.find(service);
    return found == besides_.end() ? TrafficStatus{} : found->second;
}

} // namespace featherlb
