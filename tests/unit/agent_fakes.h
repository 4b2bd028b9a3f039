// SPDX-License-Identifier: Apache-2.0
// Agents in memory: what each address says, refuses, or is silent about.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "daemon/agent_asker.h"
#include "unit/daemon_fakes.h"

namespace featherlb {

// Those that are not named say "100%".
class FakeAgents {
public:
    explicit FakeAgents(Loop& loop) : loop_(loop) {}
    AskAgent ask()
    {
        return [this](const Endpoint& agent, const AgentConfig& how, AgentDone done) {
            asked.push_back(agent);
            last_how = how;
            return std::make_unique<Asked>(*this, agent.address.to_string(), std::move(done));
        };
    }

    std::map<std::string, std::string> says; // lines, by address
    std::set<std::string> refuses;
    std::set<std::string> mute; // connections open, and nothing comes
    std::vector<Endpoint> asked;
    AgentConfig last_how;

private:
    struct Asked : Probe {
        Asked(FakeAgents& fakes, std::string address, AgentDone called)
            : owner(fakes), name(std::move(address)), done(std::move(called))
        {
            if (!owner.mute.contains(name))
                timer = owner.loop_.after(std::chrono::milliseconds(1), [this] { answer(); });
        }
        void look() override {}
        std::string waits_for() const override { return "the end of a line"; }
        void answer()
        {
            AgentAnswer answer;
            const auto said = owner.says.find(name);
            if (owner.refuses.contains(name)) {
                answer = {CheckResult::Kind::failed, {}, "connection refused"};
            } else {
                auto line = *judge_agent(said == owner.says.end() ? "100%" : said->second, true);
                answer = line ? AgentAnswer{CheckResult::Kind::good, *line, {}}
                              : AgentAnswer{CheckResult::Kind::failed, {}, "it says " + line.error()};
            }
            const AgentDone called = std::move(done);
            called(answer);
        }
        FakeAgents& owner;
        std::string name;
        AgentDone done;
        Handle timer;
    };
    Loop& loop_;
};

} // namespace featherlb
