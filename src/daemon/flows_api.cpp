// SPDX-License-Identifier: Apache-2.0
#include "daemon/flows_api.h"

#include <array>
#include <memory>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "observe/flow_list.h"
#include "observe/status.h"

namespace featherlb {

namespace {

struct ListRequest {
    FlowRequest which;
    std::uint64_t limit = flows_shown;
    bool count = false;
};

struct KillRequest {
    FlowRequest which;
    bool all = false;
};

// `more`: keys beside the filters.
Error unknown_key(const char* what, const std::string& key, const std::vector<std::string>& more)
{
    std::vector<std::string> known{"service", "backend", "client", "state", "protocol"};
    known.insert(known.end(), more.begin(), more.end());
    return {fmt::format("{} {} is unknown", what, quote(key)), meant(key, known)};
}

Result<void> put(std::optional<std::string>& slot, const std::string& key, std::string value)
{
    if (slot)
        return fail(fmt::format("{} is there twice", key), "name one");
    if (value.empty())
        return fail(fmt::format("{} is empty", key), "leave it out for any");
    slot = std::move(value);
    return {};
}

Result<ListRequest> read_query(const HttpQuery& query)
{
    ListRequest request;
    std::optional<std::string> limit;
    std::optional<std::string> count;
    for (const auto& [key, value] : query) {
        std::optional<std::string>* slot = key == "limit" ? &limit : key == "count" ? &count : request.which.find(key);
        if (slot == nullptr)
            return fail(unknown_key("the query", key, {"limit", "count"}));
        if (Result<void> done = put(*slot, key, value); !done)
            return fail(done.error());
    }
    if (count && *count != "1")
        return fail(fmt::format("count: {} is not known", quote(*count)), "count=1 counts, without it they are listed");
    request.count = count.has_value();
    if (limit) {
        const auto number = read_limit(*limit);
        if (!number)
            return fail(number.error());
        request.limit = *number;
    }
    return request;
}

Result<KillRequest> read_body(const std::string& body)
{
    const nlohmann::json json = nlohmann::json::parse(body, nullptr, false);
    if (!json.is_object())
        return fail("the body is no JSON object", R"(send {"service": "web", "client": "198.51.100.7"})");
    KillRequest request;
    for (const auto& [key, value] : json.items()) {
        if (key == "all") {
            if (!value.is_boolean())
                return fail("all is no boolean", "send true");
            request.all = value.get<bool>();
            continue;
        }
        std::optional<std::string>* slot = request.which.find(key);
        if (slot == nullptr)
            return fail(unknown_key("the key", key, {"all"}));
        if (!value.is_string())
            return fail(fmt::format("{} is no text", key), "put it in quotes");
        if (Result<void> done = put(*slot, key, value.get<std::string>()); !done)
            return fail(done.error());
    }
    if (!request.all && !request.which.has_filter())
        return fail("it is not said which connections are to be ended",
            fmt::format(R"(name at least one of {}; or "all": true)", flow_filters));
    if (request.all && request.which.has_filter())
        return fail(R"("all" and a filter contradict each other)", "leave one of them out");
    return request;
}

AdminResponse refuse(unsigned code, const Error& error)
{
    return {code, dump({{"error", error.remedy.empty() ? error.message : error.message + "; " + error.remedy}}), {}};
}

AdminResponse tell(unsigned code, const char* result, const Error& error)
{
    return {code, dump({{"result", result}, {"error", {{"message", error.message}, {"remedy", error.remedy}}}}), {}};
}

// What has been found so far, and what it is called.
struct Findings {
    FlowBackends names;
    double tick_seconds = 1;
    std::uint64_t limit = 0;
    std::uint64_t total = 0;
    std::vector<Flow> flows; // the first of them
    std::map<BackendId, std::uint64_t> backends;
    std::array<std::uint64_t, FLB_FLOW_STATES> states{};
    std::map<Protocol, std::uint64_t> protocols;

    void add(const std::vector<Flow>& found)
    {
        total += found.size();
        for (const Flow& flow : found) {
            if (flows.size() < limit)
                flows.push_back(flow);
            backends[flow.backend]++;
            states[flow.state % FLB_FLOW_STATES]++;
            protocols[flow.protocol]++;
        }
    }
    [[nodiscard]] FlowBackend name(BackendId id) const
    {
        const auto known = names.rows.find(id);
        return known == names.rows.end() ? FlowBackend() : known->second;
    }
};

FlowRow row_of(const Findings& findings, const Flow& flow)
{
    const FlowBackend backend = findings.name(flow.backend);
    return {.service = backend.service,
        .backend = backend.name,
        .backend_address = backend.service.empty() ? flow.destination.to_string() : backend.endpoint.to_string(),
        .forward = backend.service.empty() ? "" : std::string(to_string(backend.forward)),
        .protocol = std::string(to_string(flow.protocol)),
        .client = flow.client.to_string(),
        .listener = flow.listener.to_string(),
        .source = flow.source.to_string(),
        .state = flow_state_name(flow.state),
        .proven = !is_unproven(flow.state),
        .idle_seconds = static_cast<std::uint64_t>(flow.idle * findings.tick_seconds)};
}

// Row by row: a document of 100,000 rows would take many times their memory.
std::string list_json(const Findings& findings)
{
    std::string text = R"({"flows":[)";
    for (std::size_t i = 0; i < findings.flows.size(); i++) {
        const nlohmann::json row = row_of(findings, findings.flows[i]);
        text += i == 0 ? "" : ",";
        text += row.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    }
    return text + fmt::format(R"(],"result":"ok","shown":{},"total":{}}})", findings.flows.size(), findings.total) +
           '\n';
}

std::string count_json(const Findings& findings)
{
    FlowTally tally;
    tally.total = findings.total;
    for (const auto& [id, connections] : findings.backends) {
        const FlowBackend backend = findings.name(id);
        tally.services[backend.service] += connections;
        tally.backends.push_back(
            {backend.service, backend.name, backend.service.empty() ? "" : backend.endpoint.to_string(), connections});
    }
    for (std::uint32_t state = 0; state < FLB_FLOW_STATES; state++)
        if (findings.states[state] > 0)
            tally.states[flow_state_name(state)] += findings.states[state];
    for (const auto& [protocol, connections] : findings.protocols)
        tally.protocols[std::string(to_string(protocol))] = connections;
    nlohmann::json json = tally;
    json["result"] = "ok";
    return dump(json);
}

// The filter, or how the request is answered.
tl::expected<FlowFilter, AdminResponse> filter_of(const FlowRequest& which, const FlowBackends& backends)
{
    Result<FlowFilter> filter = read_filter(which);
    if (!filter)
        return tl::unexpected(refuse(400, filter.error()));
    auto chosen = select_backends(which, backends);
    if (!chosen)
        return tl::unexpected(tell(404, "unknown", chosen.error()));
    filter->backends = std::move(*chosen);
    return std::move(*filter);
}

} // namespace

void answer_flows(const ApiTarget& target, const AdminRequest& request, const AdminServer::Respond& respond)
{
    const auto asked = read_query(request.query);
    if (!asked)
        return respond(refuse(400, asked.error()));
    const auto findings = std::make_shared<Findings>();
    findings->names = target.flow_backends();
    findings->tick_seconds = target.tick_seconds();
    findings->limit = asked->count ? 0 : asked->limit;
    auto filter = filter_of(asked->which, findings->names);
    if (!filter)
        return respond(filter.error());
    target.list_flows(
        std::move(*filter), [findings](const std::vector<Flow>& found) { findings->add(found); },
        [findings, count = asked->count, aside = target.aside_for_lists, respond](const Result<void>& listed) {
            if (!listed)
                return respond(tell(500, "failed", listed.error()));
            aside([findings, count] { return count ? count_json(*findings) : list_json(*findings); },
                [respond](std::string text) {
                    respond({.code = 200, .shared = std::make_shared<const std::string>(std::move(text))});
                });
        });
}

void answer_kill(const ApiTarget& target, const AdminRequest& request, const AdminServer::Respond& respond)
{
    const auto asked = read_body(request.body);
    if (!asked)
        return respond(refuse(400, asked.error()));
    auto filter = filter_of(asked->which, target.flow_backends());
    if (!filter)
        return respond(filter.error());
    if (Result<void> killable = check_killable(asked->which, *filter); !killable)
        return respond(refuse(400, killable.error()));
    target.kill_flows(std::move(*filter), [respond](const Result<FlowTasks::Outcome>& outcome) {
        if (!outcome)
            return respond(tell(500, "failed", outcome.error()));
        std::vector<std::string> warnings;
        if (!outcome->warning.empty())
            warnings.push_back(outcome->warning);
        respond({200, dump({{"result", "ok"}, {"killed", outcome->killed}, {"warnings", warnings}}), {}});
    });
}

} // namespace featherlb
