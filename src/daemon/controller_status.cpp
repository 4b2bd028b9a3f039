// SPDX-License-Identifier: Apache-2.0
// What the controller tells of itself.
#include <algorithm>
#include <numeric>
#include <unordered_map>
#include <utility>

#include <fmt/format.h>
#include <unistd.h>

#include "base/utc.h"
#include "config/values.h"
#include "daemon/controller.h"
#include "observe/listeners.h"

namespace featherlb {

namespace {

// "http /healthz every 2s, at the service address"; "none".
std::string describe_check(const ServiceConfig& service)
{
    if (!service.failure.health)
        return "none";
    const HealthConfig& health = *service.failure.health;
    return fmt::format("{}{} every {}{}", to_string(health.type),
        health.type == HealthType::http ? " " + health.path : std::string(), write_duration(health.interval),
        is_one_way(service.forward) ? ", at the service address" : "");
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
    flows.corrected = plane.sweep_totals().corrected;
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

void add_responses(ResponseStatus& status, const ResponseCounts& counts)
{
    const std::uint64_t samples = std::accumulate(counts.buckets.begin(), counts.buckets.end(), std::uint64_t{0});
    if (samples == 0)
        return;
    status.count += samples;
    status.sum_seconds += static_cast<double>(counts.sum_us) / 1e6;
    status.smoothed_seconds = std::max(status.smoothed_seconds, counts.smoothed_us / 1e6);
    status.buckets.resize(counts.buckets.size());
    for (std::size_t bucket = 0; bucket < counts.buckets.size(); ++bucket)
        status.buckets[bucket] += counts.buckets[bucket];
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
    if (config_) {
        status.config_loaded_at = utc_text(loaded_at_);
        status.config_loaded_unix = std::chrono::duration<double>(loaded_at_.time_since_epoch()).count();
    }
    status.last_reload = last_reload_;
    status.reloads = reloads_;
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

std::string Controller::why_not_ready() const
{
    if (!config_ || (load_ && load_->starting))
        return "the configuration is being applied";
    if (!problem_.empty())
        return problem_;
    const std::vector<InterfaceStatus> interfaces = interface_status();
    for (const InterfaceStatus& interface : interfaces) {
        if (!interface.attached)
            return fmt::format("{}: {}", interface.name, interface.problem);
    }
    return interfaces.empty() ? "no interface is chosen" : "";
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
    struct Known {
        const ServiceConfig* service = nullptr;
        std::map<Endpoint, const BackendConfig*> backends;
    };
    std::vector<Known> known; // beside `all`
    std::unordered_map<std::string_view, std::size_t> by_name;
    if (config_) {
        for (const ServiceConfig& service : config_->services) {
            by_name.emplace(service.name, all.size());
            known.push_back({&service, endpoints_of(service, dns_)});
            all.push_back({service.name, "active", std::string(to_string(service.algorithm)),
                std::string(to_string(service.forward)), {}, {}});
            all.back().health = describe_check(service);
            all.back().measure = to_string(service.measure);
        }
    }
    std::unordered_map<ServiceId, std::size_t> places; // two ids have one: a service of both IP versions
    for (const auto& [id, row] : have_.services) {
        const auto [place, is_new] = by_name.emplace(row.name, all.size());
        if (is_new) {
            known.emplace_back();
            all.push_back({row.name, "draining", "no longer configured", std::string(to_string(row.forward)), {}, {}});
        }
        places.emplace(id, place->second);
        ServiceStatus& status = all[place->second];
        status.refusing = status.refusing || row.refuse;
        add_responses(status.responses, plane_.service_responses(id));
        if (const auto panics = panics_.find(row.name); panics != panics_.end())
            status.panics = panics->second;
    }
    for (const ServiceId id : panicking(have_))
        all[places.at(id)].panic = true;
    std::vector<std::vector<ListenerKey>> listeners(all.size());
    for (const auto& [key, service] : have_.listeners) {
        if (const auto place = places.find(service); place != places.end())
            listeners[place->second].push_back(key);
    }
    for (std::size_t place = 0; place < all.size(); ++place) {
        all[place].listeners = write_listeners(std::move(listeners[place]));
        all[place].traffic = totals_.besides(all[place].name);
    }
    for (const auto& [id, row] : have_.backends) {
        const auto place = places.find(row.service);
        if (place == places.end())
            continue;
        const auto& [service, backends] = known[place->second];
        const auto backend = backends.find(row.endpoint);
        ServiceStatus& status = all[place->second];
        status.backends.push_back(
            backend_status(id, row, service, backend == backends.end() ? nullptr : backend->second));
        const BackendStatus& added = status.backends.back();
        status.traffic += {added.connections, added.packets_in, added.packets_out, added.bytes_in, added.bytes_out};
    }
    return all;
}

BackendStatus Controller::backend_status(
    BackendId id, const BackendRow& row, const ServiceConfig* service, const BackendConfig* backend) const
{
    BackendStatus status;
    status.address = row.endpoint.to_string();
    status.name = backend == nullptr ? status.address : backend->name;
    status.configured = backend != nullptr;
    status.by_name = backend != nullptr && std::holds_alternative<DnsName>(backend->target);
    status.weight = backend == nullptr ? 0 : backend->weight;
    status.backup = backend != nullptr && backend->backup;
    // One that drains because its service forwards in another way now has nothing to do with the checks of the other.
    const bool same_way =
        service == nullptr || (is_one_way(service->forward) ? row.one_way == service->forward : !row.one_way);
    if (service != nullptr && backend != nullptr && same_way)
        tell_share(status, row, *service);
    if (service != nullptr && backend != nullptr)
        tell_override(status, {service->name, row.endpoint});
    tell_state(status, id, row, same_way ? service : nullptr, backend != nullptr);
    if (!same_way && backend != nullptr)
        status.reason = "its service has another forward now; keeps its connections" + drains_.describe(id);
    const FlowCounts& counts = plane_.flow_counts();
    if (id < counts.by_backend.size())
        status.flows = counts.by_backend[id];
    const BackendCounts totals = plane_.backend_counts(id);
    status.open = totals.open;
    status.connections = totals.connections;
    status.refused = totals.refused;
    status.packets_in = totals.packets[0];
    status.packets_out = totals.packets[1];
    status.bytes_in = totals.bytes[0];
    status.bytes_out = totals.bytes[1];
    add_responses(status.responses, totals.responses);
    return status;
}

void Controller::tell_share(BackendStatus& status, const BackendRow& row, const ServiceConfig& service) const
{
    const BackendKey key{service.name, row.endpoint};
    status.slow_start_percent = slow_start_.percent(key, loop_.now());
    status.slow_start_seconds_left = std::chrono::duration<double>(slow_start_.left(key, loop_.now())).count();
    const Override* said = overrides_.find(key);
    status.weight_now = said != nullptr ? said->what.weight.value_or(status.weight) : status.weight;
    const AgentState* agent = agents_.find(key);
    const bool varies = agent != nullptr || service.sharing.slow_start.count() > 0;
    if (varies)
        status.weight_now = row.weight / 100.0;
    if (agent == nullptr)
        return;
    status.agent = {.state = agent->silent()  ? "silent"
                             : agent->heard() ? "reporting"
                                              : "waiting",
        .word = agent->word(),
        .reason = agent->reason(),
        .good = agent->good(),
        .failed = agent->failed(),
        .discarded = agent->discarded(),
        .last_failure = agent->last_failure()};
    if (agent->percent())
        status.agent.percent = *agent->percent();
}

void Controller::tell_override(BackendStatus& status, const BackendKey& key) const
{
    const Override* said = overrides_.find(key);
    if (said == nullptr)
        return;
    status.override = {.drained = said->what.drained, .at = said->at};
    if (said->what.weight)
        status.override.weight = *said->what.weight;
    if (said->deadline)
        status.override.deadline_seconds = said->deadline->count();
}

void Controller::tell_state(
    BackendStatus& status, BackendId id, const BackendRow& row, const ServiceConfig* service, bool configured) const
{
    const HealthState* health =
        service == nullptr || !configured ? nullptr : health_.find({service->name, row.endpoint});
    if (health != nullptr)
        status.checks = {health->good(), health->failed(), health->discarded(), health->last_failure(),
            health->seconds(), health->flapping(),
            service->failure.health ? health->needed(service->failure.health->rise) : 0};
    status.used = row.up;
    status.tcp_fate = row.reset ? "reset" : row.rehash_tcp ? "rehash" : "";
    status.udp_fate = row.rehash_udp ? "rehash" : "";
    status.state = "up";
    if (row.draining) {
        status.state = "draining";
        status.reason = !configured               ? "no longer configured; keeps its connections"
                        : status.override.drained ? "by command, since " + status.override.at
                        : status.weight_now == 0  ? "weight 0"
                                                  : "by its agent";
        status.reason += drains_.describe(id);
    } else if (row.down) {
        status.state = "down";
        const bool by_check = health != nullptr && health->down();
        status.reason = !by_check && !status.agent.word.empty()       ? "by its agent"
                        : !by_check || health->last_failure().empty() ? "as an earlier daemon found it"
                                                                      : health->last_failure();
        if (row.up)
            status.reason += "; used all the same, as too few are up";
    } else if (status.backup && !row.up) {
        status.state = "standby";
    } else if (!is_resolved(row.hop)) {
        status.state = "unresolved";
        const auto way = ways_.all().find(row.endpoint.address);
        if (way != ways_.all().end() && way->second.problem)
            status.reason = describe(*way->second.problem);
        else if (way != ways_.all().end() && row.one_way == Forward::dsr && way->second.next.gateway)
            status.reason = describe(behind_gateway(row.endpoint.address, way->second));
    } else if (row.snat_addresses.empty() && row.one_way == Forward::ipip) {
        status.state = "unresolved";
        status.reason = "this machine has no address that the outer header may come from; set ipip.source";
    } else if (service != nullptr && service->forward == Forward::snat && row.snat_addresses.empty()) {
        status.state = "unresolved";
        status.reason = "this machine has no address that connections to it may come from; set snat.addresses";
    }
}

} // namespace featherlb
