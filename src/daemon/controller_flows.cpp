// SPDX-License-Identifier: Apache-2.0
// What the controller knows of those whom connections lead to.
#include "daemon/controller.h"

namespace featherlb {

FlowBackends Controller::flow_backends() const
{
    FlowBackends all;
    std::map<std::string, std::map<Endpoint, const BackendConfig*>> configured;
    if (config_) {
        for (const ServiceConfig& service : config_->services) {
            all.services.insert(service.name);
            configured.emplace(service.name, endpoints_of(service, dns_));
        }
    }
    for (const auto& [id, row] : have_.backends) {
        const auto service = have_.services.find(row.service);
        if (service == have_.services.end())
            continue;
        FlowBackend backend{service->second.name, row.endpoint.to_string(), row.endpoint, service->second.forward};
        if (row.one_way)
            backend.forward = *row.one_way;
        if (const auto known = configured.find(backend.service); known != configured.end())
            if (const auto named = known->second.find(row.endpoint); named != known->second.end())
                backend.name = named->second->name;
        all.services.insert(backend.service);
        all.rows.emplace(id, std::move(backend));
    }
    return all;
}

flb_hop Controller::hop_to(BackendId backend) const
{
    const auto row = have_.backends.find(backend);
    return row == have_.backends.end() ? flb_hop{} : row->second.hop;
}

} // namespace featherlb
