// SPDX-License-Identifier: Apache-2.0
// What concerns some services only is planned and carried out for these alone; see plan/partial.h.
#include <algorithm>
#include <utility>

#include "daemon/controller.h"

namespace featherlb {

namespace {

using namespace std::chrono_literals;

// Those begin anew, or end, with a plan for all.
bool starts_slowly(const Config& config, const ServiceNames& names)
{
    return std::ranges::any_of(config.services, [&names](const ServiceConfig& service) {
        return service.sharing.slow_start.count() > 0 && names.contains(service.name);
    });
}

} // namespace

void Controller::converge_service(const std::string& name)
{
    concerned_.insert(name);
    if (!services_timer_)
        services_timer_ = loop_.after(health_delay, [this] { converge_services(); });
}

void Controller::converge_services()
{
    services_timer_.reset();
    const ServiceNames names = std::exchange(concerned_, {});
    if (!config_)
        return;
    if (problem_.empty() && !starts_slowly(*config_, names)) {
        const Result<bool> done = replan(names);
        if (done && *done)
            return;
        if (!done)
            log_.debug("planning {} services alone: {}", names.size(), describe(done.error()));
    }
    converge_within(0ms); // which tells what is wrong
}

Result<bool> Controller::replan(const ServiceNames& names)
{
    const Tables part = part_of(have_, names);
    World world = world_;
    world.next_hops = ways_.for_rows(part);
    add_states(*config_, world);
    Result<std::optional<PartialPlan>> made =
        make_partial_plan(*config_, world, part, unreferenced(), plane_.limits(), names);
    if (!made)
        return fail(std::move(made.error()));
    if (!*made)
        return false;
    const PartialPlan& plan = **made;
    log_.debug("{} rows of {} services to change", plan.changes.size(), names.size());
    for (const std::string& over : drains_.newly_over(part, plan.want))
        log_.warning("{}", over);
    if (plan.changes.empty()) {
        look_at_deadlines();
        return true;
    }
    if (Result<void> applied = plane_.apply_rows(plan.want, plan.changes); !applied) {
        if (Result<Tables> have = plane_.read())
            have_ = std::move(*have);
        return fail(std::move(applied.error()));
    }
    carry_over(plan, have_);
    say_panics(part, plan.want);
    drains_.follow(have_);
    waking_.look();
    look_at_deadlines();
    return true;
}

void Controller::look_at_deadlines()
{
    if (const auto deadline = drains_.next_deadline())
        converge_within(*deadline - loop_.now());
}

// For one service alone where that is enough.
Result<void> Controller::plan_and_carry_out(const std::string& service)
{
    const ServiceNames names{service};
    if (problem_.empty() && !starts_slowly(*config_, names)) {
        const Result<bool> done = replan(names);
        if (done && *done)
            return {};
    }
    const Result<Plan> plan = make_plan(*config_, dns_, false);
    if (!plan)
        return fail(plan.error());
    if (Result<void> changed = change_tables(*plan); !changed) {
        settle(changed, Say::no);
        return changed;
    }
    settle(attach(*plan), Say::yes); // which does not concern who asked
    return {};
}

} // namespace featherlb
