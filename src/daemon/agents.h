// SPDX-License-Identifier: Apache-2.0
// Agents: asks the agent of every backend that has one, again and again, and keeps what they say of their backends.
// Questions are spread over their interval, as health checks are; one that failed while the daemon itself was late by
// more than half the timeout is discarded.
//
// An agent that has not reported for `hold` is silent: nothing is known of its backend, which then has the percentage
// that the others of its service have on average (those that report one and take connections; 100 where there are
// none). So has one that has not been heard yet. Neither 100 percent,
// several times the load of the others when all are busy, nor the last percentage for ever, which may have been 0.
//
// Thread rule: the loop's thread. Loop and log must outlive it.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "base/log.h"
#include "base/loop.h"
#include "daemon/agent_asker.h"
#include "daemon/agent_state.h"
#include "daemon/lateness.h"
#include "daemon/round.h"
#include "plan/tables.h"

namespace featherlb {

class Agents {
public:
    // `on_change`: the tables have to change. It must not call watch().
    Agents(Loop& loop, Log& log, AskAgent ask, std::function<void()> on_change);

    // For a daemon that adopts tables: what it finds there, to be told before the first watch().
    void adopt(std::set<BackendKey> down, std::set<BackendKey> drained);
    // From now on these agents are asked, and no others. Those that were asked before keep what is known of them.
    void watch(const std::map<BackendKey, AgentConfig>& targets);

    [[nodiscard]] std::set<BackendKey> down() const;
    [[nodiscard]] std::set<BackendKey> drained() const;
    [[nodiscard]] std::map<BackendKey, std::uint32_t> percents() const;
    // Nothing: it is not asked.
    [[nodiscard]] const AgentState* find(const BackendKey& backend) const;

private:
    struct Target {
        AgentConfig how;
        AgentState state;
        Loop::Clock::time_point heard{}; // when its last report came, or the watching began
        bool told_maxconn = false;
        bool told_above_most = false;
        std::unique_ptr<Round> round;
    };
    using Targets = std::map<BackendKey, Target>;

    void begin(Targets::value_type& target);
    void end(Targets::value_type& target, const AgentAnswer& answer);
    void take(Targets::value_type& target, const AgentReport& report);
    void fail(Targets::value_type& target, const std::string& reason);
    void say_decisions(const BackendKey& backend, const AgentState& before, const AgentState& now);
    void say_ignored(const BackendKey& backend, Target& target, const AgentReport& report);

    Loop& loop_;
    Log& log_;
    AskAgent ask_;
    std::function<void()> on_change_;
    Lateness lateness_;
    std::set<BackendKey> adopted_down_;
    std::set<BackendKey> adopted_drained_;
    Targets targets_; // their places do not change while they are there
};

} // namespace featherlb
