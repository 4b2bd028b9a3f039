// SPDX-License-Identifier: Apache-2.0
#include "daemon/controller.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "plan/shares.h"

namespace featherlb {

namespace {

using namespace std::chrono_literals;

constexpr auto event_delay = 50ms; // netlink tells of one thing in many messages
constexpr auto first_retry = 1s;
constexpr auto longest_retry = 30s;
constexpr auto maintain_every = 5s;

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

// Those that must be on a link of this machine.
std::set<IpAddress> adjacent_of(const Config& config, const std::map<std::string, std::vector<IpAddress>>& dns)
{
    std::set<IpAddress> addresses;
    for (const ServiceConfig& service : config.services) {
        if (service.forward != Forward::dsr)
            continue;
        for (const auto& [endpoint, backend] : endpoints_of(service, dns))
            addresses.insert(endpoint.address);
    }
    return addresses;
}

// What is known of backends that `config` does not ask for does not count.
template <typename Asks>
std::set<BackendKey> asked_of(const Config& config, std::set<BackendKey> backends, Asks&& asks)
{
    if (backends.empty())
        return backends;
    std::set<std::string_view> asked;
    for (const ServiceConfig& service : config.services) {
        if (asks(service))
            asked.insert(service.name);
    }
    std::erase_if(backends, [&asked](const BackendKey& backend) { return !asked.contains(backend.service); });
    return backends;
}

std::set<BackendKey> down_of(const Config& config, const Health& health, const Agents& agents)
{
    auto down =
        asked_of(config, health.down(), [](const ServiceConfig& one) { return one.failure.health.has_value(); });
    down.merge(asked_of(config, agents.down(), [](const ServiceConfig& one) { return one.sharing.agent.has_value(); }));
    return down;
}

} // namespace

Controller::Controller(
    ControllerOptions options, Loop& loop, Log& log, Network& network, Plane& plane, Resolver& resolver, Prober& prober)
    : options_(std::move(options)), loop_(loop), log_(log), network_(network), plane_(plane), resolver_(resolver),
      prober_(prober), ways_(network, loop, log), interfaces_(plane, log),
      sweeping_(
          loop, plane, log, [this] { on_pass(); }, [this] { return drains_.any(); }),
      waking_(loop, plane, log, options_.open_sender),
      health_(loop, log, prober, [this](const BackendKey& backend) { converge_service(backend.service); }),
      agents_(loop, log, options_.ask_agent ? options_.ask_agent : make_agent_asker(loop),
          [this] { converge_within(health_delay); }),
      drains_(loop), overrides_(options_.overrides), discovery_(loop, log, resolver, [this] { on_discovered(); }),
      file_watch_(loop, [this] { on_files_changed(); }), crowding_(log), started_at_(loop.now())
{
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
    ways_.refresh(destinations, adjacent_of(config, dns));
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
        .homes = homes_of(plan.machine),
        .dns = dns,
        .next_hops = ways_.for_plan(have_),
        .down = {},
        .drained = {},
        .percents = {},
        .ramps = {},
        .overrides = {},
        .overdue = {}};
    add_states(config, world);
    plan.slow_start = slow_start_.next(config, taking(config, dns, world), have_, loop_.now());
    world.ramps = plan.slow_start.percents(loop_.now());
    Result<Tables> want = make_tables(config, world, have_, unreferenced(), plane_.limits());
    if (!want)
        return fail(std::move(want.error()));
    plan.want = std::move(*want);
    plan.changes = diff(have_, plan.want);
    plan.world = std::move(world);
    plan.world.next_hops.clear();
    return plan;
}

void Controller::add_states(const Config& config, World& world) const
{
    world.down = down_of(config, health_, agents_);
    world.drained = agents_.drained();
    world.percents = agents_.percents();
    world.overrides = overrides_.known(config, world.dns);
    world.overdue = drains_.overdue();
}

// Those that would take connections, of services that let backends start slowly.
std::set<BackendKey> Controller::taking(
    const Config& config, const std::map<std::string, std::vector<IpAddress>>& dns, const World& world) const
{
    std::set<BackendKey> taking;
    for (const ServiceConfig& service : config.services) {
        if (service.sharing.slow_start.count() == 0)
            continue;
        for (const auto& [endpoint, backend] : endpoints_of(service, dns)) {
            BackendKey key{service.name, endpoint};
            const Half::Target target = target_of(service, *backend, endpoint, world);
            if (target.weight > 0 && !target.drained && !world.down.contains(key))
                taking.insert(std::move(key));
        }
    }
    return taking;
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
    if (Result<void> changed = change_tables(plan); !changed)
        return changed;
    return attach(plan);
}

Result<void> Controller::change_tables(const Plan& plan)
{
    ways_.retain();
    if (Result<void> recorded = interfaces_.record(plan.machine, plan.recorded); !recorded)
        return recorded;
    if (Result<void> applied = apply(plan); !applied)
        return applied;
    slow_start_ = plan.slow_start;
    waking_.look();
    return {};
}

// Of connections that an earlier version, or a flow table of another size, has left: the new programs are in their
// places.
Result<void> Controller::finish_copy()
{
    if (!plane_.copying())
        return {};
    Result<CopyReport> report = plane_.finish_copy();
    if (!report)
        return fail(std::move(report.error()).add_context("copying the connections"));
    log_.info("{} connections copied to the new flow table in {} ms ({})", report->connections, report->took.count(),
        report->why);
    if (report->lost > 0)
        log_.warning("{} connections could not be copied: the new flow table has no room for them, or for their source "
                     "ports",
            report->lost);
    return {};
}

Result<void> Controller::attach(const Plan& plan)
{
    Result<void> attached = interfaces_.attach(plan.chosen);
    if (attached)
        attached = finish_copy();
    if (Result<void> prepared = prepare_probes(plan); !prepared && attached)
        attached = std::move(prepared);
    warn_of_ways_out(plan);
    for (const auto& moment : {ways_.patience_ends(), drains_.next_deadline(), slow_start_.next_step(loop_.now())}) {
        if (moment)
            converge_within(*moment - loop_.now());
    }
    return attached;
}

Result<void> Controller::apply(const Plan& plan)
{
    log_.debug("{} rows of the tables to change", plan.changes.size());
    for (const std::string& over : drains_.newly_over(have_, plan.want))
        log_.warning("{}", over);
    if (plan.changes.empty()) {
        have_ = plan.want; // what is not in the maps may differ
        world_ = plan.world;
        return {};
    }
    const ServiceTotals::Gone gone = ServiceTotals::collect(have_, plan.changes, plane_);
    Result<void> applied = plane_.apply(plan.want, plan.changes);
    if (applied) {
        totals_.add(gone, plan.want);
        say_forgotten(plan);
        const Tables before = std::exchange(have_, plan.want);
        world_ = plan.world;
        say_panics(before, have_);
    } else if (Result<Tables> have = plane_.read()) {
        have_ = std::move(*have);
    } else {
        log_.error("reading what is in the maps: {}", describe(have.error()));
    }
    drains_.follow(have_);
    if (!applied)
        return fail(std::move(applied.error()).add_context("changing the tables"));
    return {};
}

void Controller::say_forgotten(const Plan& plan)
{
    for (const Change& change : plan.changes) {
        if (change.kind != Change::Kind::remove_backend)
            continue;
        const BackendRow& row = have_.backends.at(change.id);
        const auto service = have_.services.find(row.service);
        log_.info("backend {} of {} has finished draining and is forgotten", row.endpoint.to_string(),
            service == have_.services.end() ? "no service" : service->second.name);
    }
}

void Controller::say_panics(const Tables& before, const Tables& after)
{
    const std::set<ServiceId> then = panicking(before);
    const std::set<ServiceId> now = panicking(after);
    for (const auto& [id, row] : after.services) {
        if (now.contains(id) == then.contains(id))
            continue;
        if (!now.contains(id)) {
            log_.info("service {} ({}): panic is over, health counts again", row.name, to_string(row.family));
            continue;
        }
        ++panics_[row.name];
        log_.error(
            "service {} ({}): PANIC: fewer backends are up than min_healthy, so health is ignored and all are used",
            row.name, to_string(row.family));
    }
}

// Backends that drain and that no flow refers to, by a count that began after they took their last connection.
std::set<BackendId> Controller::unreferenced() const
{
    return drains_.unreferenced(plane_.flow_counts());
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

// ---- events ----

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
            if (self->network_.maintain())
                self->converge_within(0ms);
            self->crowding_.look(self->loop_.now(), self->plane_.event_counts()[FLB_EVENT_evicted]);
            self->maintain_timer_ = self->loop_.after(maintain_every, *this);
        }
    };
    maintain_timer_ = loop_.after(maintain_every, Again{this});
    crowding_.look(loop_.now(), plane_.event_counts()[FLB_EVENT_evicted]);
    sweeping_.start();
}

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
    for (const LoadCorrection& correction : plane_.flow_counts().corrections) {
        const auto row = have_.backends.find(correction.backend);
        log_.warning("the count of open connections of {} was {} and is {} by the flow table: corrected",
            row == have_.backends.end() ? fmt::format("backend {}", correction.backend)
                                        : row->second.endpoint.to_string(),
            correction.counted, correction.found);
    }
    const std::set<BackendId> free = unreferenced();
    if (free == released_)
        return;
    released_ = free;
    if (!free.empty())
        converge_within(0ms);
}

} // namespace featherlb
