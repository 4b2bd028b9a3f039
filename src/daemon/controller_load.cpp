// SPDX-License-Identifier: Apache-2.0
// The first half of the controller: from a request to load, over file, machine and names, to a committed plan.
#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "base/utc.h"
#include "daemon/controller.h"

namespace featherlb {

namespace {

using namespace std::chrono_literals;

constexpr Loop::Clock::duration refusals_every = 500ms;

// Not those of an older row, which drains beside the one that counts (see BackendRow::one_way).
std::set<BackendKey> backends_where(const Tables& tables, bool BackendRow::*flag)
{
    std::set<BackendKey> all, others;
    for (const auto& [id, row] : tables.backends) {
        const auto service = tables.services.find(row.service);
        if (service == tables.services.end())
            continue;
        if (row.*flag)
            all.insert({service->second.name, row.endpoint});
        else if (!row.draining)
            others.insert({service->second.name, row.endpoint});
    }
    std::erase_if(all, [&others](const BackendKey& key) { return others.contains(key); });
    return all;
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
    started_socket_ = config.admin_socket;
    started_access_ = config.admin_access;
    if (Result<void> known = overrides_.read(); !known)
        log_.error("{}", featherlb::describe(known.error()));
    begin_load(Purpose::start, std::move(config), std::move(all));
}

void Controller::reload(Done done)
{
    if (load_) {
        waiting_.push_back(std::move(done));
        return;
    }
    std::vector<Done> all;
    all.push_back(std::move(done));
    begin_load(Purpose::reload, std::nullopt, std::move(all));
}

void Controller::plan(Done done)
{
    if (load_) {
        waiting_plans_.push_back(std::move(done));
        return;
    }
    std::vector<Done> all;
    all.push_back(std::move(done));
    begin_load(Purpose::plan, std::nullopt, std::move(all));
}

void Controller::begin_load(Purpose purpose, std::optional<Config> config, std::vector<Done> done)
{
    load_ = std::make_unique<Load>();
    load_->done = std::move(done);
    load_->starting = purpose == Purpose::start;
    load_->only_plan = purpose == Purpose::plan;
    load_->of_files = purpose == Purpose::reload && config;
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
    discovery_.pause(); // the resolver is the load's now
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
        totals_.begin(have_, plane_);
        adopt_state();
        dns_ = recall_addresses(*load_->config, have_);
    }
    DnsKnowledge knowledge = merge_answers(*load_->config, discovery_.completed(answers), dns_);
    report.warnings.insert(report.warnings.end(), knowledge.warnings.begin(), knowledge.warnings.end());
    if (!knowledge.problems.empty()) {
        report.result = LoadReport::Result::failed;
        report.problems = std::move(knowledge.problems);
        return finish_load();
    }
    load_->dns = std::move(knowledge.known);
    for (const auto& [host, answer] : answers) {
        if (answer.addresses.empty())
            load_->unresolved.insert(host);
    }
    load_->commit_by = loop_.now() + Ways::patience;
    try_commit();
}

// Who was down is known from the tables, but not by whom: where a check asks, it decides; an agent that still means it
// says so again. Those that drain because of their weight do so anyway.
void Controller::adopt_state()
{
    std::set<BackendKey> down = backends_where(have_, &BackendRow::down);
    health_.adopt(down);
    for (const ServiceConfig& service : load_->config->services) {
        if (service.failure.health)
            std::erase_if(down, [&service](const BackendKey& backend) { return backend.service == service.name; });
    }
    agents_.adopt(std::move(down), backends_where(have_, &BackendRow::draining));
}

// A new neighbour takes a millisecond to answer, and the tables change once instead of twice if that is waited for.
// What runs goes on meanwhile with the tables that it has.
void Controller::try_commit()
{
    // Names and files change while nobody looks: a link that is down at that moment keeps its programs.
    const bool by_itself = load_->of_names || load_->of_files;
    Result<Plan> plan = make_plan(*load_->config, load_->dns, !by_itself);
    if (!plan) {
        load_->report.result = LoadReport::Result::failed;
        load_->report.error = std::move(plan.error());
        return finish_load();
    }
    if (ways_.patience_ends() && loop_.now() < *load_->commit_by)
        return converge_within(std::min(*ways_.patience_ends(), *load_->commit_by) - loop_.now());
    if (load_->only_plan)
        return report_plan(*plan);
    if (Result<void> claimed = by_itself ? Result<void>() : options_.claim(*load_->config); !claimed) {
        load_->report.result = LoadReport::Result::failed;
        load_->report.error = std::move(claimed.error());
        return finish_load();
    }
    commit(*plan);
}

void Controller::report_plan(const Plan& plan)
{
    LoadReport& report = load_->report;
    warn_of_fixed_settings(*load_->config);
    report.changes = plan.changes.size();
    PlanReport& told = report.plan.emplace();
    told.settings = compare_settings(settings_of(*config_->text), settings_of(*load_->config->text));
    told.effects = effects_of(have_, plan.want);
    told.rows = plan.changes.size();
    std::set<std::uint32_t> chosen;
    for (const ChosenInterface& choice : plan.chosen) {
        chosen.insert(choice.ifindex);
        const auto now = interfaces_.all().find(choice.ifindex);
        if (now == interfaces_.all().end() || now->second.chosen.mode != choice.mode)
            told.attached.push_back(choice.name);
    }
    for (const auto& [index, interface] : interfaces_.all()) {
        if (!chosen.contains(index))
            told.detached.push_back(interface.chosen.name);
    }
    finish_load();
    converge_within({}); // the network is asked for what runs again
}

// From here on the new configuration holds: what cannot be carried out now is tried again.
void Controller::commit(const Plan& plan)
{
    LoadReport& report = load_->report;
    warn_of_fixed_settings(*load_->config);
    for (std::string& line : overrides_.forget_contradicted(*load_->config, load_->dns))
        report.warnings.push_back(std::move(line));
    config_ = std::move(load_->config);
    load_->config.reset();
    load_->commit_by.reset();
    dns_ = std::move(load_->dns);
    follow_sources();
    check_health();
    drains_.configure(*config_);
    drains_.set_own_limits(overrides_.deadlines());
    if (!load_->of_names)
        loaded_at_ = std::chrono::system_clock::now();
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

// Every backend of a service that has a check or an agent, by the endpoints that it stands for now.
void Controller::check_health()
{
    std::map<BackendKey, Check> targets;
    std::map<BackendKey, ProbeRoute> routes;
    std::map<BackendKey, AgentConfig> agents;
    for (const ServiceConfig& service : config_->services) {
        if (!service.failure.health && !service.sharing.agent)
            continue;
        for (const auto& [endpoint, backend] : endpoints_of(service, dns_)) {
            const BackendKey key{service.name, endpoint};
            if (service.sharing.agent) {
                AgentConfig& agent = agents.emplace(key, *service.sharing.agent).first->second;
                agent.port = backend->agent_port.value_or(agent.port);
            }
            if (!service.failure.health)
                continue;
            HealthConfig how = *service.failure.health;
            if (!how.port && endpoint.port == 0)
                how.port = only_port(service);
            targets.emplace(key, std::move(how));
            if (const auto address = probed_address(service, endpoint))
                routes.emplace(key, ProbeRoute{endpoint.address, *address, {}, service.forward == Forward::ipip});
        }
    }
    probe_marks_.follow(routes);
    for (auto& [key, check] : targets)
        check.mark = probe_marks_.mark_of(key);
    health_.watch(targets);
    agents_.watch(agents);
    if (targets.empty()) {
        refusals_timer_.reset();
        refusals_ = {};
    } else if (!refusals_timer_) {
        look_at_refusals();
    }
}

// A backend that has just refused a client is asked at once.
void Controller::look_at_refusals()
{
    for (const BackendId id : refusals_.look(have_.backends, plane_)) {
        const BackendRow& row = have_.backends.at(id);
        if (const auto service = have_.services.find(row.service); service != have_.services.end())
            health_.ask_soon({service->second.name, row.endpoint});
    }
    refusals_timer_ = loop_.after(refusals_every, [this] { look_at_refusals(); });
}

// Behind the balancer's own programs, which are attached by now. What has no way yet, or nowhere to come from in the
// other IP version, is asked at its own address.
Result<void> Controller::prepare_probes(const Plan& plan)
{
    ProbeRoutes routes;
    const auto by_mark = probe_marks_.by_mark();
    std::set<IpAddress> services;
    for (const auto& [mark, route] : by_mark)
        services.insert(route.service);
    for (const auto& [mark, route] : by_mark) {
        const auto way = ways_.all().find(route.backend);
        if (way == ways_.all().end())
            continue;
        const auto& interfaces = plan.machine.interfaces;
        const auto out = std::ranges::find(interfaces, way->second.device, &Interface::name);
        if (out == interfaces.end())
            continue;
        ProbeRoute whole = route;
        if (route.backend.family() != route.service.family())
            whole.own = own_address(plan.machine, out->index, route.service.family(), services);
        if (route.backend.family() == route.service.family() || whole.own) {
            routes.by_mark.emplace(mark, whole);
            routes.devices.emplace(out->index, out->name);
        }
    }
    return prober_.prepare(routes);
}

void Controller::finish_load()
{
    const std::unique_ptr<Load> load = std::move(load_);
    if (config_ && !load->of_names)
        discovery_.resume();
    retry_sources(*load);
    if (!load->only_plan)
        log_load(*load);
    if (!load->starting && !load->only_plan && !load->of_files && !load->of_names)
        count_reload(load->report);
    for (const Done& done : load->done)
        done(load->report);
    if (!waiting_.empty() && !load_)
        begin_load(Purpose::reload, std::nullopt, std::exchange(waiting_, {}));
    if (!waiting_plans_.empty() && !load_)
        begin_load(Purpose::plan, std::nullopt, std::exchange(waiting_plans_, {}));
    if (!load_)
        after_load();
}

void Controller::say_errors(const LoadReport& report)
{
    const std::string text = report.text();
    for (std::size_t from = 0; from < text.size();) {
        const std::size_t to = std::min(text.find('\n', from), text.size());
        log_.error("{}", text.substr(from, to - from));
        from = to + 1;
    }
}

void Controller::count_reload(const LoadReport& report)
{
    using Result = LoadReport::Result;
    last_reload_ = {std::string(to_string(report.result)), utc_now(), report.text()};
    ++(report.result == Result::ok         ? reloads_.ok
        : report.result == Result::invalid ? reloads_.invalid
                                           : reloads_.failed);
}

void Controller::log_load(const Load& load)
{
    for (const std::string& warning : load.report.warnings) {
        if (!warned_.contains(warning))
            log_.warning("{}", warning);
    }
    if (load.of_names)
        warned_.insert(load.report.warnings.begin(), load.report.warnings.end());
    else if (load.report.result != LoadReport::Result::invalid)
        warned_ = {load.report.warnings.begin(), load.report.warnings.end()};
    say_errors(load.report);
    if (load.of_names && load.report.result == LoadReport::Result::ok)
        return;
    const char* what = load.starting   ? "start"
                       : load.of_names ? "change of names"
                       : load.of_files ? "change of files"
                                       : "reload";
    if (load.report.result == LoadReport::Result::ok)
        log_.info("{} of {}: {} rows of the tables changed", what, load.report.file, load.report.changes);
    else if (!load.starting)
        log_.error("{} of {} {}", what, load.report.file,
            load.report.result == LoadReport::Result::invalid ? "refused: nothing was changed" : "failed");
}

void Controller::prepare_waking()
{
    const auto resets = [](const ServiceConfig& service) {
        return service.failure.tcp == BackendDown::reset || service.failure.drain_timeout;
    };
    if (config_->drain_timeout || !overrides_.deadlines().empty() ||
        std::any_of(config_->services.begin(), config_->services.end(), resets))
        waking_.prepare();
}

void Controller::warn_of_fixed_settings(const Config& config)
{
    std::vector<std::string>& warnings = load_->report.warnings;
    if (config_ && config.admin_socket != started_socket_)
        warnings.emplace_back("admin.socket takes effect when the daemon is restarted");
    if (config_ && config.admin_access != started_access_)
        warnings.emplace_back("admin.group and admin.mode take effect when the daemon is restarted");
    if (const std::uint32_t there = plane_.sizes().flows_max; config.flows_max != there)
        warnings.push_back(
            fmt::format("flows.max {}: the flow table keeps its size of {} until the daemon is restarted",
                config.flows_max, there));
}

} // namespace featherlb
