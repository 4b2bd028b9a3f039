// SPDX-License-Identifier: Apache-2.0
#include "observe/plan_report.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace featherlb {

namespace {

std::string shown_value(const std::string& value)
{
    return value.empty() ? "(not set)" : value;
}

void print_service(std::string& out, const ServiceEffect& service)
{
    out += fmt::format("  service {} ({}): {}", service.service, to_string(service.family), service.what);
    if (service.slots > 0 && service.what == "changed")
        out +=
            fmt::format("; {:.1f} % of its {} slots lead to another backend", service.moved_share * 100, service.slots);
    out += '\n';
    for (const std::string& listener : service.listeners_added)
        out += fmt::format("    listens on {}\n", listener);
    for (const std::string& listener : service.listeners_removed)
        out += fmt::format("    no longer listens on {}\n", listener);
}

} // namespace

nlohmann::json to_json(const PlanReport& report)
{
    nlohmann::json settings = nlohmann::json::array();
    for (const SettingChange& change : report.settings)
        settings.push_back({{"path", change.path}, {"from", change.from}, {"to", change.to}});
    nlohmann::json services = nlohmann::json::array();
    for (const ServiceEffect& effect : report.effects.services)
        services.push_back({{"name", effect.service}, {"family", to_string(effect.family)}, {"change", effect.what},
            {"slots", effect.slots}, {"moved_share", effect.moved_share}, {"listeners_added", effect.listeners_added},
            {"listeners_removed", effect.listeners_removed}});
    nlohmann::json backends = nlohmann::json::array();
    for (const BackendEffect& effect : report.effects.backends)
        backends.push_back(
            {{"service", effect.service}, {"address", effect.endpoint.to_string()}, {"change", effect.what}});
    nlohmann::json interfaces = nlohmann::json::array();
    for (const std::string& name : report.attached)
        interfaces.push_back({{"name", name}, {"change", "attached"}});
    for (const std::string& name : report.detached)
        interfaces.push_back({{"name", name}, {"change", "detached"}});
    return {{"settings", std::move(settings)}, {"services", std::move(services)}, {"backends", std::move(backends)},
        {"interfaces", std::move(interfaces)}, {"rows", report.rows}};
}

std::string format_plan(const PlanReport& report, const std::string& file)
{
    const bool nothing = report.settings.empty() && report.effects.none() && report.rows == 0 &&
                         report.attached.empty() && report.detached.empty();
    if (nothing)
        return fmt::format("{}: a reload would change nothing\n", file);
    std::string out = fmt::format("{}: a reload would change {} rows of the tables\n", file, report.rows);
    if (!report.settings.empty())
        out += "\nsettings\n";
    for (const SettingChange& change : report.settings)
        out += fmt::format("  {}: {} -> {}\n", change.path, shown_value(change.from), shown_value(change.to));
    if (!report.effects.none() || !report.attached.empty() || !report.detached.empty())
        out += "\neffects\n";
    for (const ServiceEffect& service : report.effects.services)
        print_service(out, service);
    for (const BackendEffect& backend : report.effects.backends)
        out += fmt::format("  backend {} of {}: {}\n", backend.endpoint.to_string(), backend.service, backend.what);
    for (const std::string& name : report.attached)
        out += fmt::format("  interface {}: is attached\n", name);
    for (const std::string& name : report.detached)
        out += fmt::format("  interface {}: is left\n", name);
    return out;
}

} // namespace featherlb
