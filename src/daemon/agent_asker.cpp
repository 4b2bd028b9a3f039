// SPDX-License-Identifier: Apache-2.0
#include "daemon/agent_asker.h"

#include <utility>

#include "daemon/conversation.h"

namespace featherlb {

namespace {

AgentAnswer answer_of(CheckResult result)
{
    return {result.kind, {}, std::move(result.reason)};
}

AgentAnswer answer_of(AgentLine line)
{
    if (!line)
        return {CheckResult::Kind::failed, {}, "it says " + line.error()};
    return {CheckResult::Kind::good, *std::move(line), {}};
}

Talk<AgentAnswer> talk_of(const AgentConfig& how)
{
    return {.to_send = how.send,
        .waits_for = "the end of a line",
        .prepare = {},
        .connected = {},
        .failed = [](CheckResult result) { return answer_of(std::move(result)); },
        .judge = [](std::string_view received, bool ended, int) -> std::optional<AgentAnswer> {
            auto line = judge_agent(received, ended);
            return line ? std::optional(answer_of(*std::move(line))) : std::nullopt;
        }};
}

} // namespace

AskAgent make_agent_asker(Loop& loop)
{
    return [&loop](const Endpoint& agent, const AgentConfig& how, AgentDone done) {
        return std::make_unique<Conversation<AgentAnswer>>(loop, agent, talk_of(how), std::move(done));
    };
}

} // namespace featherlb
