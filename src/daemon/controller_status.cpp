// SPDX-License-Identifier: Apache-2.0
// What the controller tells of itself.
#include <algorithm>
#include <utility>

#include <fmt/format.h>
#include <unistd.h>

#include "config/values.h"
#include "daemon/controller.h"

namespace featherlb {

namespace {

std::string write_listener(const ListenerKey& key)
{
    return fmt::format("{}/{}", Endpoint{key.address, key.port}.to_string(), to_string(key.protocol));
}

// "http /healthz every 2s"; "none".
std::string describe_check(const FailureConfig& failure)
{
    if (!failure.health)
        return "none";
    const HealthConfig& health = *failure.health;
    return fmt::format("{}{} every {}", to_string(health.type),
        health.type == HealthType::http ? " " + health.path : std::string(), write_duration(health.interval));
}

InterfaceStatus missing_interface(const InterfaceConfig& wanted)
{
    InterfaceStatus status;
    status.name = wanted.name;
    status.attach = to_string(wanted.attach);
    status.chosen = "configured";
    status.problem = "the interface does not exist; attaching when it returns";
    return status;
}

FlowsStatus flow_status(const Plane& plane, Loop::Clock::time_point now)
{
    const FlowCounts& counts = plane.flow_counts();
    FlowsStatus flows;
    flows.capacity = plane.sizes().flows_max;
    flows.expired = plane.sweep_totals().expired;
    flows.evicted = plane.event_counts()[FLB_EVENT_evicted];
    flows.pins = plane.pins();
    if (counts.pass == 0)
        return flows;
    flows.connections = counts.connections;
    flows.counted_seconds_ago = std::chrono::duration<double>(now - counts.started).count();
    for (std::uint32_t state = 0; state < FLB_FLOW_STATES; ++state) {
        const std::string name = flow_state_name(state);
        if (name.empty() || counts.by_state[state] == 0)
            continue;
        flows.by_state[name] += counts.by_state[state];
        if (is_unproven(state))
            flows.unproven += counts.by_state[state];
    }
    return flows;
}

// Those that are not 0, with their words.
template <typename Row, typename Counts>
std::vector<Row> rows_of(const Counts& counts, CounterWords (*words_of)(std::uint32_t))
{
    std::vector<Row> rows;
    for (std::uint32_t number = 0; number < counts.size(); ++number) {
        const CounterWords words = words_of(number);
        if (counts[number] != 0)
            rows.push_back({std::string(words.name), std::string(words.text), counts[number]});
    }
    return rows;
}

DataPlaneStatus plane_status(const Plane& plane, const std::string& pins)
{
    DataPlaneStatus status;
    status.pins = pins;
    status.adopted = plane.adopted();
    for (const ProgramInfo& program : plane.programs())
        status.programs.push_back({program.name, program.id, program.tag, program.instructions});
    for (const MapFacts& map : plane.maps()) {
        status.maps.push_back({map.name, map.entries, map.bytes});
        status.memory_bytes += map.bytes;
    }
    return status;
}

} // namespace

Status Controller::status() const
{
    Status status;
    status.version = FEATHERLB_VERSION;
    status.pid = ::getpid();
    status.state = load_ && load_->starting ? "starting" : "running";
    status.uptime_seconds = std::chrono::duration<double>(loop_.now() - started_at_).count();
    status.config_file = options_.config_file;
    status.config_loaded_at = loaded_at_;
    status.last_reload = last_reload_;
    status.problem = problem_;
    status.interfaces = interface_status();
    status.services = service_status();
    status.flows = flow_status(plane_, loop_.now());
    status.flows.evicted_last_minute = crowding_.recent();
    status.drops = rows_of<DropStatus>(plane_.drop_counts(), drop_reason);
    status.events = rows_of<EventStatus>(plane_.event_counts(), event_words);
    status.data_plane = plane_status(plane_, options_.pins);
    return status;
}

std::vector<InterfaceStatus> Controller::interface_status() const
{
    std::vector<InterfaceStatus> all;
    std::map<std::uint32_t, std::uint32_t> programs;
    for (const Attachment& attachment : plane_.attachments())
        programs[attachment.ifindex] = attachment.program_id;
    std::set<std::string> there;
    for (const auto& [index, interface] : interfaces_.all()) {
        there.insert(interface.chosen.name);
        InterfaceStatus status;
        status.name = interface.chosen.name;
        status.ifindex = index;
        status.attach = to_string(interface.chosen.mode);
        status.chosen = interface.chosen.why;
        status.problem = interface.problem;
        if (interface.outcome) {
            status.attached = programs.contains(index);
            status.hook = to_string(interface.outcome->hook);
            status.driver = interface.outcome->driver;
            status.why = interface.outcome->why;
            status.warnings = interface.outcome->warnings;
            status.program_id = status.attached ? programs.at(index) : 0;
            if (!status.attached)
                status.problem = "the program was taken off by somebody else; `featherlb reload` puts it back";
        }
        all.push_back(std::move(status));
    }
    if (config_ && config_->interfaces) {
        for (const InterfaceConfig& wanted : *config_->interfaces) {
            if (!there.contains(wanted.name))
                all.push_back(missing_interface(wanted));
        }
    }
    return all;
}

std::vector<ServiceStatus> Controller::service_status() const
{
    std::vector<ServiceStatus> all;
    std::map<std::string_view, std::size_t> positions;
    struct Known {
        const ServiceConfig* service = nullptr;
        std::map<Endpoint, const BackendConfig*> backends;
    };
    std::map<std::string_view, Known> configs;
    if (config_) {
        for (const ServiceConfig& service : config_->services) {
            positions.emplace(service.name, all.size());
            configs.emplace(service.name, Known{&service, endpoints_of(service, dns_)});
            all.push_back({service.name, "active", std::string(to_string(service.algorithm)),
                std::string(to_string(service.forward)), {}, {}});
            all.back().health = describe_check(service.failure);
        }
    }
    for (const auto& [id, row] : have_.services) {
        if (positions.emplace(row.name, all.size()).second)
            all.push_back({row.name, "draining", "no longer configured", std::string(to_string(row.forward)), {}, {}});
    }
    for (const ServiceId id : panicking(have_))
        all[positions.at(have_.services.at(id).name)].panic = true;
    for (const auto& [id, row] : have_.services) {
        ServiceStatus& status = all[positions.at(row.name)];
        status.refusing = status.refusing || row.refuse;
        if (const auto panics = panics_.find(row.name); panics != panics_.end())
            status.panics = panics->second;
    }
    for (const auto& [key, service] : have_.listeners) {
        if (const auto row = have_.services.find(service); row != have_.services.end())
            all[positions.at(row->second.name)].listeners.push_back(write_listener(key));
    }
    for (const auto& [id, row] : have_.backends) {
        const auto service = have_.services.find(row.service);
        if (service == have_.services.end())
            continue;
        const Known& known = configs[service->second.name];
        const auto backend = known.backends.find(row.endpoint);
        all[positions.at(service->second.name)].backends.push_back(
            backend_status(id, row, known.service, backend == known.backends.end() ? nullptr : backend->second));
    }
    return all;
}

BackendStatus Controller::backend_status(
    BackendId id, const BackendRow& row, const ServiceConfig* service, const BackendConfig* backend) const
{
    BackendStatus status;
    status.address = row.endpoint.to_string();
    status.name = backend == nullptr ? status.address : backend->name;
    status.weight = backend == nullptr ? 0 : backend->weight;
    tell_state(status, id, row, service, backend != nullptr);
    const FlowCounts& counts = plane_.flow_counts();
    if (id < counts.by_backend.size())
        status.flows = counts.by_backend[id];
    const BackendCounts totals = plane_.backend_counts(id);
    status.connections = totals.connections;
    status.refused = totals.refused;
    status.packets_in = totals.packets[0];
    status.packets_out = totals.packets[1];
    status.bytes_in = totals.bytes[0];
    status.bytes_out = totals.bytes[1];
    return status;
}

void Controller::tell_state(
    BackendStatus& status, BackendId id, const BackendRow& row, const ServiceConfig* service, bool configured) const
{
    const HealthState* health =
        service == nullptr || !configured ? nullptr : health_.find({service->name, row.endpoint});
    if (health != nullptr)
        status.checks = {health->good(), health->failed(), health->discarded(), health->last_failure()};
    status.used = row.up;
    status.tcp_fate = row.reset ? "reset" : row.rehash_tcp ? "rehash" : "";
    status.udp_fate = row.rehash_udp ? "rehash" : "";
    status.state = "up";
    if (row.draining) {
        status.state = "draining";
        status.reason = configured ? "weight 0" : "no longer configured; keeps its connections";
        status.reason += drains_.describe(id);
    } else if (row.down) {
        status.state = "down";
        status.reason = health == nullptr || health->last_failure().empty() ? "as an earlier daemon found it"
                                                                            : health->last_failure();
        if (row.up)
            status.reason += "; used all the same, as too few are up";
    } else if (!is_resolved(row.hop)) {
        status.state = "unresolved";
        const auto way = ways_.all().find(row.endpoint.address);
        if (way != ways_.all().end() && way->second.problem)
            status.reason = describe(*way->second.problem);
    } else if (service != nullptr && service->forward == Forward::snat && row.snat_addresses.empty()) {
        status.state = "unresolved";
        status.reason = "this machine has no address that connections to it may come from; set snat.addresses";
    }
}

} // namespace featherlb
