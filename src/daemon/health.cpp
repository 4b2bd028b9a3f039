// SPDX-License-Identifier: Apache-2.0
#include "daemon/health.h"

#include <algorithm>
#include <utility>

#include "config/values.h"

namespace featherlb {

namespace {

using namespace std::chrono_literals;
using Duration = Loop::Clock::duration;

constexpr Duration shortest_look = 25ms;
constexpr Duration longest_look = 250ms;

// The first check of a backend, between now and one interval later: always the same place, so that neither a start
// nor a reload asks all at once.
Duration place_in(Duration interval, const BackendKey& backend)
{
    constexpr int parts = 1024;
    const std::size_t hash = std::hash<Endpoint>{}(backend.endpoint) ^ std::hash<std::string>{}(backend.service) << 1;
    return interval / parts * static_cast<int>(hash * 0x9e3779b97f4a7c15u >> 54);
}

} // namespace

Health::Health(Loop& loop, Log& log, Prober& prober, std::function<void()> on_change)
    : loop_(loop), log_(log), prober_(prober), on_change_(std::move(on_change)), lateness_(loop)
{
}

void Health::watch(const std::map<BackendKey, HealthConfig>& targets)
{
    std::erase_if(targets_, [&targets](const auto& entry) { return !targets.contains(entry.first); });
    Duration look = longest_look;
    for (const auto& [backend, how] : targets) {
        look = std::clamp<Duration>(how.timeout / 4, shortest_look, look);
        const auto [entry, is_new] = targets_.try_emplace(backend);
        Target& target = entry->second;
        if (is_new)
            target.state = HealthState(adopted_.contains(backend));
        else if (target.how == how)
            continue;
        target.how = how;
        target.probe.reset();
        schedule(*entry, loop_.now() + place_in(how.interval, backend));
    }
    adopted_.clear();
    lateness_.watch(targets.empty() ? Duration::zero() : look);
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

void Health::schedule(Targets::value_type& entry, Loop::Clock::time_point turn)
{
    entry.second.turn = turn;
    entry.second.timer = loop_.after(turn - loop_.now(), [this, &entry] { begin(entry); });
}

// Checks that should have begun long ago, because the daemon was stopped, wait for their next turn instead of all
// beginning now.
void Health::begin(Targets::value_type& entry)
{
    Target& target = entry.second;
    const auto now = loop_.now();
    const auto interval = target.how.interval;
    lateness_.note(target.turn);
    if (now - target.turn > interval / 2)
        return schedule(entry, target.turn + ((now - target.turn) / interval + 1) * interval);
    Endpoint asked = entry.first.endpoint;
    asked.port = target.how.port.value_or(asked.port);
    target.began = now;
    target.timer = loop_.after(target.how.timeout, [this, &entry] { on_timeout(entry); });
    target.probe = prober_.start(asked, target.how, [this, &entry](const CheckResult& result) { end(entry, result); });
}

void Health::on_timeout(Targets::value_type& entry)
{
    Target& target = entry.second;
    lateness_.note(target.began + target.how.timeout);
    target.probe->look();
    if (target.probe)
        end(entry, {CheckResult::Kind::failed, fmt::format("timeout after {}, waiting for {}",
                                                   write_duration(target.how.timeout), target.probe->waits_for())});
}

void Health::end(Targets::value_type& entry, CheckResult result)
{
    Target& target = entry.second;
    target.probe.reset();
    const auto now = loop_.now();
    const bool late = lateness_.since(target.began) > target.how.timeout / 2;
    if (late && result.kind == CheckResult::Kind::failed)
        result = {CheckResult::Kind::discarded, "the daemon itself was late"};
    schedule(entry, std::max(target.turn + target.how.interval, now));
    const HealthState::Change change = target.state.take(result, target.how.rise, target.how.fall);
    if (result.kind == CheckResult::Kind::discarded)
        say_discarded(entry.first, result.reason);
    else
        said_discarded_.clear();
    if (change == HealthState::Change::none)
        return;
    say(entry.first, target, change);
    on_change_();
}

void Health::say(const BackendKey& backend, const Target& target, HealthState::Change change)
{
    const std::string name = fmt::format("backend {} of {}", backend.endpoint.to_string(), backend.service);
    if (change == HealthState::Change::went_up)
        log_.info("{} is up: {} good {} in a row", name, target.how.rise, target.how.rise == 1 ? "check" : "checks");
    else
        log_.warning("{} is down: {} ({} failed {} in a row)", name, target.state.last_failure(), target.how.fall,
            target.how.fall == 1 ? "check" : "checks");
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
