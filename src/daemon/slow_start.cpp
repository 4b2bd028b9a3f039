// SPDX-License-Identifier: Apache-2.0
#include "daemon/slow_start.h"

#include <algorithm>

namespace featherlb {

namespace {

constexpr std::int64_t first_percent = 10;
constexpr std::int64_t step_percent = 10;
constexpr std::int64_t steps = (100 - first_percent) / step_percent;

// Those that take connections by the tables.
std::set<BackendKey> taking_of(const Tables& tables)
{
    std::set<BackendKey> taking;
    for (const auto& [id, row] : tables.backends) {
        const auto service = tables.services.find(row.service);
        if (row.up && !row.draining && service != tables.services.end())
            taking.insert({service->second.name, row.endpoint});
    }
    return taking;
}

} // namespace

std::uint32_t ramp_percent(std::chrono::nanoseconds elapsed, std::chrono::nanoseconds duration)
{
    if (elapsed >= duration)
        return 100;
    const std::int64_t step = std::max<std::int64_t>(elapsed.count(), 0) * steps / duration.count();
    return static_cast<std::uint32_t>(first_percent + step * step_percent);
}

std::optional<std::chrono::nanoseconds> next_ramp_step(
    std::chrono::nanoseconds elapsed, std::chrono::nanoseconds duration)
{
    if (elapsed >= duration)
        return std::nullopt;
    const std::int64_t step = std::max<std::int64_t>(elapsed.count(), 0) * steps / duration.count() + 1;
    return std::chrono::nanoseconds{(step * duration.count() + steps - 1) / steps};
}

SlowStart SlowStart::next(const Config& config, const std::set<BackendKey>& taking, const Tables& have, Time now) const
{
    SlowStart next;
    next.taking_ = taking;
    std::map<std::string_view, std::chrono::seconds> durations;
    for (const ServiceConfig& service : config.services) {
        if (service.sharing.slow_start.count() == 0)
            continue;
        next.services_.insert(service.name);
        durations.emplace(service.name, service.sharing.slow_start);
    }
    if (durations.empty())
        return next;
    const std::set<BackendKey> took = taking_of(have);
    for (const BackendKey& backend : taking) {
        const auto duration = durations.find(backend.service);
        if (duration == durations.end())
            continue;
        const auto ramp = ramps_.find(backend);
        if (ramp != ramps_.end() && now < ramp->second.since + duration->second)
            next.ramps_.emplace(backend, Ramp{ramp->second.since, duration->second});
        else if (services_.contains(backend.service) && !taking_.contains(backend) && !took.contains(backend))
            next.ramps_.emplace(backend, Ramp{now, duration->second});
    }
    return next;
}

std::map<BackendKey, std::uint32_t> SlowStart::percents(Time now) const
{
    std::map<BackendKey, std::uint32_t> below;
    for (const auto& [backend, ramp] : ramps_) {
        if (const std::uint32_t percent = ramp_percent(now - ramp.since, ramp.duration); percent < 100)
            below.emplace(backend, percent);
    }
    return below;
}

std::optional<SlowStart::Time> SlowStart::next_step(Time now) const
{
    std::optional<Time> next;
    for (const auto& [backend, ramp] : ramps_) {
        if (const auto step = next_ramp_step(now - ramp.since, ramp.duration))
            next = std::min(next.value_or(ramp.since + *step), ramp.since + *step);
    }
    return next;
}

std::uint32_t SlowStart::percent(const BackendKey& backend, Time now) const
{
    const auto ramp = ramps_.find(backend);
    return ramp == ramps_.end() ? 100 : ramp_percent(now - ramp->second.since, ramp->second.duration);
}

std::chrono::seconds SlowStart::left(const BackendKey& backend, Time now) const
{
    const auto ramp = ramps_.find(backend);
    if (ramp == ramps_.end())
        return {};
    const auto left = ramp->second.since + ramp->second.duration - now;
    return std::max(std::chrono::ceil<std::chrono::seconds>(left), std::chrono::seconds{0});
}

} // namespace featherlb
