// SPDX-License-Identifier: Apache-2.0
// What an operator says of a running backend (drain, undrain, weight), carried out before the answer.
#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "base/text.h"
#include "base/utc.h"
#include "daemon/controller.h"

namespace featherlb {

namespace {

using Action = OverrideRequest::Action;

struct Known {
    std::string name;
    std::uint32_t weight = 1;
    bool followed = false; // see Override
};

OverrideReport unknown(std::string what, std::string remedy)
{
    OverrideReport report;
    report.result = OverrideReport::Result::unknown;
    report.error = Error{std::move(what), std::move(remedy)};
    return report;
}

// The backends that `word` names, by name or by address and port; one with a name in the DNS stands for all addresses.
std::map<Endpoint, Known> named(
    const ServiceConfig& service, const std::map<std::string, std::vector<IpAddress>>& dns, const std::string& word)
{
    std::map<Endpoint, Known> all;
    for (const auto& [endpoint, backend] : endpoints_of(service, dns)) {
        if (backend->name == word || endpoint.to_string() == word)
            all.emplace(endpoint, Known{backend->name, backend->weight,
                                      backend->from_file || std::holds_alternative<DnsName>(backend->target)});
    }
    return all;
}

std::vector<std::string> names_of(
    const ServiceConfig& service, const std::map<std::string, std::vector<IpAddress>>& dns)
{
    std::vector<std::string> names;
    for (const auto& [endpoint, backend] : endpoints_of(service, dns))
        names.push_back(backend->name);
    std::ranges::sort(names);
    names.erase(std::unique(names.begin(), names.end()), names.end());
    return names;
}

void change(Override& what, const OverrideRequest& request)
{
    switch (request.action) {
    case Action::drain:
        what.what.drained = true;
        what.deadline = request.deadline;
        return;
    case Action::undrain:
        what.what.drained = false;
        what.deadline.reset();
        return;
    case Action::weight:
        what.what.weight = request.weight;
        return;
    }
}

} // namespace

OverrideReport Controller::override_backend(const OverrideRequest& request)
{
    if (!config_)
        return unknown("the daemon is still starting", "try again in a moment");
    const auto service = std::ranges::find(config_->services, request.service, &ServiceConfig::name);
    if (service == config_->services.end()) {
        std::vector<std::string> names;
        for (const ServiceConfig& one : config_->services)
            names.push_back(one.name);
        return unknown(fmt::format("there is no service {}", quote(request.service)), meant(request.service, names));
    }
    std::map<Endpoint, Known> backends = named(*service, dns_, request.backend);
    for (const auto& [key, one] : overrides_.all()) { // of an address that is not there at the moment
        if (backends.empty() && key.service == service->name && key.endpoint.to_string() == request.backend)
            backends.emplace(key.endpoint, Known{request.backend, one.configured, one.followed});
    }
    if (backends.empty())
        return unknown(fmt::format("service {} has no backend {}", service->name, quote(request.backend)),
            meant(request.backend, names_of(*service, dns_)));
    OverrideReport report;
    if (request.action == Action::weight && request.weight.value_or(1) > 1 && !uses_weights(service->algorithm))
        return unknown(fmt::format("{} does not use weights", to_string(service->algorithm)),
            fmt::format("0 and 1 can be had; in the file, algorithm: weighted-{} can have others",
                to_string(service->algorithm)));
    Overrides::All all = overrides_.all();
    bool followed = false;
    for (const auto& [endpoint, known] : backends) {
        const BackendKey key{service->name, endpoint};
        Override& one = all[key];
        change(one, request);
        one.configured = known.weight;
        one.at = utc_now();
        one.followed = known.followed;
        report.backends.push_back({known.name, endpoint});
        if (request.action == Action::undrain && one.what.weight.value_or(known.weight) == 0)
            report.warnings.push_back(fmt::format("{} has weight 0{}: it takes no connections", known.name,
                one.what.weight ? " by command" : " in the file"));
        else if (request.action == Action::undrain && service->sharing.agent && agents_.drained().contains(key))
            report.warnings.push_back(fmt::format("its agent drains {}: it takes no connections", known.name));
        if (request.action == Action::drain && known.followed)
            followed = true;
        if (!one.what.drained && (!one.what.weight || *one.what.weight == known.weight))
            all.erase(key); // as the file says
    }
    for (const auto& [key, one] : all) {
        if (request.action == Action::undrain && key.service == service->name && one.followed && one.what.drained &&
            !endpoints_of(*service, dns_).contains(key.endpoint))
            report.warnings.push_back(
                fmt::format("{0} is not there at the moment and stays drained: featherlb undrain {1}/{0} ends that",
                    key.endpoint.to_string(), service->name));
    }
    if (followed && request.backend == report.backends.front().name &&
        report.backends.front().endpoint.to_string() != request.backend)
        report.warnings.emplace_back("addresses that come later are not drained");
    carry_out_overrides(std::move(all), service->name, report);
    return report;
}

void Controller::carry_out_overrides(Overrides::All all, const std::string& service, OverrideReport& report)
{
    const Overrides::All before = overrides_.all();
    const auto failed = [&report](Error error) {
        report.result = OverrideReport::Result::failed;
        report.error = std::move(error);
    };
    if (Result<void> kept = overrides_.replace(std::move(all)); !kept)
        return failed(std::move(kept.error()).add_context("nothing was changed"));
    drains_.set_own_limits(overrides_.deadlines());
    prepare_waking();
    if (Result<void> carried = plan_and_carry_out(service); !carried) {
        failed(std::move(carried.error()).add_context("nothing was changed"));
        for (const std::string& line : overrides_.restore(before))
            log_.error("{}", line);
        drains_.set_own_limits(overrides_.deadlines());
        return converge_within({});
    }
    for (const auto& backend : report.backends) {
        const Override* now = overrides_.find({service, backend.endpoint});
        log_.info("backend {} of {}: {}", backend.endpoint.to_string(), service,
            now == nullptr ? "as the file says" : featherlb::describe(*now));
    }
    for (const auto& [id, row] : have_.services) {
        if (row.name == service && row.slots.empty())
            report.warnings.push_back(
                fmt::format("no backend of {} takes {} connections now", service, to_string(row.family)));
    }
}

} // namespace featherlb
