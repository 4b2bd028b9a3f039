// SPDX-License-Identifier: Apache-2.0
#include "daemon/controller.h"

#include <algorithm>
#include <utility>

#include <fmt/chrono.h>

#include "base/text.h"

namespace featherlb {

namespace {

using namespace std::chrono_literals;

constexpr auto event_delay = 50ms; // netlink tells of one thing in many messages
constexpr auto first_retry = 1s;
constexpr auto longest_retry = 30s;
constexpr auto maintain_every = 5s;
// A packet that was on its way when its backend began to drain is in the table by then.
constexpr auto drain_margin = 1s;

std::string wall_clock()
{
    return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::chrono::system_clock::now()));
}

std::map<IpAddress, std::string> destinations_of(
    const Config& config, const std::map<std::string, std::vector<IpAddress>>& dns, const Tables& have)
{
    std::map<IpAddress, std::string> destinations;
    const auto add = [&destinations](const IpAddress& address, const std::string& owner) {
        std::string& owners = destinations[address];
        if (owners.empty())
            owners = owner;
        else if (owners != owner && !owners.ends_with(", " + owner))
            owners += ", " + owner;
    };
    for (const ServiceConfig& service : config.services) {
        for (const BackendConfig& backend : service.backends) {
            if (const auto* endpoint = std::get_if<Endpoint>(&backend.target)) {
                add(endpoint->address, service.name);
                continue;
            }
            const auto answer = dns.find(std::get<DnsName>(backend.target).host);
            if (answer == dns.end())
                continue;
            for (const IpAddress& address : answer->second)
                add(address, service.name);
        }
    }
    for (const auto& [id, row] : have.backends) {
        if (const auto service = have.services.find(row.service);
            service != have.services.end() && !destinations.contains(row.endpoint.address))
            add(row.endpoint.address, service->second.name);
    }
    return destinations;
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

Controller::Controller(
    ControllerOptions options, Loop& loop, Log& log, Network& network, Plane& plane, Resolver& resolver)
    : options_(std::move(options)), loop_(loop), log_(log), network_(network), plane_(plane), resolver_(resolver),
      ways_(network, loop, log), interfaces_(plane, log), sweeping_(loop, plane, log, [this] { on_pass(); }),
      started_at_(loop.now())
{
}

// ---- loading ----

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
        remember_draining();
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
    loaded_at_ = wall_clock();
    report.changes = plan.changes.size();
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

void Controller::watch_network()
{
    if (network_.event_fd() >= 0)
        network_events_ = loop_.on_readable(network_.event_fd(), [this] { on_network(); });
}

void Controller::begin_running()
{
    struct Again {
        Controller* self;
        void operator()() const
        {
            self->network_.maintain();
            self->maintain_timer_ = self->loop_.after(maintain_every, *this);
        }
    };
    maintain_timer_ = loop_.after(maintain_every, Again{this});
    sweeping_.start();
}

// ---- planning and carrying out ----

Result<Controller::Plan> Controller::make_plan(
    const Config& config, const std::map<std::string, std::vector<IpAddress>>& dns, bool anew)
{
    Result<Machine> machine = read_machine(network_);
    if (!machine)
        return fail(std::move(machine.error()));
    Plan plan;
    plan.machine = std::move(*machine);
    auto destinations = destinations_of(config, dns, have_);
    if (load_ && load_->commit_by) // they are being resolved, and must not be let go of
        destinations.merge(destinations_of(*load_->config, load_->dns, have_));
    ways_.refresh(destinations);
    plan.chosen = choose_interfaces(config, plan.machine, ways_.all());
    if (!anew && !config.interfaces)
        keep_attached(plan);
    if (plan.chosen.empty() && anew)
        return fail("no interface carries an address of a listener or leads to a backend",
            "add the service addresses to this machine, or name the interfaces in `interfaces:`");
    for (const ChosenInterface& choice : plan.chosen)
        plan.recorded.insert(choice.ifindex);
    for (const auto& [address, way] : ways_.all()) {
        if (way.ifindex != 0)
            plan.recorded.insert(way.ifindex);
    }
    World world{.local_addresses = addresses_of(plan.chosen, plan.machine),
        .dns = dns,
        .next_hops = ways_.for_plan(have_)};
    Result<Tables> want = make_tables(config, world, have_, unreferenced(), plane_.limits());
    if (!want)
        return fail(std::move(want.error()));
    plan.want = std::move(*want);
    plan.changes = diff(have_, plan.want);
    return plan;
}

// A link that is down for a moment, or an address that is being replaced, does not take programs off.
void Controller::keep_attached(Plan& plan) const
{
    for (const auto& [index, attached] : interfaces_.all()) {
        const auto same = [index = index](const ChosenInterface& choice) { return choice.ifindex == index; };
        if (find_interface(plan.machine.interfaces, index) != nullptr &&
            std::none_of(plan.chosen.begin(), plan.chosen.end(), same))
            plan.chosen.push_back(attached.chosen);
    }
}

Result<void> Controller::carry_out(const Plan& plan)
{
    ways_.retain();
    if (Result<void> recorded = interfaces_.record(plan.machine, plan.recorded); !recorded)
        return recorded;
    if (Result<void> applied = apply(plan); !applied)
        return applied;
    Result<void> attached = interfaces_.attach(plan.chosen);
    warn_of_ways_out(plan);
    if (const auto end = ways_.patience_ends())
        converge_within(*end - loop_.now());
    return attached;
}

Result<void> Controller::apply(const Plan& plan)
{
    log_.debug("{} rows of the tables to change", plan.changes.size());
    if (plan.changes.empty())
        return {};
    Result<void> applied = plane_.apply(plan.want, plan.changes);
    if (applied) {
        have_ = plan.want;
    } else if (Result<Tables> have = plane_.read()) {
        have_ = std::move(*have);
    } else {
        log_.error("reading what is in the maps: {}", describe(have.error()));
    }
    remember_draining();
    if (!applied)
        return fail(std::move(applied.error()).add_context("changing the tables"));
    for (const Change& change : plan.changes) {
        if (change.kind == Change::Kind::remove_backend)
            log_.info("backend number {} has finished draining and is forgotten", change.id);
    }
    return {};
}

void Controller::remember_draining()
{
    std::erase_if(draining_since_, [this](const auto& entry) {
        const auto row = have_.backends.find(entry.first);
        return row == have_.backends.end() || !row->second.draining;
    });
    for (const auto& [id, row] : have_.backends) {
        if (row.draining)
            draining_since_.emplace(id, loop_.now());
    }
}

// Backends that drain and that no flow refers to, by a count that began after they took their last connection.
std::set<BackendId> Controller::unreferenced() const
{
    const FlowCounts& counts = plane_.flow_counts();
    std::set<BackendId> free;
    if (counts.pass == 0)
        return free;
    for (const auto& [id, since] : draining_since_) {
        if (counts.started >= since + drain_margin && id < counts.references.size() && counts.references[id] == 0)
            free.insert(id);
    }
    return free;
}

void Controller::warn_of_ways_out(const Plan& plan)
{
    for (const auto& [address, way] : ways_.all()) {
        const auto same = [&way = way](const ChosenInterface& choice) { return choice.ifindex == way.ifindex; };
        if (way.ifindex == 0 || std::any_of(plan.chosen.begin(), plan.chosen.end(), same))
            continue;
        const std::string warning = fmt::format("backend address {} is reached by {}, which is not among `interfaces`; "
                                                "its replies there are not seen",
            address.to_string(), way.device);
        if (warned_.insert(warning).second)
            log_.warning("{}", warning);
    }
}

void Controller::warn_of_fixed_settings(const Config& config)
{
    std::vector<std::string>& warnings = load_->report.warnings;
    if (config_ && config.admin_socket != config_->admin_socket)
        warnings.push_back("admin.socket takes effect when the daemon is restarted");
    if (const std::uint32_t there = plane_.sizes().flows_max; config.flows_max != there)
        warnings.push_back(fmt::format("flows.max {}: the flow table keeps its size of {} until `featherlb detach` and "
                                       "a new start, which ends the connections",
            config.flows_max, there));
}

// ---- events ----

void Controller::converge()
{
    converge_timer_.reset();
    if (config_)
        converge_running();
    if (load_ && load_->commit_by)
        try_commit();
}

void Controller::converge_running()
{
    const Result<Plan> plan = make_plan(*config_, dns_, false);
    if (!plan)
        return settle(fail(plan.error()), Say::yes);
    settle(carry_out(*plan), Say::yes);
}

void Controller::settle(const Result<void>& outcome, Say say)
{
    if (outcome) {
        if (!problem_.empty())
            log_.info("what failed before has worked now");
        problem_.clear();
        retry_delay_ = {};
        return;
    }
    const std::string problem = describe(outcome.error());
    if (problem != problem_ && say == Say::yes)
        log_.error("{}; trying again", problem);
    problem_ = problem;
    retry_delay_ = std::clamp<Loop::Clock::duration>(retry_delay_ * 2, first_retry, longest_retry);
    converge_within(retry_delay_);
}

// One timer, which later events do not put off.
void Controller::converge_within(Loop::Clock::duration delay)
{
    const auto at = loop_.now() + std::max<Loop::Clock::duration>(delay, 0ms);
    if (converge_timer_ && converge_at_ <= at)
        return;
    converge_at_ = at;
    converge_timer_ = loop_.after(at - loop_.now(), [this] { converge(); });
}

void Controller::on_network()
{
    if (network_.drain().any())
        converge_within(event_delay);
}

void Controller::on_pass()
{
    const std::set<BackendId> free = unreferenced();
    if (free == released_)
        return;
    released_ = free;
    if (!free.empty())
        converge_within(0ms);
}

} // namespace featherlb
