// SPDX-License-Identifier: Apache-2.0
// The first half of the controller: from a request to load, over file, machine and names, to a committed plan.
#include <algorithm>
#include <utility>

#include <fmt/chrono.h>

#include "daemon/controller.h"

namespace featherlb {

namespace {

std::string wall_clock()
{
    return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::chrono::system_clock::now()));
}

std::set<BackendKey> down_backends(const Tables& tables)
{
    std::set<BackendKey> down;
    for (const auto& [id, row] : tables.backends) {
        if (const auto service = tables.services.find(row.service); row.down && service != tables.services.end())
            down.insert({service->second.name, row.endpoint});
    }
    return down;
}

} // namespace

std::string LoadReport::text() const
{
    std::string text = problems.empty() ? "" : ConfigErrors{file, problems}.format();
    while (!text.empty() && text.back() == '\n')
        text.pop_back();
    if (error)
        text += (text.empty() ? "" : "\n") + describe(*error);
    return text;
}

std::string_view to_string(LoadReport::Result result)
{
    switch (result) {
    case LoadReport::Result::ok:
        return "ok";
    case LoadReport::Result::invalid:
        return "invalid";
    case LoadReport::Result::failed:
        break;
    }
    return "failed";
}

void Controller::start(Config config, Done done)
{
    std::vector<Done> all;
    all.push_back(std::move(done));
    watch_network();
    begin_load(true, std::move(config), std::move(all));
}

void Controller::reload(Done done)
{
    if (load_) {
        waiting_.push_back(std::move(done));
        return;
    }
    std::vector<Done> all;
    all.push_back(std::move(done));
    begin_load(false, std::nullopt, std::move(all));
}

void Controller::begin_load(bool starting, std::optional<Config> config, std::vector<Done> done)
{
    load_ = std::make_unique<Load>();
    load_->done = std::move(done);
    load_->starting = starting;
    load_->report.file = options_.config_file;
    LoadReport& report = load_->report;
    if (!config) {
        auto loaded = options_.load(options_.config_file);
        if (!loaded) {
            report.result = LoadReport::Result::invalid;
            report.problems = std::move(loaded.error().problems);
            return finish_load();
        }
        config = std::move(*loaded);
    }
    Result<Machine> machine = read_machine(network_);
    if (!machine) {
        report.result = LoadReport::Result::failed;
        report.error = std::move(machine.error());
        return finish_load();
    }
    machine->ports = options_.read_ports();
    MachineReport checked = check_machine(*config, *machine);
    report.warnings = std::move(checked.warnings);
    if (!checked.problems.empty()) {
        report.result = LoadReport::Result::invalid;
        report.problems = std::move(checked.problems);
        return finish_load();
    }
    load_->config = std::move(config);
    resolver_.resolve(dns_hosts(*load_->config), [this](const DnsAnswers& answers) { on_answers(answers); });
}

void Controller::on_answers(const DnsAnswers& answers)
{
    LoadReport& report = load_->report;
    if (load_->starting) {
        Result<Tables> have = plane_.read();
        if (!have) {
            report.result = LoadReport::Result::failed;
            report.error = std::move(have.error()).add_context("reading what is in the maps");
            return finish_load();
        }
        have_ = std::move(*have);
        drains_.follow(have_);
        health_.adopt(down_backends(have_));
        dns_ = recall_addresses(*load_->config, have_);
    }
    DnsKnowledge knowledge = merge_answers(*load_->config, answers, dns_);
    report.warnings.insert(report.warnings.end(), knowledge.warnings.begin(), knowledge.warnings.end());
    if (!knowledge.problems.empty()) {
        report.result = LoadReport::Result::failed;
        report.problems = std::move(knowledge.problems);
        return finish_load();
    }
    load_->dns = std::move(knowledge.known);
    load_->commit_by = loop_.now() + Ways::patience;
    try_commit();
}

// A new neighbour takes a millisecond to answer, and the tables change once instead of twice if that is waited for.
// What runs goes on meanwhile with the tables that it has.
void Controller::try_commit()
{
    Result<Plan> plan = make_plan(*load_->config, load_->dns, true);
    if (!plan) {
        load_->report.result = LoadReport::Result::failed;
        load_->report.error = std::move(plan.error());
        return finish_load();
    }
    if (ways_.patience_ends() && loop_.now() < *load_->commit_by)
        return converge_within(std::min(*ways_.patience_ends(), *load_->commit_by) - loop_.now());
    commit(*plan);
}

// From here on the new configuration holds: what cannot be carried out now is tried again.
void Controller::commit(const Plan& plan)
{
    LoadReport& report = load_->report;
    warn_of_fixed_settings(*load_->config);
    config_ = std::move(load_->config);
    load_->config.reset();
    load_->commit_by.reset();
    dns_ = std::move(load_->dns);
    check_health();
    drains_.configure(*config_);
    loaded_at_ = wall_clock();
    report.changes = plan.changes.size();
    prepare_waking();
    interfaces_.look_again();
    const Result<void> carried = carry_out(plan);
    if (!carried) {
        report.result = LoadReport::Result::failed;
        report.error = carried.error();
    }
    if (!load_->starting)
        settle(carried, Say::no);
    else if (carried)
        begin_running();
    finish_load();
}

// Every backend of a service that has a check, by the endpoints that it stands for now.
void Controller::check_health()
{
    std::map<BackendKey, HealthConfig> targets;
    for (const ServiceConfig& service : config_->services) {
        if (!service.failure.health)
            continue;
        for (const auto& [endpoint, backend] : endpoints_of(service, dns_))
            targets.emplace(BackendKey{service.name, endpoint}, *service.failure.health);
    }
    health_.watch(targets);
}

void Controller::finish_load()
{
    const std::unique_ptr<Load> load = std::move(load_);
    log_load(*load);
    if (!load->starting)
        last_reload_ = {std::string(to_string(load->report.result)), wall_clock(), load->report.text()};
    for (const Done& done : load->done)
        done(load->report);
    if (!waiting_.empty() && !load_)
        begin_load(false, std::nullopt, std::exchange(waiting_, {}));
}

void Controller::log_load(const Load& load)
{
    for (const std::string& warning : load.report.warnings) {
        if (!warned_.contains(warning))
            log_.warning("{}", warning);
    }
    if (load.report.result != LoadReport::Result::invalid)
        warned_ = {load.report.warnings.begin(), load.report.warnings.end()};
    std::string text = load.report.text();
    for (std::size_t from = 0; from < text.size();) {
        const std::size_t to = std::min(text.find('\n', from), text.size());
        log_.error("{}", text.substr(from, to - from));
        from = to + 1;
    }
    const char* what = load.starting ? "start" : "reload";
    if (load.report.result == LoadReport::Result::ok)
        log_.info("{} of {}: {} rows of the tables changed", what, load.report.file, load.report.changes);
    else if (!load.starting)
        log_.error("reload of {} {}", load.report.file,
            load.report.result == LoadReport::Result::invalid ? "refused: nothing was changed" : "failed");
}

void Controller::prepare_waking()
{
    const auto resets = [](const ServiceConfig& service) {
        return service.failure.tcp == BackendDown::reset || service.failure.drain_timeout;
    };
    if (config_->drain_timeout || std::any_of(config_->services.begin(), config_->services.end(), resets))
        waking_.prepare();
}

void Controller::warn_of_fixed_settings(const Config& config)
{
    std::vector<std::string>& warnings = load_->report.warnings;
    if (config_ && config.admin_socket != config_->admin_socket)
        warnings.emplace_back("admin.socket takes effect when the daemon is restarted");
    if (const std::uint32_t there = plane_.sizes().flows_max; config.flows_max != there)
        warnings.push_back(fmt::format("flows.max {}: the flow table keeps its size of {} until `featherlb detach` and "
                                       "a new start, which ends the connections",
            config.flows_max, there));
}

} // namespace featherlb
