// SPDX-License-Identifier: Apache-2.0
// Health: asks every backend that has a check, again and again, and keeps who is down. Checks of many backends are
// spread over their interval; the next one of a backend begins an interval after the last one began. A backend counts
// as up until `fall` checks have failed. From the first one that fails until it is up again the interval may be a
// shorter one.
//
// A backend that flaps (health_state.h) is named in the log when that begins and when it is over, not at each change.
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
#include "daemon/round.h"
#include "plan/tables.h"

namespace featherlb {

class Health {
public:
    // `on_change`: this backend went up or down. It must not call watch().
    Health(Loop& loop, Log& log, Prober& prober, std::function<void(const BackendKey&)> on_change);

    // For a daemon that adopts tables: who was down, to be told before the first watch().
    void adopt(std::set<BackendKey> down) { adopted_ = std::move(down); }
    // From now on these backends are checked, and no others. Those that were checked before keep what is known of them.
    void watch(const std::map<BackendKey, Check>& targets);

    // Something else has seen this backend fail: unless its checks say so already, it is asked at once, beside its
    // turns. The answer counts, not what was seen.
    void ask_soon(const BackendKey& backend);

    [[nodiscard]] std::set<BackendKey> down() const;
    // Nothing: it is not checked.
    [[nodiscard]] const HealthState* find(const BackendKey& backend) const;

private:
    struct Target {
        Check how;
        HealthState state;
        std::unique_ptr<Round> round;
    };
    using Targets = std::map<BackendKey, Target>;

    void begin(Targets::value_type& target);
    void end(Targets::value_type& target, CheckResult result);
    void say(const BackendKey& backend, const Target& target, HealthState::Change change, bool flapped);
    void say_discarded(const BackendKey& backend, const std::string& reason);

    Loop& loop_;
    Log& log_;
    Prober& prober_;
    std::function<void(const BackendKey&)> on_change_;
    Lateness lateness_;
    std::set<BackendKey> adopted_;
    Targets targets_;            // their places do not change while they are there
    std::string said_discarded_; // why, as the log has it last; empty after a check that counted
};

} // namespace featherlb
