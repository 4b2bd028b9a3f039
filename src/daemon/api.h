// SPDX-License-Identifier: Apache-2.0
// What the admin socket offers (docs/api.md): GET /v1/status, POST /v1/reload. Requests to a handler of the admin
// server, over the two questions that it may put to a daemon.
#pragma once

#include <functional>

#include <nlohmann/json_fwd.hpp>

#include "daemon/admin.h"
#include "daemon/controller.h"

namespace featherlb {

struct ApiTarget {
    std::function<Status()> status;
    std::function<void(Controller::Done)> reload;
};
[[nodiscard]] AdminServer::Handler make_api(ApiTarget target);

// {"result": "ok" | "invalid" | "failed", "file", "changes", "problems": [...], "error", "warnings", "text"}
[[nodiscard]] nlohmann::json to_json(const LoadReport& report);
// [{"line", "column", "what", "remedy"}, ...]
[[nodiscard]] nlohmann::json to_json(const std::vector<Problem>& problems);

// One line of JSON; bytes that are not UTF-8 are replaced.
[[nodiscard]] std::string dump(const nlohmann::json& json);

} // namespace featherlb
