// SPDX-License-Identifier: Apache-2.0
#include "daemon/api.h"

#include <array>
#include <string_view>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "daemon/flows_api.h"

namespace featherlb {

namespace {

AdminResponse refuse(unsigned code, const std::string& error, std::string allow = {})
{
    return {code, dump({{"error", error}}), std::move(allow)};
}

AdminResponse share(std::string text, const char* type)
{
    return {.code = 200, .type = type, .shared = std::make_shared<const std::string>(std::move(text))};
}

void answer_status(const ApiTarget& target, bool as_json, const AdminServer::Respond& respond)
{
    auto status = std::make_shared<const Status>(target.status());
    target.aside(
        [status = std::move(status), as_json] { return as_json ? write_json(*status) + '\n' : format_status(*status); },
        [respond, as_json](std::string text) {
            respond(share(std::move(text), as_json ? "application/json" : "text/plain; charset=utf-8"));
        });
}

AdminResponse answer_reload(const LoadReport& report)
{
    unsigned code = 200;
    if (report.result == LoadReport::Result::invalid)
        code = 422;
    else if (report.result == LoadReport::Result::failed)
        code = 500;
    return {code, dump(to_json(report)), {}};
}

// As of a reload; "text" is for people in any case.
AdminResponse answer_plan(const LoadReport& report)
{
    AdminResponse response = answer_reload(report);
    if (!report.plan)
        return response;
    nlohmann::json json = to_json(report);
    json.update(to_json(*report.plan));
    json["text"] = format_plan(*report.plan, report.file);
    response.body = dump(json);
    return response;
}

AdminResponse answer_override(const ApiTarget& target, OverrideRequest::Action action, const std::string& body)
{
    const Result<OverrideRequest> request = read_override(action, body);
    if (!request)
        return refuse(400, fmt::format("{}; {}", request.error().message, request.error().remedy));
    const OverrideReport report = target.override_backend(*request);
    static constexpr std::array<unsigned, 3> codes{200, 404, 500};
    return {codes.at(static_cast<std::size_t>(report.result)), dump(to_json(report)), {}};
}

void answer_events(const ApiTarget& target, const AdminRequest& request, const AdminServer::Respond& respond)
{
    const Result<EventQuery> query = read_event_query(request.query);
    if (!query)
        return respond(refuse(400, describe(query.error())));
    if (!query->filter.service.empty())
        if (const auto known = target.check_service(query->filter.service); !known)
            return respond(refuse(404, describe(known.error())));
    const auto listening = target.events(
        *query, [respond](const EventBatch& batch) { respond({.code = 200, .body = dump(to_json(batch))}); });
    if (!listening)
        respond(refuse(429, describe(listening.error())));
}

} // namespace

std::string dump(const nlohmann::json& json)
{
    return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + '\n';
}

nlohmann::json to_json(const std::vector<Problem>& problems)
{
    nlohmann::json all = nlohmann::json::array();
    for (const Problem& problem : problems)
        all.push_back({{"line", problem.place.line}, {"column", problem.place.column}, {"what", problem.what},
            {"remedy", problem.remedy}});
    return all;
}

nlohmann::json to_json(const LoadReport& report)
{
    nlohmann::json json{{"result", to_string(report.result)}, {"file", report.file}, {"changes", report.changes},
        {"problems", to_json(report.problems)}, {"warnings", report.warnings}, {"text", report.text()}};
    if (report.error)
        json["error"] = {{"message", report.error->message}, {"remedy", report.error->remedy}};
    return json;
}

nlohmann::json to_json(const OverrideReport& report)
{
    static constexpr std::array results{"ok", "unknown", "failed"};
    nlohmann::json backends = nlohmann::json::array();
    for (const OverrideReport::Backend& backend : report.backends)
        backends.push_back({{"name", backend.name}, {"address", backend.endpoint.to_string()}});
    nlohmann::json json{{"result", results.at(static_cast<std::size_t>(report.result))},
        {"backends", std::move(backends)}, {"warnings", report.warnings}};
    if (report.error)
        json["error"] = {{"message", report.error->message}, {"remedy", report.error->remedy}};
    return json;
}

Result<OverrideRequest> read_override(OverrideRequest::Action action, const std::string& body)
{
    const nlohmann::json json = nlohmann::json::parse(body, nullptr, false);
    const auto is_text = [&json](const char* name) { return json.contains(name) && json.at(name).is_string(); };
    if (!json.is_object() || !is_text("service") || !is_text("backend"))
        return fail("the body is no object with service and backend", R"(send {"service": "web", "backend": "web1"})");
    const std::string_view more = action == OverrideRequest::Action::weight  ? "weight"
                                  : action == OverrideRequest::Action::drain ? "deadline_seconds"
                                                                             : "service";
    for (const auto& [key, value] : json.items()) {
        if (key != "service" && key != "backend" && key != more)
            return fail(fmt::format("{} is no key of this request", quote(key)),
                fmt::format("it may have: service, backend{}", more == "service" ? "" : ", " + std::string(more)));
    }
    OverrideRequest request{.action = action,
        .service = json.at("service").get<std::string>(),
        .backend = json.at("backend").get<std::string>(),
        .weight = {},
        .deadline = {}};
    const auto number = [&json](const char* name, std::uint64_t most) -> std::optional<std::uint64_t> {
        const nlohmann::json& value = json.at(name);
        if (!value.is_number_unsigned() || value.get<std::uint64_t>() > most)
            return std::nullopt;
        return value.get<std::uint64_t>();
    };
    if (action == OverrideRequest::Action::weight) {
        const auto weight = json.contains("weight") ? number("weight", largest_weight) : std::nullopt;
        if (!weight && !(json.contains("weight") && json.at("weight").is_null()))
            return fail("weight is no number from 0 to 1000", "null gives the file's back");
        if (weight)
            request.weight = static_cast<std::uint32_t>(*weight);
    }
    if (action == OverrideRequest::Action::drain && json.contains("deadline_seconds")) {
        const auto seconds = number("deadline_seconds", static_cast<std::uint64_t>(longest_duration.count()));
        if (!seconds)
            return fail("deadline_seconds is no number from 0 to 2592000", "leave it out for drain_timeout");
        request.deadline = std::chrono::seconds(*seconds);
    }
    return request;
}

AdminServer::Handler make_api(ApiTarget target)
{
    struct Route {
        std::string_view path;
        std::string_view method;
        std::function<void(const AdminRequest&, const AdminServer::Respond&)> answer;
    };
    const auto shared = std::make_shared<ApiTarget>(std::move(target));
    const auto overriding = [shared](OverrideRequest::Action action) {
        return [shared, action](const AdminRequest& request, const AdminServer::Respond& respond) {
            respond(answer_override(*shared, action, request.body));
        };
    };
    std::vector<Route> routes{
        {"/v1/status", "GET", [shared](const auto&, const auto& respond) { answer_status(*shared, true, respond); }},
        {"/v1/status.txt", "GET",
            [shared](const auto&, const auto& respond) { answer_status(*shared, false, respond); }},
        {"/v1/reload", "POST",
            [shared](const auto&, const auto& respond) {
                shared->reload([respond](const LoadReport& report) { respond(answer_reload(report)); });
            }},
        {"/v1/plan", "GET",
            [shared](const auto&, const auto& respond) {
                shared->plan([respond](const LoadReport& report) { respond(answer_plan(report)); });
            }},
        {"/v1/events", "GET",
            [shared](const auto& request, const auto& respond) { answer_events(*shared, request, respond); }},
        {"/v1/drain", "POST", overriding(OverrideRequest::Action::drain)},
        {"/v1/undrain", "POST", overriding(OverrideRequest::Action::undrain)},
        {"/v1/weight", "POST", overriding(OverrideRequest::Action::weight)},
        {"/v1/flows", "GET",
            [shared](const auto& request, const auto& respond) { answer_flows(*shared, request, respond); }},
        {"/v1/flows/kill", "POST",
            [shared](const auto& request, const auto& respond) { answer_kill(*shared, request, respond); }},
    };
    return [routes = std::move(routes)](const AdminRequest& request, const AdminServer::Respond& respond) {
        std::string all;
        for (const Route& route : routes) {
            if (route.path != request.path) {
                all += fmt::format("{}{} {}", all.empty() ? "" : ", ", route.method, route.path);
                continue;
            }
            if (route.method != request.method)
                return respond(refuse(405, fmt::format("use {}", route.method), std::string(route.method)));
            return route.answer(request, respond);
        }
        respond(refuse(404, "there is " + all));
    };
}

} // namespace featherlb
