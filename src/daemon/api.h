// SPDX-License-Identifier: Apache-2.0
// What the admin socket offers (docs/api.md). Requests to a handler of the admin server, over the few questions that
// it may put to a daemon.
#pragma once

#include <functional>

#include <nlohmann/json_fwd.hpp>

#include "daemon/admin.h"
#include "daemon/aside.h"
#include "daemon/controller.h"
#include "daemon/flow_tasks.h"

namespace featherlb {

struct ApiTarget {
    std::function<Status()> status;
    std::function<void(Controller::Done)> reload;
    std::function<void(Controller::Done)> plan;
    std::function<OverrideReport(const OverrideRequest&)> override_backend;
    std::function<FlowBackends()> flow_backends = {};
    std::function<double()> tick_seconds = {};
    std::function<void(FlowFilter, FlowTasks::Found, std::function<void(Result<void>)>)> list_flows = {};
    std::function<void(FlowFilter, std::function<void(Result<FlowTasks::Outcome>)>)> kill_flows = {};
    // For long lists, in a thread of their own: status does not wait for them.
    Aside::Make aside_for_lists = [](const Aside::Work& work, const Aside::Done& done) { done(work()); };
    std::function<Result<void>(const EventQuery&, EventLog::Done)> events = {};
    std::function<Result<void>(const std::string& name)> check_service = {};
    Aside::Make aside = [](const Aside::Work& work, const Aside::Done& done) { done(work()); };
};
[[nodiscard]] AdminServer::Handler make_api(ApiTarget target);

// {"result": "ok" | "invalid" | "failed", "file", "changes", "problems": [...], "error", "warnings", "text"}
[[nodiscard]] nlohmann::json to_json(const LoadReport& report);
// {"result": "ok" | "unknown" | "failed", "backends": [{"name", "address"}, ...], "warnings", "error"}
[[nodiscard]] nlohmann::json to_json(const OverrideReport& report);
// {"events": [...], "next", "left_out"}
[[nodiscard]] nlohmann::json to_json(const EventBatch& batch);
// The arguments of GET /v1/events; fails with what is wrong.
[[nodiscard]] Result<EventQuery> read_event_query(const std::vector<std::pair<std::string, std::string>>& arguments);
// The body of POST /v1/drain, /v1/undrain or /v1/weight; fails with what is wrong.
[[nodiscard]] Result<OverrideRequest> read_override(OverrideRequest::Action action, const std::string& body);
// [{"line", "column", "what", "remedy"}, ...]
[[nodiscard]] nlohmann::json to_json(const std::vector<Problem>& problems);

// One line of JSON; bytes that are not UTF-8 are replaced.
[[nodiscard]] std::string dump(const nlohmann::json& json);

} // namespace featherlb
