// SPDX-License-Identifier: Apache-2.0
// SlowStart: since when each backend that came up lately takes connections, and how much of its share it has by now:
// from 10 percent to 100, in steps of 10, evenly over `slow_start`.
//
// A backend starts slowly when it takes connections and did not before: its check or agent took it up or ended its
// drain, its weight was 0, or a reload added it to a service that there was. Not those that a daemon finds when it
// starts (a ramp that was under way ends), not those of a service that is new or had no `slow_start` until now, and not
// one that was used until now because of panic. `slow_start` may change at any time: the new duration holds for ramps
// under way.
//
// Pure: a value is followed by the next one, which counts from when it is carried out.
#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "base/loop.h"
#include "plan/tables.h"

namespace featherlb {

// Percent of its share that a backend has `elapsed` after it came up.
[[nodiscard]] std::uint32_t ramp_percent(std::chrono::nanoseconds elapsed, std::chrono::nanoseconds duration);
// When the percentage changes next; nothing: it is at 100.
[[nodiscard]] std::optional<std::chrono::nanoseconds> next_ramp_step(
    std::chrono::nanoseconds elapsed, std::chrono::nanoseconds duration);

class SlowStart {
public:
    using Time = Loop::Clock::time_point;

    // What follows this when these are configured and take connections. `have`: the tables until now.
    [[nodiscard]] SlowStart next(
        const Config& config, const std::set<BackendKey>& taking, const Tables& have, Time now) const;

    // For World: what is below 100.
    [[nodiscard]] std::map<BackendKey, std::uint32_t> percents(Time now) const;
    [[nodiscard]] std::optional<Time> next_step(Time now) const;
    // 100: it has its full share.
    [[nodiscard]] std::uint32_t percent(const BackendKey& backend, Time now) const;
    // How long it still takes to full share; zero: it has it.
    [[nodiscard]] std::chrono::seconds left(const BackendKey& backend, Time now) const;

private:
    struct Ramp {
        Time since;
        std::chrono::seconds duration{0};
    };
    std::set<std::string> services_; // that were there, and let backends start slowly
    std::set<BackendKey> taking_;
    std::map<BackendKey, Ramp> ramps_;
};

} // namespace featherlb
