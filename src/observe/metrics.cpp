// SPDX-License-Identifier: Apache-2.0
#include "observe/metrics.h"

#include <array>
#include <cmath>
#include <set>
#include <sstream>
#include <string_view>
#include <utility>

#include <prometheus/text_serializer.h>

#include "kernel/counters.h"

namespace featherlb {

namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using Labels = std::vector<ClientMetric::Label>;

// Names of interfaces may be any bytes, and one that is not text would cost the whole answer.
std::string text_of(std::string text)
{
    for (char& c : text)
        c = c >= ' ' && c < 0x7f ? c : '?';
    return text;
}

class Family {
public:
    Family(std::string_view name, MetricType type, std::string_view help)
    {
        family_.name = "featherlb_" + std::string(name);
        family_.help = help;
        family_.type = type;
    }

    ClientMetric& add(Labels labels)
    {
        family_.metric.emplace_back().label = std::move(labels);
        return family_.metric.back();
    }
    Family& add(Labels labels, double value)
    {
        ClientMetric& metric = add(std::move(labels));
        if (family_.type == MetricType::Counter)
            metric.counter.value = value;
        else
            metric.gauge.value = value;
        return *this;
    }
    template <typename Number>
    Family& add(Labels labels, Number value)
    {
        return add(std::move(labels), static_cast<double>(value));
    }
    void give(const TakeFamily& take)
    {
        if (!family_.metric.empty())
            take(std::move(family_));
    }

private:
    MetricFamily family_;
};

// What tells a backend from all others of its service, and stays while it is configured. A name in the file is one;
// the addresses of a DNS name have that name in common, and what left the file has none.
std::string label_of(const BackendStatus& backend)
{
    return backend.configured && !backend.by_name ? backend.name : backend.address;
}

// A backend of a status with its labels.
struct Row {
    const ServiceStatus* service;
    const BackendStatus* backend;
    std::string label;
};

// A backend whose service forwards in another way now stands there twice, and one of the two drains.
std::vector<Row> rows_of(const Status& status)
{
    std::vector<Row> rows;
    for (const ServiceStatus& service : status.services) {
        std::set<std::string> used;
        for (const bool draining : {false, true}) {
            for (const BackendStatus& backend : service.backends) {
                if ((backend.state == "draining") != draining)
                    continue;
                std::string label = label_of(backend);
                for (const char* more : {" (draining)", " (another)"}) {
                    if (!used.contains(label))
                        break;
                    label += more;
                }
                if (used.insert(label).second)
                    rows.push_back({&service, &backend, text_of(std::move(label))});
            }
        }
    }
    return rows;
}

Labels labels(const ServiceStatus& service)
{
    return {{"service", service.name}};
}

Labels labels(const ServiceStatus& service, std::string_view name, std::string_view value)
{
    return {{"service", service.name}, {std::string(name), std::string(value)}};
}

Labels labels(const Row& row)
{
    return {{"service", row.service->name}, {"backend", row.label}};
}

Labels labels(const Row& row, std::string_view name, std::string_view value)
{
    return {{"service", row.service->name}, {"backend", row.label}, {std::string(name), std::string(value)}};
}

void make_daemon(const Status& status, const TakeFamily& take)
{
    Family("build_info", MetricType::Gauge, "Version of the running daemon and of the layout of its maps; always 1.")
        .add({{"version", status.version}, {"abi", std::to_string(status.abi)}}, 1.0)
        .give(take);
    Family("uptime_seconds", MetricType::Gauge, "Since the daemon started.").add({}, status.uptime_seconds).give(take);
    Family("config_reloads_total", MetricType::Counter, "Reloads since the daemon started, by result.")
        .add({{"result", "ok"}}, status.reloads.ok)
        .add({{"result", "invalid"}}, status.reloads.invalid)
        .add({{"result", "failed"}}, status.reloads.failed)
        .give(take);
    Family("config_last_reload_successful", MetricType::Gauge,
        "Whether the last reload was carried out; 1 too when there was none.")
        .add({}, status.last_reload.result.empty() || status.last_reload.result == "ok")
        .give(take);
    Family("config_last_reload_success_timestamp_seconds", MetricType::Gauge,
        "When the configuration that holds was loaded, in seconds since 1970.")
        .add({}, status.config_loaded_unix)
        .give(take);
    Family("config_pending", MetricType::Gauge,
        "Whether something of the configuration could not be carried out and is being tried again.")
        .add({}, !status.problem.empty())
        .give(take);
    Family attached("attached", MetricType::Gauge, "Whether the program is on the interface.");
    for (const InterfaceStatus& interface : status.interfaces)
        attached.add({{"interface", text_of(interface.name)}, {"hook", interface.hook}}, interface.attached);
    attached.give(take);
}

void make_data_plane(const Status& status, const TakeFamily& take)
{
    Family drops("dropped_packets_total", MetricType::Counter, "Packets for a service that were dropped, by reason.");
    std::map<std::string_view, std::uint64_t> dropped;
    for (const DropStatus& drop : status.drops)
        dropped[drop.reason] = drop.packets;
    for (std::uint32_t reason = 1; reason < FLB_DROP_REASON_COUNT; ++reason)
        drops.add({{"reason", std::string(drop_reason(reason).name)}}, dropped[drop_reason(reason).name]);
    drops.give(take);
    Family events("events_total", MetricType::Counter, "What was done less well for want of room, by event.");
    std::map<std::string_view, std::uint64_t> occurred;
    for (const EventStatus& event : status.events)
        occurred[event.event] = event.count;
    for (std::uint32_t event = 0; event < FLB_EVENT_COUNT; ++event)
        events.add({{"event", std::string(event_words(event).name)}}, occurred[event_words(event).name]);
    events.give(take);
    Family flows("flows", MetricType::Gauge, "Connections in the flow tables by state, as last counted.");
    std::set<std::string> states;
    for (std::uint32_t state = 0; state < FLB_FLOW_STATES; ++state)
        states.insert(flow_state_name(state));
    states.erase("");
    for (const std::string& state : states) {
        const auto count = status.flows.by_state.find(state);
        flows.add({{"state", state}}, count == status.flows.by_state.end() ? 0 : count->second);
    }
    flows.give(take);
    Family("flows_capacity", MetricType::Gauge, "Connections that the flow table of each IP version has room for.")
        .add({}, status.flows.capacity)
        .give(take);
    Family("flows_expired_total", MetricType::Counter, "Connections that were freed because of their age.")
        .add({}, status.flows.expired)
        .give(take);
    Family(
        "loads_corrected_total", MetricType::Counter, "Counts of open connections that were found wrong and put right.")
        .add({}, status.flows.corrected)
        .give(take);
    Family("pins", MetricType::Gauge, "Clients that stay with a backend (affinity), as last counted.")
        .add({}, status.flows.pins)
        .give(take);
    Family("map_memory_bytes", MetricType::Gauge, "Memory of the kernel that the maps take.")
        .add({}, status.data_plane.memory_bytes)
        .give(take);
}

using ResponseOf = const ResponseStatus&;

// Bucket i of the programs holds what took less than 2^i microseconds, the last one the rest.
void fill_histogram(ClientMetric::Histogram& histogram, ResponseOf responses)
{
    histogram.sample_count = responses.count;
    histogram.sample_sum = responses.sum_seconds;
    std::uint64_t below = 0;
    for (std::size_t bucket = 0; bucket + 1 < FLB_RESPONSE_BUCKETS; ++bucket) {
        below += bucket < responses.buckets.size() ? responses.buckets[bucket] : 0;
        histogram.bucket.push_back({below, std::ldexp(1e-6, static_cast<int>(bucket))});
    }
}

void make_service_states(const Status& status, const TakeFamily& take)
{
    Family backends("service_backends", MetricType::Gauge, "Backends of the service by state.");
    Family panic("service_panic", MetricType::Gauge,
        "Whether fewer backends are up than min_healthy, so that health is ignored.");
    Family panics("service_panics_total", MetricType::Counter, "Times that it came to panic since the daemon started.");
    Family refusing("service_refusing", MetricType::Gauge, "Whether no backend is up and clients are told by RST.");
    static constexpr std::array<std::string_view, 5> states{"up", "standby", "down", "unresolved", "draining"};
    for (const ServiceStatus& service : status.services) {
        std::map<std::string_view, std::uint64_t> by_state;
        for (const BackendStatus& backend : service.backends)
            ++by_state[backend.state];
        for (const std::string_view state : states)
            backends.add(labels(service, "state", state), by_state[state]);
        panic.add(labels(service), service.panic);
        panics.add(labels(service), service.panics);
        refusing.add(labels(service), service.refusing);
    }
    for (Family* family : {&backends, &panic, &panics, &refusing})
        family->give(take);
}

void make_services(const Status& status, const TakeFamily& take)
{
    Family packets("service_packets_total", MetricType::Counter,
        "Packets of the service since the daemon started; in: from clients, out: from backends.");
    Family bytes("service_bytes_total", MetricType::Counter, "Bytes of the same packets, link headers included.");
    Family connections(
        "service_connections_total", MetricType::Counter, "Connections of the service since the daemon started.");
    Family responses("service_response_seconds", MetricType::Histogram,
        "Response times of the service's backends, where they are measured.");
    for (const ServiceStatus& service : status.services) {
        const TrafficStatus& traffic = service.traffic;
        packets.add(labels(service, "direction", "in"), traffic.packets_in)
            .add(labels(service, "direction", "out"), traffic.packets_out);
        bytes.add(labels(service, "direction", "in"), traffic.bytes_in)
            .add(labels(service, "direction", "out"), traffic.bytes_out);
        connections.add(labels(service, "direction", "in"), traffic.connections);
        if (service.measure != "none" && !service.measure.empty())
            fill_histogram(responses.add(labels(service)).histogram, service.responses);
    }
    for (Family* family : {&packets, &bytes, &connections, &responses})
        family->give(take);
    make_service_states(status, take);
}

// A metric of one number for each backend.
struct BackendMetric {
    std::string_view name;
    MetricType type;
    std::string_view help;
    double (*value)(const BackendStatus&);
    bool (*applies)(const ServiceStatus&, const BackendStatus&);
};

bool always(const ServiceStatus&, const BackendStatus&)
{
    return true;
}

bool has_agent(const ServiceStatus&, const BackendStatus& backend)
{
    return !backend.agent.state.empty();
}

constexpr std::array backend_metrics{
    BackendMetric{"backend_connections", MetricType::Gauge, "Open connections of the backend.",
        [](const BackendStatus& backend) { return static_cast<double>(backend.open); }, always},
    BackendMetric{"backend_up", MetricType::Gauge,
        "Whether checks, its agent and the network let the backend work; 1 for one that drains.",
        [](const BackendStatus& backend) {
            return backend.state == "down" || backend.state == "unresolved" ? 0.0 : 1.0;
        },
        always},
    BackendMetric{"backend_used", MetricType::Gauge,
        "Whether the backend takes new connections; in panic one that is down does.",
        [](const BackendStatus& backend) { return backend.used ? 1.0 : 0.0; }, always},
    BackendMetric{"backend_flapping", MetricType::Gauge,
        "Whether the backend went down again and again, and needs more good checks than `rise` to come up.",
        [](const BackendStatus& backend) { return backend.checks.flapping ? 1.0 : 0.0; },
        [](const ServiceStatus& service, const BackendStatus& backend) {
            return is_checked(service) && backend.configured;
        }},
    BackendMetric{"backend_weight", MetricType::Gauge, "Weight of the backend as configured.",
        [](const BackendStatus& backend) { return static_cast<double>(backend.weight); }, always},
    BackendMetric{"backend_weight_now", MetricType::Gauge, "The same with slow start and the agent's report.",
        [](const BackendStatus& backend) { return backend.weight_now; }, always},
    BackendMetric{"backend_overridden", MetricType::Gauge, "Whether an operator's word holds over the file.",
        [](const BackendStatus& backend) { return backend.override.at.empty() ? 0.0 : 1.0; }, always},
    BackendMetric{"backend_refused_total", MetricType::Counter, "Connections that the backend answered with RST.",
        [](const BackendStatus& backend) { return static_cast<double>(backend.refused); }, always},
    BackendMetric{"backend_response_seconds", MetricType::Gauge,
        "Smoothed response time of the backend, where it is measured; 0: none is known.",
        [](const BackendStatus& backend) { return backend.responses.smoothed_seconds; },
        [](const ServiceStatus& service, const BackendStatus&) {
            return service.measure != "none" && !service.measure.empty();
        }},
    BackendMetric{"agent_percent", MetricType::Gauge, "What the backend's agent says, as it counts.",
        [](const BackendStatus& backend) { return static_cast<double>(backend.agent.percent); },
        [](const ServiceStatus&, const BackendStatus& backend) {
            return !backend.agent.state.empty() && backend.agent.percent >= 0;
        }},
    BackendMetric{"agent_silent", MetricType::Gauge, "Whether the agent has not reported for longer than `hold`.",
        [](const BackendStatus& backend) { return backend.agent.state == "silent" ? 1.0 : 0.0; }, has_agent},
};

// Whether checks ask the backend, or have asked it.
bool is_or_was_checked(const Row& row)
{
    const CheckStatus& checks = row.backend->checks;
    return (is_checked(*row.service) && row.backend->configured) || checks.good + checks.failed + checks.discarded > 0;
}

void make_questions(const std::vector<Row>& rows, const TakeFamily& take)
{
    Family checks("health_checks_total", MetricType::Counter,
        "Health checks since the daemon started; discarded ones say nothing.");
    Family durations("health_check_duration_seconds", MetricType::Summary,
        "Time that the good and the failed health checks took; one that timed out took its timeout.");
    Family reports("agent_reports_total", MetricType::Counter, "Reports of agents since the daemon started.");
    const auto add = [](Family& family, const Row& row, const auto& counts) {
        family.add(labels(row, "result", "good"), counts.good)
            .add(labels(row, "result", "failed"), counts.failed)
            .add(labels(row, "result", "discarded"), counts.discarded);
    };
    for (const Row& row : rows) {
        if (is_or_was_checked(row)) {
            add(checks, row, row.backend->checks);
            auto& duration = durations.add(labels(row)).summary;
            duration.sample_count = row.backend->checks.good + row.backend->checks.failed;
            duration.sample_sum = row.backend->checks.seconds;
        }
        if (has_agent(*row.service, *row.backend))
            add(reports, row, row.backend->agent);
    }
    for (Family* family : {&checks, &durations, &reports})
        family->give(take);
}

void make_backends(const Status& status, const TakeFamily& take)
{
    const std::vector<Row> rows = rows_of(status);
    Family packets("backend_packets_total", MetricType::Counter,
        "Packets since the maps know the backend; in: from clients, out: from the backend.");
    for (const Row& row : rows)
        packets.add(labels(row, "direction", "in"), row.backend->packets_in)
            .add(labels(row, "direction", "out"), row.backend->packets_out);
    packets.give(take);
    Family bytes("backend_bytes_total", MetricType::Counter, "Bytes of the same packets, link headers included.");
    for (const Row& row : rows)
        bytes.add(labels(row, "direction", "in"), row.backend->bytes_in)
            .add(labels(row, "direction", "out"), row.backend->bytes_out);
    bytes.give(take);
    Family connections(
        "backend_connections_total", MetricType::Counter, "Connections since the maps know the backend.");
    for (const Row& row : rows)
        connections.add(labels(row, "direction", "in"), row.backend->connections);
    connections.give(take);
    for (const BackendMetric& metric : backend_metrics) {
        Family family(metric.name, metric.type, metric.help);
        for (const Row& row : rows) {
            if (metric.applies(*row.service, *row.backend))
                family.add(labels(row), metric.value(*row.backend));
        }
        family.give(take);
    }
    make_questions(rows, take);
}

} // namespace

void make_metrics(const Status& status, const TakeFamily& take)
{
    make_daemon(status, take);
    make_data_plane(status, take);
    make_services(status, take);
    make_backends(status, take);
}

std::string metrics_text(const Status& status)
{
    std::ostringstream out;
    const prometheus::TextSerializer serializer;
    std::vector<MetricFamily> one(1);
    make_metrics(status, [&](MetricFamily family) {
        one.front() = std::move(family);
        serializer.Serialize(out, one);
    });
    return std::move(out).str();
}

} // namespace featherlb
