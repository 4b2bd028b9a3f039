// SPDX-License-Identifier: Apache-2.0
#include "daemon/api.h"

#include <utility>

#include <nlohmann/json.hpp>

namespace featherlb {

namespace {

AdminResponse refuse(unsigned code, const std::string& error, std::string allow = {})
{
    return {code, dump({{"error", error}}), std::move(allow)};
}

AdminResponse answer_status(const Status& status)
{
    return {200, dump(nlohmann::json(status)), {}};
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

AdminServer::Handler make_api(ApiTarget target)
{
    return [target = std::move(target)](const AdminRequest& request, const AdminServer::Respond& respond) {
        if (request.path == "/v1/status") {
            if (request.method != "GET")
                return respond(refuse(405, "use GET", "GET"));
            return respond(answer_status(target.status()));
        }
        if (request.path == "/v1/reload") {
            if (request.method != "POST")
                return respond(refuse(405, "use POST", "POST"));
            return target.reload([respond](const LoadReport& report) { respond(answer_reload(report)); });
        }
        respond(refuse(404, "there is GET /v1/status and POST /v1/reload"));
    };
}

} // namespace featherlb
