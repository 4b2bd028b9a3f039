// SPDX-License-Identifier: Apache-2.0
#include "daemon/drains.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "config/values.h"

namespace featherlb {

namespace {

// A packet that was on its way when its backend began to drain is in the table by then.
constexpr std::chrono::seconds margin{1};

} // namespace

void Drains::configure(const Config& config)
{
    // What this configuration removes drains only after this.
    std::set<std::string> used = std::move(configured_);
    configured_.clear();
    for (const auto& [id, drain] : drains_)
        used.insert(drain.key.service);
    std::erase_if(limits_, [&used](const auto& entry) { return !used.contains(entry.first); });
    for (const ServiceConfig& service : config.services) {
        configured_.insert(service.name);
        limits_[service.name] = service.failure.drain_timeout;
    }
    default_limit_ = config.drain_timeout;
}

void Drains::follow(const Tables& tables)
{
    std::erase_if(drains_, [&tables](const auto& entry) {
        const auto row = tables.backends.find(entry.first);
        return row == tables.backends.end() || !row->second.draining;
    });
    for (const auto& [id, row] : tables.backends) {
        const auto service = tables.services.find(row.service);
        if (row.draining && service != tables.services.end())
            drains_.try_emplace(id, Drain{loop_.now(), {service->second.name, row.endpoint}, row.reset && !row.down});
    }
}

std::optional<std::chrono::seconds> Drains::limit(const Drain& drain) const
{
    if (const auto own = own_limits_.find(drain.key); own != own_limits_.end())
        return own->second;
    const auto configured = limits_.find(drain.key.service);
    return configured == limits_.end() ? default_limit_ : configured->second;
}

std::optional<Loop::Clock::time_point> Drains::deadline(const Drain& drain) const
{
    const auto time = limit(drain);
    return time ? std::optional(drain.since + *time) : std::nullopt;
}

std::set<BackendId> Drains::overdue() const
{
    std::set<BackendId> all;
    for (const auto& [id, drain] : drains_) {
        const auto end = deadline(drain);
        if (drain.over || (end && *end <= loop_.now()))
            all.insert(id);
    }
    return all;
}

std::optional<Loop::Clock::time_point> Drains::next_deadline() const
{
    std::optional<Loop::Clock::time_point> next;
    for (const auto& [id, drain] : drains_) {
        const auto end = deadline(drain);
        if (!drain.over && end && *end > loop_.now())
            next = std::min(next.value_or(*end), *end);
    }
    return next;
}

std::set<BackendId> Drains::unreferenced(const FlowCounts& counts) const
{
    std::set<BackendId> free;
    if (counts.pass == 0)
        return free;
    for (const auto& [id, drain] : drains_) {
        if (counts.started >= drain.since + margin && id < counts.references.size() && counts.references[id] == 0)
            free.insert(id);
    }
    return free;
}

std::vector<std::string> Drains::newly_over(const Tables& have, const Tables& want) const
{
    std::vector<std::string> lines;
    for (const auto& [id, drain] : drains_) {
        const auto before = have.backends.find(id);
        const auto after = want.backends.find(id);
        const auto time = limit(drain);
        if (before == have.backends.end() || after == want.backends.end() || !time || !after->second.draining ||
            before->second.reset || !after->second.reset || after->second.down)
            continue;
        lines.push_back(fmt::format("backend {} of {} has drained for {}: what connections are left end now",
            after->second.endpoint.to_string(), drain.key.service, write_duration(*time)));
    }
    return lines;
}

std::string Drains::describe(BackendId id) const
{
    const auto drain = drains_.find(id);
    if (drain == drains_.end())
        return {};
    const auto end = deadline(drain->second);
    if (drain->second.over || (end && *end <= loop_.now()))
        return "; its time is over, and its connections end";
    if (!end)
        return {};
    const auto left = std::chrono::ceil<std::chrono::seconds>(*end - loop_.now());
    return fmt::format("; its connections end in {}", write_duration(left));
}

} // namespace featherlb
