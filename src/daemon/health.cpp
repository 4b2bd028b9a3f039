// SPDX-License-Identifier: Apache-2.0
#include "daemon/health.h"

#include <utility>

#include "daemon/spread.h"

namespace featherlb {

namespace {

// While something is wrong it is asked more often, if that is wanted.
Loop::Clock::duration interval_of(const Check& how, const HealthState& state)
{
    const bool failing = state.down() || state.against() > 0;
    return failing && how.fast_interval.count() > 0 ? how.fast_interval : how.interval;
}

} // namespace

Health::Health(Loop& loop, Log& log, Prober& prober, std::function<void(const BackendKey&)> on_change)
    : loop_(loop), log_(log), prober_(prober), on_change_(std::move(on_change)), lateness_(loop)
{
}

void Health::watch(const std::map<BackendKey, Check>& targets)
{
    std::erase_if(targets_, [&targets](const auto& entry) { return !targets.contains(entry.first); });
    LookPeriod look;
    for (const auto& [backend, how] : targets) {
        look.add(how.timeout);
        const auto [entry, is_new] = targets_.try_emplace(backend);
        Target& target = entry->second;
        if (is_new)
            target.state = HealthState(adopted_.contains(backend));
        else if (target.how == how)
            continue;
        target.how = how;
        begin(*entry);
    }
    adopted_.clear();
    lateness_.watch(look.get());
}

void Health::ask_soon(const BackendKey& backend)
{
    const auto target = targets_.find(backend);
    if (target != targets_.end() && !target->second.state.down() && target->second.state.against() == 0)
        target->second.round->hurry();
}

std::set<BackendKey> Health::down() const
{
    std::set<BackendKey> all = adopted_;
    for (const auto& [backend, target] : targets_) {
        if (target.state.down())
            all.insert(backend);
    }
    return all;
}

const HealthState* Health::find(const BackendKey& backend) const
{
    const auto target = targets_.find(backend);
    return target == targets_.end() ? nullptr : &target->second.state;
}

void Health::begin(Targets::value_type& entry)
{
    const Check& how = entry.second.how;
    Endpoint asked = entry.first.endpoint;
    asked.port = how.port.value_or(asked.port);
    const auto ask = [this, &entry, asked] {
        return prober_.start(
            asked, entry.second.how, [this, &entry](const CheckResult& result) { end(entry, result); });
    };
    const auto timed_out = [this, &entry](std::string reason) {
        const bool needless = reason.empty();
        end(entry, {needless ? CheckResult::Kind::good : CheckResult::Kind::failed, std::move(reason)});
    };
    const auto interval = interval_of(how, entry.second.state);
    entry.second.round =
        std::make_unique<Round>(loop_, lateness_, Round::Times{interval, how.timeout, how.jitter}, ask, timed_out);
    entry.second.round->start(place_in(interval, entry.first));
}

void Health::end(Targets::value_type& entry, CheckResult result)
{
    Target& target = entry.second;
    const bool late = target.round->end();
    if (late && result.kind == CheckResult::Kind::failed)
        result = {CheckResult::Kind::discarded, "the daemon itself was late"};
    result.seconds = std::chrono::duration<double>(target.round->took()).count();
    const bool flapped = target.state.flapping();
    const HealthState::Change change = target.state.take(result, target.how.rise, target.how.fall);
    target.round->set_interval(interval_of(target.how, target.state));
    if (result.kind == CheckResult::Kind::discarded)
        say_discarded(entry.first, result.reason);
    else
        said_discarded_.clear();
    say(entry.first, target, change, flapped);
    if (change != HealthState::Change::none)
        on_change_(entry.first);
}

void Health::say(const BackendKey& backend, const Target& target, HealthState::Change change, bool flapped)
{
    const std::string name = fmt::format("backend {} of {}", backend.endpoint.to_string(), backend.service);
    const auto checks = [](std::string_view which, std::uint32_t count) {
        return fmt::format("{} {} {} in a row", count, which, count == 1 ? "check" : "checks");
    };
    const HealthState& state = target.state;
    if (flapped && !state.flapping())
        log_.info("{} no longer flaps: {}", name, checks("good", HealthState::steady_after));
    else if (!flapped && state.flapping())
        log_.warning("{} flaps: it is down for the {}rd time without {} between, now by: {}; it is up again after {}, "
                     "after more with each further time, which is not told here until it is over",
            name, HealthState::falls_until_flapping, checks("good", HealthState::steady_after), state.last_failure(),
            checks("good", state.needed(target.how.rise)));
    else if (flapped || change == HealthState::Change::none)
        return;
    else if (change == HealthState::Change::went_up)
        log_.info("{} is up: {}", name, checks("good", target.how.rise));
    else
        log_.warning("{} is down: {} ({})", name, state.last_failure(), checks("failed", target.how.fall));
}

// Once for all backends, until a check counts again.
void Health::say_discarded(const BackendKey& backend, const std::string& reason)
{
    if (reason == said_discarded_)
        return;
    said_discarded_ = reason;
    log_.warning("health checks are discarded, backends stay as they were: {} (first: {} of {})", reason,
        backend.endpoint.to_string(), backend.service);
}

} // namespace featherlb
