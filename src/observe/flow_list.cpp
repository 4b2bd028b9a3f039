// SPDX-License-Identifier: Apache-2.0
#include "observe/flow_list.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "observe/columns.h"
#include "observe/figures.h"

namespace featherlb {

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(FlowTally::Backend, service, backend, address, connections)

namespace {

std::string target_of(const FlowRow& row)
{
    return row.service.empty() ? row.backend_address : row.service + "/" + row.backend;
}

// One line for each, if that fits; else two.
Columns in_one_line(const FlowList& list)
{
    Columns columns({{"PROTO"}, {"CLIENT"}, {"LISTENER"}, {"BACKEND"}, {"STATE"}, {"IDLE", true}});
    for (const FlowRow& row : list.flows)
        columns.add({row.protocol, row.client, row.listener, target_of(row), row.state,
            short_duration(static_cast<double>(row.idle_seconds))});
    return columns;
}

Columns in_two_lines(const FlowList& list)
{
    Columns columns({{"PROTO"}, {"CLIENT"}, {"STATE"}, {"IDLE", true}});
    for (const FlowRow& row : list.flows) {
        columns.add({row.protocol, row.client, row.state, short_duration(static_cast<double>(row.idle_seconds))});
        columns.note(fmt::format("{} -> {}", row.listener, target_of(row)));
    }
    return columns;
}

void add_counts(std::string& out, const char* title, const std::map<std::string, std::uint64_t>& counts)
{
    if (counts.empty())
        return;
    Columns columns({{title}, {"CONNECTIONS", true}});
    for (const auto& [name, connections] : counts)
        columns.add({name.empty() ? "-" : name, fmt::format("{}", connections)});
    out += '\n';
    columns.print(out, 0);
}

std::string connections(std::uint64_t number)
{
    return fmt::format("{} connection{}", number, number == 1 ? "" : "s");
}

} // namespace

void to_json(nlohmann::json& json, const FlowRow& row)
{
    json = {{"service", row.service}, {"backend", row.backend}, {"backend_address", row.backend_address},
        {"forward", row.forward}, {"protocol", row.protocol}, {"client", row.client}, {"listener", row.listener},
        {"source", row.source}, {"state", row.state}, {"proven", row.proven}, {"idle_seconds", row.idle_seconds}};
}

void from_json(const nlohmann::json& json, FlowRow& row)
{
    row = {.service = json.value("service", ""),
        .backend = json.value("backend", ""),
        .backend_address = json.value("backend_address", ""),
        .forward = json.value("forward", ""),
        .protocol = json.value("protocol", ""),
        .client = json.value("client", ""),
        .listener = json.value("listener", ""),
        .source = json.value("source", ""),
        .state = json.value("state", ""),
        .proven = json.value("proven", false),
        .idle_seconds = json.value("idle_seconds", std::uint64_t{0})};
}

void to_json(nlohmann::json& json, const FlowList& list)
{
    json = {{"total", list.total}, {"shown", list.flows.size()}, {"flows", list.flows}};
}

void from_json(const nlohmann::json& json, FlowList& list)
{
    list.total = json.value("total", std::uint64_t{0});
    list.flows = json.value("flows", std::vector<FlowRow>());
}

void to_json(nlohmann::json& json, const FlowTally& tally)
{
    json = {{"total", tally.total}, {"by_service", tally.services}, {"by_backend", tally.backends},
        {"by_state", tally.states}, {"by_protocol", tally.protocols}};
}

void from_json(const nlohmann::json& json, FlowTally& tally)
{
    using Counts = std::map<std::string, std::uint64_t>;
    tally.total = json.value("total", std::uint64_t{0});
    tally.services = json.value("by_service", Counts());
    tally.backends = json.value("by_backend", std::vector<FlowTally::Backend>());
    tally.states = json.value("by_state", Counts());
    tally.protocols = json.value("by_protocol", Counts());
}

std::string format_flows(const FlowList& list)
{
    std::string out;
    if (!list.flows.empty()) {
        const Columns columns = in_one_line(list);
        (columns.width() <= page_width ? columns : in_two_lines(list)).print(out, 0);
    }
    if (list.total > list.flows.size())
        out += fmt::format("{}, {} of them shown; --limit shows more\n", connections(list.total), list.flows.size());
    else
        out += connections(list.total) + '\n';
    return out;
}

std::string format_tally(const FlowTally& tally)
{
    std::string out = connections(tally.total) + '\n';
    add_counts(out, "SERVICE", tally.services);
    if (!tally.backends.empty()) {
        Columns columns({{"BACKEND"}, {"ADDRESS"}, {"CONNECTIONS", true}});
        for (const FlowTally::Backend& one : tally.backends)
            columns.add({one.service.empty() ? "-" : one.service + "/" + one.backend, one.address,
                fmt::format("{}", one.connections)});
        out += '\n';
        columns.print(out, 0);
    }
    add_counts(out, "STATE", tally.states);
    add_counts(out, "PROTOCOL", tally.protocols);
    return out;
}

} // namespace featherlb
