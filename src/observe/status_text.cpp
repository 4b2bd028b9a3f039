// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <cmath>

#include <fmt/format.h>

#include "base/text.h"
#include "observe/columns.h"
#include "observe/figures.h"
#include "observe/status.h"

namespace featherlb {

namespace {

constexpr std::size_t label_width = 15;

// "label          words, wrapped", continued under the first word.
void paragraph(std::string& out, const std::string& label, const std::vector<std::string>& words, std::size_t indent)
{
    std::string line = fmt::format("{:<{}}", label, indent);
    bool fresh = true;
    for (const std::string& word : words) {
        if (!fresh && line.size() + 1 + word.size() > page_width) {
            out += line + '\n';
            line = std::string(indent, ' ');
            fresh = true;
        }
        line += fresh ? word : " " + word;
        fresh = false;
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + '\n';
}

std::vector<std::string> split_words(const std::string& text)
{
    std::vector<std::string> words;
    for (std::size_t from = 0; from < text.size();) {
        const std::size_t to = std::min(text.find(' ', from), text.size());
        if (to > from)
            words.push_back(text.substr(from, to - from));
        from = to + 1;
    }
    return words;
}

void entry(std::string& out, const std::string& label, const std::string& text)
{
    paragraph(out, label, split_words(text), label_width);
}

void print_head(std::string& out, const Status& status)
{
    out += fmt::format("featherlb {}, pid {}, {}up {}\n", status.version, status.pid,
        status.state == "starting" ? "starting, " : "", short_duration(status.uptime_seconds));
    entry(out, "configuration", fmt::format("{}, loaded {}", status.config_file, status.config_loaded_at));
    const ReloadStatus& reload = status.last_reload;
    if (!reload.result.empty())
        entry(out, "last reload",
            fmt::format("{} at {}{}{}", reload.result, reload.at, reload.message.empty() ? "" : ": ", reload.message));
    if (!status.problem.empty())
        entry(out, "PROBLEM", status.problem + " (trying again)");
}

void print_interfaces(std::string& out, const Status& status)
{
    out += '\n';
    Columns columns({{"INTERFACE"}, {"HOOK"}, {"ATTACH"}, {"DRIVER"}, {"PROGRAM", true}, {"CHOSEN BECAUSE"}});
    for (const InterfaceStatus& interface : status.interfaces) {
        columns.add({interface.name, interface.attached ? interface.hook : "none", interface.attach,
            interface.driver.empty() ? "-" : interface.driver,
            interface.attached ? fmt::format("{}", interface.program_id) : "-", interface.chosen});
        columns.note(interface.attached ? interface.why : interface.problem);
    }
    if (status.interfaces.empty())
        out += "no interface is attached\n";
    else
        columns.print(out, 0);
    for (const InterfaceStatus& interface : status.interfaces) {
        for (const std::string& warning : interface.warnings)
            entry(out, "warning", interface.name + ": " + warning);
    }
}

// "agent: 45%"; "agent: maint (new disk)"; "agent: silent (connection refused)"
std::string agent_note(const AgentStatus& agent)
{
    std::string note = "agent: ";
    if (!agent.word.empty())
        note += agent.word + (agent.reason.empty() ? "" : " (" + quote(agent.reason) + ")");
    else if (agent.state == "reporting")
        note += agent.percent < 0 ? "reporting" : fmt::format("{}%", agent.percent);
    else
        note += agent.state;
    if (!agent.word.empty() && agent.state != "reporting")
        note += ", " + agent.state;
    if (agent.failed > 0)
        note += fmt::format(", {} of {} questions failed, the last with: {}", agent.failed, agent.failed + agent.good,
            agent.last_failure);
    return note;
}

// "3", or "1.5 of 3" while that is what counts.
std::string weight_of(const BackendStatus& backend)
{
    const bool whole = backend.slow_start_percent == 100 && backend.weight_now == backend.weight;
    const bool told = !backend.agent.state.empty() || backend.slow_start_percent < 100 || backend.override.weight >= 0;
    return whole || !told ? fmt::format("{}", backend.weight)
                          : fmt::format("{:.4g} of {}", backend.weight_now, backend.weight);
}

// "87 us", "1.23 ms", "4.56 s".
std::string time_of(double seconds)
{
    if (seconds < 0.0009995)
        return fmt::format("{:.0f} us", seconds * 1e6);
    return seconds < 0.9995 ? fmt::format("{:.3g} ms", seconds * 1e3) : fmt::format("{:.3g} s", seconds);
}

// "timeout after 1s; 3 of 20 checks failed; its TCP connections are reset"
std::string note_of(const BackendStatus& backend)
{
    std::string note = backend.reason;
    const auto add = [&note](const std::string& text) { note += (note.empty() ? "" : "; ") + text; };
    if (backend.override.weight >= 0)
        add(fmt::format(
            "weight {} by command at {}; the file: {}", backend.override.weight, backend.override.at, backend.weight));
    const CheckStatus& checks = backend.checks;
    if (checks.failed > 0)
        add(fmt::format("{} of {} checks failed{}", checks.failed, checks.failed + checks.good,
            backend.state == "down" ? "" : ", the last with: " + checks.last_failure));
    if (checks.flapping)
        add(backend.state == "down" ? fmt::format("flaps: up after {} good checks in a row", checks.needed) : "flaps");
    if (backend.backup && backend.used)
        add("backup, in use");
    if (!backend.agent.state.empty())
        add(agent_note(backend.agent));
    if (backend.slow_start_percent < 100)
        add(fmt::format("slow start: {}% of its share, {} to go", backend.slow_start_percent,
            short_duration(std::ceil(backend.slow_start_seconds_left))));
    if (backend.refused > 0)
        add(fmt::format("refused {} connections", backend.refused));
    if (backend.responses.count > 0)
        add("answers in " + time_of(backend.responses.smoothed_seconds));
    if (!backend.tcp_fate.empty())
        add(fmt::format("TCP: {}", backend.tcp_fate));
    if (!backend.udp_fate.empty())
        add(fmt::format("UDP: {}", backend.udp_fate));
    return note;
}

void print_service(std::string& out, const ServiceStatus& service)
{
    out += fmt::format("\nservice {}: {}, {}{}{}\n", service.name, service.algorithm, service.forward,
        service.health.empty() || service.health == "none" ? "" : ", health " + service.health,
        service.state == "active" ? "" : ", " + service.state);
    if (service.panic)
        paragraph(
            out, "  PANIC", split_words("too few backends are up: health is ignored and all are used"), label_width);
    if (service.refusing)
        paragraph(out, "  ALL DOWN", split_words("new connections are refused"), label_width);
    if (!service.listeners.empty())
        paragraph(out, "  listens on", service.listeners, label_width);
    if (service.backends.empty()) {
        out += "  no backends\n";
        return;
    }
    if (service.responses.count > 0)
        paragraph(out, "  responses",
            split_words(fmt::format("{} measured ({}), {} on average; at this moment {}", service.responses.count,
                service.measure, time_of(service.responses.sum_seconds / static_cast<double>(service.responses.count)),
                time_of(service.responses.smoothed_seconds))),
            label_width);
    Columns columns({{"BACKEND"}, {"ADDRESS"}, {"STATE"}, {"WEIGHT", true}, {"OPEN", true}, {"CONNECTIONS", true},
        {"PACKETS", true}, {"BYTES", true}});
    for (const BackendStatus& backend : service.backends) {
        columns.add({backend.name == backend.address ? "-" : backend.name, backend.address, backend.state,
            weight_of(backend), fmt::format("{}", backend.open), fmt::format("{}", backend.connections),
            short_number(backend.packets_in + backend.packets_out, 1000, ""),
            short_number(backend.bytes_in + backend.bytes_out, 1000, "B")});
        columns.note(note_of(backend));
    }
    columns.print(out, 2);
}

void print_flows(std::string& out, const FlowsStatus& flows)
{
    std::string text =
        fmt::format("{} of {} for each IP version, {} unproven", flows.connections, flows.capacity, flows.unproven);
    if (flows.counted_seconds_ago < 0)
        text = fmt::format("not counted yet; room for {} of each IP version", flows.capacity);
    else
        text += fmt::format("; counted {} ago", short_duration(flows.counted_seconds_ago));
    out += '\n';
    entry(out, "connections", text);
    if (flows.pins > 0)
        entry(out, "pins", fmt::format("{} clients stay with their backend", flows.pins));
    std::string states;
    for (const auto& [name, count] : flows.by_state)
        states += fmt::format("{}{} {}", states.empty() ? "" : ", ", name, count);
    if (!states.empty())
        entry(out, "", states);
    if (flows.evicted_last_minute > 0)
        entry(out, "WARNING",
            fmt::format("flows.max is too small for the rate of new connections: {} that were not proven yet had to "
                        "give way in the last minute ({} in all); see \"How large the flow table has to be\" in "
                        "docs/operating.md",
                flows.evicted_last_minute, flows.evicted));
}

template <typename Row>
void print_counters(std::string& out, const char* counted, const char* name, const std::vector<Row>& rows,
    std::string Row::*name_of, std::uint64_t Row::*count_of)
{
    out += '\n';
    Columns columns({{counted, true}, {name}, {"WHAT IT MEANS"}});
    for (const Row& row : rows)
        columns.add({fmt::format("{}", row.*count_of), row.*name_of, row.text});
    columns.print(out, 0);
    out += '\n';
}

void print_drops(std::string& out, const Status& status)
{
    if (status.drops.empty())
        entry(out, "drops", "none");
    else
        print_counters(out, "DROPPED", "REASON", status.drops, &DropStatus::reason, &DropStatus::packets);
    if (!status.events.empty())
        print_counters(out, "COUNTED", "EVENT", status.events, &EventStatus::event, &EventStatus::count);
}

void print_data_plane(std::string& out, const DataPlaneStatus& plane)
{
    std::string text = plane.pins.empty() ? "ephemeral: ends with the daemon" : "pinned at " + plane.pins;
    text += fmt::format(", {} of memory{}", short_number(plane.memory_bytes, 1024, "B"),
        plane.adopted ? ", adopted from an earlier daemon" : "");
    entry(out, "data plane", text);
    std::string programs;
    for (const ProgramStatus& program : plane.programs)
        programs +=
            fmt::format("{}{} (id {}, tag {})", programs.empty() ? "" : ", ", program.name, program.id, program.tag);
    entry(out, "programs", programs);
}

} // namespace

std::string format_status(const Status& status)
{
    std::string out;
    print_head(out, status);
    print_interfaces(out, status);
    for (const ServiceStatus& service : status.services)
        print_service(out, service);
    print_flows(out, status.flows);
    print_drops(out, status);
    print_data_plane(out, status.data_plane);
    return out;
}

} // namespace featherlb
