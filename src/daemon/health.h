// SPDX-License-Identifier: Apache-2.0
// Health: asks every backend that has a check, again and again, and keeps who is down. Checks of many backends are
// spread over their interval; the next one of a backend begins an interval after the last one began. A backend counts
// as up until `fall` checks have failed.
//
// A check that failed while the daemon itself was late by more than half the check's timeout says nothing about the
// backend and is discarded. An answer that is there when the time is up counts, even if the loop had not told of it.
//
// Thread rule: the loop's thread. Loop, log and prober must outlive it.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "base/log.h"
#include "base/loop.h"
#include "daemon/health_state.h"
#include "daemon/lateness.h"
#include "daemon/prober.h"
#include "plan/tables.h"

namespace featherlb {

class Health {
public:
    // `on_change`: a backend went up or down. It must not call watch().
    Health(Loop& loop, Log& log, Prober& prober, std::function<void()> on_change);

    // For a daemon that adopts tables: who was down, to be told before the first watch().
    void adopt(std::set<BackendKey> down) { adopted_ = std::move(down); }
    // From now on these backends are checked, and no others. Those that were checked before keep what is known of them.
    void watch(const std::map<BackendKey, HealthConfig>& targets);

    [[nodiscard]] std::set<BackendKey> down() const;
    // Nothing: it is not checked.
    [[nodiscard]] const HealthState* find(const BackendKey& backend) const;

private:
    struct Target {
        HealthConfig how;
        HealthState state;
        Loop::Clock::time_point turn{};  // when the next check is to begin, or the one that runs was
        Loop::Clock::time_point began{}; // when it did
        Handle timer;
        std::unique_ptr<Probe> probe; // while a check runs
    };
    using Targets = std::map<BackendKey, Target>;

    void schedule(Targets::value_type& target, Loop::Clock::time_point turn);
    void begin(Targets::value_type& target);
    void on_timeout(Targets::value_type& target);
    void end(Targets::value_type& target, CheckResult result);
    void say(const BackendKey& backend, const Target& target, HealthState::Change change);
    void say_discarded(const BackendKey& backend, const std::string& reason);

    Loop& loop_;
    Log& log_;
    Prober& prober_;
    std::function<void()> on_change_;
    Lateness lateness_;
    std::set<BackendKey> adopted_;
    Targets targets_;            // their places do not change while they are there
    std::string said_discarded_; // why, as the log has it last; empty after a check that counted
};

} // namespace featherlb
