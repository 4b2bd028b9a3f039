// SPDX-License-Identifier: Apache-2.0
// The text that Prometheus gets, from a status; and that manual, dashboard and alert rules speak of the same metrics.
#include "observe/metrics.h"

#include <fstream>
#include <regex>
#include <set>
#include <sstream>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernel/counters.h"

namespace featherlb {
namespace {

using testing::HasSubstr;
using testing::Not;

// The lines of one family, comments left out.
std::string samples_of(const std::string& text, const std::string& family)
{
    std::string lines;
    std::istringstream in(text);
    for (std::string line; std::getline(in, line);) {
        const bool same = line.starts_with(family) && (line[family.size()] == ' ' || line[family.size()] == '{');
        if (same)
            lines += line + "\n";
    }
    return lines;
}

std::string samples_of(const Status& status, const std::string& family)
{
    return samples_of(metrics_text(status), family);
}

BackendStatus backend_named(const std::string& name, const std::string& address)
{
    BackendStatus backend;
    backend.name = name;
    backend.address = address;
    backend.state = "up";
    return backend;
}

ServiceStatus service_named(const std::string& name)
{
    ServiceStatus service;
    service.name = name;
    service.state = "active";
    service.health = "none";
    service.measure = "none";
    return service;
}

// With something of everything, so that every family has a sample.
Status full_status()
{
    Status status;
    status.version = "1.2.3";
    status.abi = 9;
    status.state = "running";
    status.uptime_seconds = 12.5;
    status.config_loaded_unix = 1750000000;
    status.reloads = {.ok = 3, .invalid = 2, .failed = 1};
    status.last_reload.result = "invalid";
    InterfaceStatus interface;
    interface.name = "eth0";
    interface.attached = true;
    interface.hook = "xdp";
    status.interfaces.push_back(interface);
    ServiceStatus web = service_named("web");
    web.health = "tcp every 2s";
    web.measure = "first-byte";
    web.panics = 2;
    web.traffic = {.connections = 7, .packets_in = 70, .packets_out = 60, .bytes_in = 7000, .bytes_out = 600000};
    web.responses.count = 4;
    web.responses.sum_seconds = 0.5;
    web.responses.buckets.resize(FLB_RESPONSE_BUCKETS);
    web.responses.buckets[0] = 1;
    web.responses.buckets[10] = 2;
    web.responses.buckets[FLB_RESPONSE_BUCKETS - 1] = 1;
    BackendStatus one = backend_named("web1", "10.0.1.11:8080");
    one.used = true;
    one.checks = {.good = 5, .failed = 2, .discarded = 1, .last_failure = "refused", .seconds = 0.25};
    one.weight = 3;
    one.weight_now = 1.5;
    one.agent.state = "reporting";
    one.agent.percent = 50;
    one.agent.good = 4;
    one.override.at = "2026-01-31T12:00:00Z";
    one.open = 2;
    one.connections = 7;
    one.refused = 1;
    one.packets_in = 70;
    one.packets_out = 60;
    one.bytes_in = 7000;
    one.bytes_out = 600000;
    one.responses.smoothed_seconds = 0.002;
    web.backends.push_back(one);
    status.services.push_back(web);
    status.flows.capacity = 1000;
    status.flows.by_state["established"] = 2;
    status.drops.push_back({"no_flow", "", 9});
    status.events.push_back({"evicted", "", 8});
    return status;
}

std::set<std::string> names_of(const Status& status)
{
    std::set<std::string> names;
    make_metrics(status, [&names](const prometheus::MetricFamily& family) {
        EXPECT_TRUE(names.insert(family.name).second) << family.name << " twice";
    });
    return names;
}

std::string read_tree(const std::string& file)
{
    std::ifstream in(std::string(FEATHERLB_SOURCE_DIR) + "/" + file);
    EXPECT_TRUE(in) << file;
    return {std::istreambuf_iterator<char>(in), {}};
}

// Every word that looks like a metric; what a histogram or summary adds to its name is taken off.
std::set<std::string> mentioned_in(const std::string& file)
{
    std::set<std::string> names;
    const std::string text = read_tree(file);
    static const std::regex word("featherlb_[a-z_]+[a-z]");
    static const std::regex suffix("(seconds)_(bucket|sum|count)$");
    for (auto at = std::sregex_iterator(text.begin(), text.end(), word); at != std::sregex_iterator(); ++at)
        names.insert(std::regex_replace(at->str(), suffix, "$1"));
    return names;
}

TEST(Metrics, of_a_backend_are_told_by_service_and_name)
{
    const std::string text = metrics_text(full_status());
    EXPECT_EQ(samples_of(text, "featherlb_backend_packets_total"),
        "featherlb_backend_packets_total{service=\"web\",backend=\"web1\",direction=\"in\"} 70\n"
        "featherlb_backend_packets_total{service=\"web\",backend=\"web1\",direction=\"out\"} 60\n");
    EXPECT_EQ(samples_of(text, "featherlb_backend_bytes_total"),
        "featherlb_backend_bytes_total{service=\"web\",backend=\"web1\",direction=\"in\"} 7000\n"
        "featherlb_backend_bytes_total{service=\"web\",backend=\"web1\",direction=\"out\"} 600000\n");
    EXPECT_EQ(samples_of(text, "featherlb_backend_connections_total"),
        "featherlb_backend_connections_total{service=\"web\",backend=\"web1\",direction=\"in\"} 7\n");
    for (const auto& [name, value] : std::map<std::string, std::string>{{"backend_connections", "2"},
             {"backend_up", "1"}, {"backend_used", "1"}, {"backend_flapping", "0"}, {"backend_weight", "3"},
             {"backend_weight_now", "1.5"}, {"backend_overridden", "1"}, {"backend_refused_total", "1"},
             {"backend_response_seconds", "0.002"}, {"agent_percent", "50"}})
        EXPECT_EQ(samples_of(text, "featherlb_" + name),
            fmt::format("featherlb_{}{{service=\"web\",backend=\"web1\"}} {}\n", name, value));
}

TEST(Metrics, have_a_help_and_a_type)
{
    const std::string text = metrics_text(full_status());
    EXPECT_THAT(
        text, HasSubstr("# HELP featherlb_flows_capacity Connections that the flow table of each IP version has "
                        "room for.\n# TYPE featherlb_flows_capacity gauge\nfeatherlb_flows_capacity 1000\n"));
    EXPECT_THAT(text, HasSubstr("# TYPE featherlb_service_packets_total counter\n"));
}

TEST(Metrics, of_checks_are_counts_and_a_summary)
{
    const std::string text = metrics_text(full_status());
    EXPECT_EQ(samples_of(text, "featherlb_health_checks_total"),
        "featherlb_health_checks_total{service=\"web\",backend=\"web1\",result=\"good\"} 5\n"
        "featherlb_health_checks_total{service=\"web\",backend=\"web1\",result=\"failed\"} 2\n"
        "featherlb_health_checks_total{service=\"web\",backend=\"web1\",result=\"discarded\"} 1\n");
    EXPECT_THAT(text, HasSubstr("featherlb_health_check_duration_seconds_count{service=\"web\",backend=\"web1\"} 7\n"));
    EXPECT_THAT(
        text, HasSubstr("featherlb_health_check_duration_seconds_sum{service=\"web\",backend=\"web1\"} 0.25\n"));
    Status unchecked = full_status();
    unchecked.services[0].health = "none";
    unchecked.services[0].backends[0].checks = {};
    EXPECT_EQ(samples_of(unchecked, "featherlb_health_checks_total"), "");
    EXPECT_EQ(samples_of(unchecked, "featherlb_backend_flapping"), "");
    Status flapping = full_status();
    flapping.services[0].backends[0].checks.flapping = true;
    EXPECT_EQ(samples_of(metrics_text(flapping), "featherlb_backend_flapping"),
        "featherlb_backend_flapping{service=\"web\",backend=\"web1\"} 1\n");
}

TEST(Metrics, of_response_times_are_a_histogram_that_accumulates)
{
    const std::string text = metrics_text(full_status());
    const std::string name = "featherlb_service_response_seconds_bucket{service=\"web\",le=";
    EXPECT_THAT(text, HasSubstr(name + "\"1e-06\"} 1\n"));
    EXPECT_THAT(text, HasSubstr(name + "\"0.000512\"} 1\n"));
    EXPECT_THAT(text, HasSubstr(name + "\"0.001024\"} 3\n"));
    EXPECT_THAT(text, HasSubstr(name + "\"+Inf\"} 4\n"));
    EXPECT_THAT(text, HasSubstr("featherlb_service_response_seconds_sum{service=\"web\"} 0.5\n"));
    Status status = full_status();
    status.services[0].responses = {};
    EXPECT_THAT(metrics_text(status), HasSubstr(name + "\"+Inf\"} 0\n")) << "measured, but nothing has come yet";
    status.services[0].measure = "none";
    EXPECT_THAT(metrics_text(status), Not(HasSubstr("response_seconds")));
}

TEST(Metrics, name_every_reason_and_event_and_state_also_those_that_did_not_occur)
{
    const std::string text = metrics_text(full_status());
    for (std::uint32_t reason = 1; reason < FLB_DROP_REASON_COUNT; ++reason)
        EXPECT_THAT(
            text, HasSubstr("featherlb_dropped_packets_total{reason=\"" + std::string(drop_reason(reason).name) +
                            "\"} " + (drop_reason(reason).name == "no_flow" ? "9\n" : "0\n")));
    EXPECT_THAT(text, HasSubstr("featherlb_events_total{event=\"evicted\"} 8\n"));
    EXPECT_THAT(text, HasSubstr("featherlb_flows{state=\"established\"} 2\n"));
    EXPECT_THAT(text, HasSubstr("featherlb_flows{state=\"udp_stream\"} 0\n"));
}

TEST(Metrics, of_reloads_and_interfaces)
{
    Status status = full_status();
    status.interfaces.emplace_back().name = "eth\"1\x80";
    const std::string text = metrics_text(status);
    EXPECT_EQ(samples_of(text, "featherlb_config_reloads_total"),
        "featherlb_config_reloads_total{result=\"ok\"} 3\nfeatherlb_config_reloads_total{result=\"invalid\"} 2\n"
        "featherlb_config_reloads_total{result=\"failed\"} 1\n");
    EXPECT_EQ(
        samples_of(text, "featherlb_config_last_reload_successful"), "featherlb_config_last_reload_successful 0\n");
    EXPECT_EQ(samples_of(text, "featherlb_config_last_reload_success_timestamp_seconds"),
        "featherlb_config_last_reload_success_timestamp_seconds 1750000000\n");
    EXPECT_EQ(samples_of(text, "featherlb_attached"), "featherlb_attached{interface=\"eth0\",hook=\"xdp\"} 1\n"
                                                      "featherlb_attached{interface=\"eth\\\"1?\",hook=\"\"} 0\n");
    EXPECT_EQ(samples_of(text, "featherlb_build_info"), "featherlb_build_info{version=\"1.2.3\",abi=\"9\"} 1\n");
    status.last_reload.result = "";
    EXPECT_EQ(
        samples_of(status, "featherlb_config_last_reload_successful"), "featherlb_config_last_reload_successful 1\n");
}

TEST(Metrics, count_backends_by_state)
{
    Status status = full_status();
    status.services[0].backends.push_back(backend_named("web2", "10.0.1.12:8080"));
    status.services[0].backends.push_back(backend_named("web3", "10.0.1.13:8080"));
    status.services[0].backends.back().state = "down";
    EXPECT_EQ(samples_of(status, "featherlb_service_backends"),
        "featherlb_service_backends{service=\"web\",state=\"up\"} 2\n"
        "featherlb_service_backends{service=\"web\",state=\"standby\"} 0\n"
        "featherlb_service_backends{service=\"web\",state=\"down\"} 1\n"
        "featherlb_service_backends{service=\"web\",state=\"unresolved\"} 0\n"
        "featherlb_service_backends{service=\"web\",state=\"draining\"} 0\n");
    EXPECT_THAT(metrics_text(status), HasSubstr("featherlb_backend_up{service=\"web\",backend=\"web3\"} 0\n"));
}

// Two samples with the same labels cost the whole scrape.
TEST(Metrics, never_name_two_backends_alike)
{
    Status status;
    ServiceStatus service = service_named("web");
    for (const char* address : {"10.0.1.1:80", "10.0.1.2:80"}) {
        service.backends.push_back(backend_named("web.internal:80", address));
        service.backends.back().by_name = true;
    }
    service.backends.push_back(backend_named("old", "10.0.1.3:80"));
    service.backends.back().configured = false;
    service.backends.back().state = "draining";
    for (const char* state : {"draining", "up"}) {
        service.backends.push_back(backend_named("moved", "10.0.1.4:80"));
        service.backends.back().state = state;
    }
    status.services.push_back(service);
    EXPECT_EQ(samples_of(status, "featherlb_backend_up"),
        "featherlb_backend_up{service=\"web\",backend=\"10.0.1.1:80\"} 1\n"
        "featherlb_backend_up{service=\"web\",backend=\"10.0.1.2:80\"} 1\n"
        "featherlb_backend_up{service=\"web\",backend=\"moved\"} 1\n"
        "featherlb_backend_up{service=\"web\",backend=\"10.0.1.3:80\"} 1\n"
        "featherlb_backend_up{service=\"web\",backend=\"moved (draining)\"} 1\n");
}

TEST(Metrics, are_those_of_the_manual)
{
    EXPECT_EQ(mentioned_in("docs/metrics.md"), names_of(full_status()));
}

TEST(Metrics, reasons_of_drops_and_events_are_explained_by_the_manual)
{
    const std::string manual = read_tree("docs/operating.md");
    for (std::uint32_t reason = 1; reason < FLB_DROP_REASON_COUNT; ++reason)
        EXPECT_THAT(manual, HasSubstr(fmt::format("`{}`", drop_reason(reason).name)));
    for (std::uint32_t event = 0; event < FLB_EVENT_COUNT; ++event)
        EXPECT_THAT(manual, HasSubstr(fmt::format("`{}`", event_words(event).name)));
}

TEST(Metrics, that_dashboard_and_alerts_use_exist)
{
    const std::set<std::string> names = names_of(full_status());
    for (const char* file : {"deploy/grafana/featherlb.json", "deploy/prometheus/alerts.yaml"}) {
        const std::set<std::string> used = mentioned_in(file);
        EXPECT_GT(used.size(), 5u) << file;
        for (const std::string& name : used)
            EXPECT_TRUE(names.contains(name)) << file << " uses " << name;
    }
}

} // namespace
} // namespace featherlb
