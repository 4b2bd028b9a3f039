// SPDX-License-Identifier: Apache-2.0
// PlanReport: what a reload would change, as a value, as JSON (docs/api.md) and for people.
#pragma once

#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "config/settings.h"
#include "observe/effects.h"

namespace featherlb {

struct PlanReport {
    std::vector<SettingChange> settings;
    Effects effects;
    std::vector<std::string> attached; // interfaces that would be
    std::vector<std::string> detached;
    std::size_t rows = 0; // of the tables that differ
};

// {"settings": [{"path", "from", "to"}], "services": [...], "backends": [...], "interfaces": [{"name", "change"}],
// "rows"}
[[nodiscard]] nlohmann::json to_json(const PlanReport& report);
[[nodiscard]] std::string format_plan(const PlanReport& report, const std::string& file);

} // namespace featherlb
