// SPDX-License-Identifier: Apache-2.0
// Asking an agent, without holding up the loop: open a TCP connection, send what is to be sent, read one line. How long
// to wait, and what to make of it, is agents.h's part. A function, so that unit tests can put another in its place.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/ip.h"
#include "base/loop.h"
#include "config/config.h"
#include "daemon/agent_report.h"
#include "daemon/prober.h"

namespace featherlb {

struct AgentAnswer {
    CheckResult::Kind kind = CheckResult::Kind::good;
    AgentReport report; // where it is good
    std::string reason; // where it is not
};

// Calls `done` once at most, from the loop or from look(), not before it has returned. The question may be destroyed in
// there. `agent` is asked at its own port.
using AgentDone = std::function<void(const AgentAnswer&)>;
using AskAgent = std::function<std::unique_ptr<Probe>(const Endpoint& agent, const AgentConfig& how, AgentDone done)>;

[[nodiscard]] AskAgent make_agent_asker(Loop& loop);

} // namespace featherlb
