// SPDX-License-Identifier: Apache-2.0
#include "daemon/agents.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "base/text.h"
#include "config/values.h"
#include "daemon/spread.h"

namespace featherlb {

namespace {

using namespace std::chrono_literals;
using Duration = Loop::Clock::duration;

constexpr Duration first_within =
    1s; // after it began to be watched; not an interval, that would be long to know nothing

std::string name_of(const BackendKey& backend)
{
    return fmt::format("the agent of {} of {}", backend.endpoint.to_string(), backend.service);
}

std::string behind(const std::string& reason)
{
    return reason.empty() ? "" : ": " + quote(reason);
}

} // namespace

Agents::Agents(Loop& loop, Log& log, AskAgent ask, std::function<void()> on_change)
    : loop_(loop), log_(log), ask_(std::move(ask)), on_change_(std::move(on_change)), lateness_(loop)
{
}

void Agents::adopt(std::set<BackendKey> down, std::set<BackendKey> drained)
{
    adopted_down_ = std::move(down);
    adopted_drained_ = std::move(drained);
}

void Agents::watch(const std::map<BackendKey, AgentConfig>& targets)
{
    std::erase_if(targets_, [&targets](const auto& entry) { return !targets.contains(entry.first); });
    LookPeriod look;
    for (const auto& [backend, how] : targets) {
        look.add(how.timeout);
        const auto [entry, is_new] = targets_.try_emplace(backend);
        Target& target = entry->second;
        if (is_new) {
            target.state = AgentState(adopted_down_.contains(backend), adopted_drained_.contains(backend));
            target.heard = loop_.now();
        } else if (target.how == how) {
            continue;
        }
        target.how = how;
        begin(*entry);
    }
    adopted_down_.clear();
    adopted_drained_.clear();
    lateness_.watch(look.get());
}

std::set<BackendKey> Agents::down() const
{
    std::set<BackendKey> all = adopted_down_;
    for (const auto& [backend, target] : targets_) {
        if (target.state.down())
            all.insert(backend);
    }
    return all;
}

std::set<BackendKey> Agents::drained() const
{
    std::set<BackendKey> all = adopted_drained_;
    for (const auto& [backend, target] : targets_) {
        if (target.state.drained())
            all.insert(backend);
    }
    return all;
}

std::map<BackendKey, std::uint32_t> Agents::percents() const
{
    struct Sum {
        std::uint64_t percents = 0;
        std::uint64_t count = 0;
    };
    std::map<std::string_view, Sum> sums;
    for (const auto& [backend, target] : targets_) {
        const AgentState& state = target.state;
        if (state.percent() && !state.down() && !state.drained()) {
            sums[backend.service].percents += *state.percent();
            ++sums[backend.service].count;
        }
    }
    std::map<BackendKey, std::uint32_t> all;
    for (const auto& [backend, target] : targets_) {
        const AgentState& state = target.state;
        const auto sum = sums.find(backend.service);
        if (state.percent())
            all.emplace(backend, *state.percent());
        else if ((state.silent() || !state.heard()) && sum != sums.end())
            all.emplace(backend,
                static_cast<std::uint32_t>((sum->second.percents + sum->second.count / 2) / sum->second.count));
    }
    return all;
}

const AgentState* Agents::find(const BackendKey& backend) const
{
    const auto target = targets_.find(backend);
    return target == targets_.end() ? nullptr : &target->second.state;
}

void Agents::begin(Targets::value_type& entry)
{
    const AgentConfig& how = entry.second.how;
    const auto ask = [this, &entry] {
        return ask_({entry.first.endpoint.address, entry.second.how.port}, entry.second.how,
            [this, &entry](const AgentAnswer& answer) { end(entry, answer); });
    };
    const auto timed_out = [this, &entry](std::string reason) {
        end(entry, {CheckResult::Kind::failed, {}, std::move(reason)});
    };
    entry.second.round =
        std::make_unique<Round>(loop_, lateness_, Round::Times{how.interval, how.timeout}, ask, timed_out);
    entry.second.round->start(place_in(std::min<Duration>(how.interval, first_within), entry.first));
}

void Agents::end(Targets::value_type& entry, const AgentAnswer& answer)
{
    const AgentAnswer said = answer; // may lie in the question
    Target& target = entry.second;
    const bool late = target.round->end();
    if (said.kind == CheckResult::Kind::good)
        return take(entry, said.report);
    if (late || said.kind == CheckResult::Kind::discarded)
        return target.state.discard();
    fail(entry, said.reason);
}

void Agents::take(Targets::value_type& entry, const AgentReport& report)
{
    auto& [backend, target] = entry;
    const AgentState before = target.state;
    const bool changed = target.state.take(report);
    target.heard = loop_.now();
    if (before.failed_in_a_row() > 0)
        log_.info("{} reports again", name_of(backend));
    say_decisions(backend, before, target.state);
    say_ignored(backend, target, report);
    if (changed)
        on_change_();
}

void Agents::fail(Targets::value_type& entry, const std::string& reason)
{
    auto& [backend, target] = entry;
    const bool told = target.state.failed_in_a_row() > 0 && target.state.last_failure() == reason;
    target.state.fail(reason);
    if (!told)
        log_.warning("{} does not report: {}", name_of(backend), reason);
    // A daemon that was stopped itself asks once more before it holds that against somebody.
    if (loop_.now() - target.heard < target.how.hold || target.state.failed_in_a_row() < 2 || target.state.silent())
        return;
    const bool changed = target.state.grow_silent();
    log_.warning("{} has been silent for {}: its backend counts as the others of the service do on average",
        name_of(backend), write_duration(target.how.hold));
    if (changed)
        on_change_();
}

void Agents::say_decisions(const BackendKey& backend, const AgentState& before, const AgentState& now)
{
    const std::string name = name_of(backend);
    if (now.down() && !before.down())
        log_.warning("{} takes it down{}", name, behind(now.reason()));
    else if (before.down() && !now.down())
        log_.info("{} takes it up", name);
    if (now.drained() && !before.drained())
        log_.warning("{} drains it ({}){}", name, now.word(), behind(now.reason()));
    else if (before.drained() && !now.drained())
        log_.info("{} ends its drain", name);
}

void Agents::say_ignored(const BackendKey& backend, Target& target, const AgentReport& report)
{
    if (report.has_maxconn && !std::exchange(target.told_maxconn, true))
        log_.info("{} says maxconn, which is not used here", name_of(backend));
    if (report.above_most && !std::exchange(target.told_above_most, true))
        log_.info(
            "{} says more than {}%, which counts as {}%", name_of(backend), most_agent_percent, most_agent_percent);
}

} // namespace featherlb
