// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <cmath>

#include <fmt/format.h>

#include "observe/status.h"

namespace featherlb {

namespace {

constexpr std::size_t page_width = 100;
constexpr std::size_t label_width = 15;

// Rows of cells, each column as wide as its widest cell; numbers to the right.
class Columns {
public:
    struct Column {
        std::string title;
        bool right = false;
    };
    explicit Columns(std::vector<Column> columns) : columns_(std::move(columns)) {}

    void add(std::vector<std::string> cells) { rows_.push_back({std::move(cells), {}}); }
    // A line below the last row, for words that would make a column too wide.
    void note(std::string text) { rows_.back().note = std::move(text); }

    void print(std::string& out, std::size_t indent) const
    {
        std::vector<std::size_t> widths;
        for (std::size_t i = 0; i < columns_.size(); ++i) {
            std::size_t width = columns_[i].title.size();
            for (const Row& row : rows_)
                width = std::max(width, row.cells[i].size());
            widths.push_back(width);
        }
        std::vector<std::string> titles;
        for (const Column& column : columns_)
            titles.push_back(column.title);
        print_row(out, indent, titles, widths);
        for (const Row& row : rows_) {
            print_row(out, indent, row.cells, widths);
            if (!row.note.empty())
                out += fmt::format("{:{}}{}\n", "", indent + 2, row.note);
        }
    }

private:
    struct Row {
        std::vector<std::string> cells;
        std::string note;
    };

    void print_row(std::string& out, std::size_t indent, const std::vector<std::string>& cells,
        const std::vector<std::size_t>& widths) const
    {
        std::string line(indent, ' ');
        for (std::size_t i = 0; i < cells.size(); ++i) {
            if (i > 0)
                line += "  ";
            line += columns_[i].right ? fmt::format("{:>{}}", cells[i], widths[i])
                                      : fmt::format("{:<{}}", cells[i], widths[i]);
        }
        line.erase(line.find_last_not_of(' ') + 1);
        out += line + '\n';
    }

    std::vector<Column> columns_;
    std::vector<Row> rows_;
};

// Four digits at most: 999, 12.3 k, 4.56 M. Steps of 1,000, or of 1,024 with "i".
std::string short_number(std::uint64_t number, unsigned step, const char* unit)
{
    static constexpr std::array<const char*, 7> prefixes{"", "k", "M", "G", "T", "P", "E"};
    double value = static_cast<double>(number);
    std::size_t prefix = 0;
    while (value >= step - 0.5 && prefix + 1 < prefixes.size()) {
        value /= step;
        ++prefix;
    }
    if (prefix == 0)
        return *unit == '\0' ? fmt::format("{}", number) : fmt::format("{} {}", number, unit);
    const int decimals = value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
    return fmt::format("{:.{}f} {}{}{}", value, decimals, prefixes[prefix], step == 1024 ? "i" : "", unit);
}

std::string duration(double seconds)
{
    const auto whole = static_cast<std::uint64_t>(std::max(seconds, 0.0));
    if (whole < 60)
        return fmt::format("{} s", whole);
    if (whole < 3600)
        return fmt::format("{} min {} s", whole / 60, whole % 60);
    if (whole < 86400)
        return fmt::format("{} h {} min", whole / 3600, whole / 60 % 60);
    return fmt::format("{} d {} h", whole / 86400, whole / 3600 % 24);
}

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
        status.state == "starting" ? "starting, " : "", duration(status.uptime_seconds));
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

// "timeout after 1s; 3 of 20 checks failed; its TCP connections are reset"
std::string note_of(const BackendStatus& backend)
{
    std::string note = backend.reason;
    const auto add = [&note](const std::string& text) { note += (note.empty() ? "" : "; ") + text; };
    const CheckStatus& checks = backend.checks;
    if (checks.failed > 0)
        add(fmt::format("{} of {} checks failed{}", checks.failed, checks.failed + checks.good,
            backend.state == "down" ? "" : ", the last with: " + checks.last_failure));
    if (backend.refused > 0)
        add(fmt::format("refused {} connections", backend.refused));
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
    Columns columns({{"BACKEND"}, {"ADDRESS"}, {"STATE"}, {"WEIGHT", true}, {"FLOWS", true}, {"CONNECTIONS", true},
        {"PACKETS", true}, {"BYTES", true}});
    for (const BackendStatus& backend : service.backends) {
        columns.add({backend.name == backend.address ? "-" : backend.name, backend.address, backend.state,
            fmt::format("{}", backend.weight), fmt::format("{}", backend.flows), fmt::format("{}", backend.connections),
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
        text += fmt::format("; counted {} ago", duration(flows.counted_seconds_ago));
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
