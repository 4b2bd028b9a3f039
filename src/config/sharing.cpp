// SPDX-License-Identifier: Apache-2.0
#include "config/sharing.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "base/text.h"
#include "config/values.h"

namespace featherlb {

namespace {

using namespace std::chrono_literals;

constexpr std::string_view agent_examples = "agent: {port: 9999}, or agent: none";
constexpr std::size_t longest_send = 255;
constexpr DurationLimits hold_limits{1s, 24h};
constexpr DurationLimits slow_start_limits{1s, 1h};

void read_send(const Node& node, AgentConfig& agent, Problems& problems)
{
    auto text = read_text(node, "agent.send", problems);
    if (text && text->size() > longest_send)
        problems.add(node.place, fmt::format("agent.send is {} bytes long", text->size()),
            fmt::format("use at most {}", longest_send));
    else if (text)
        agent.send = *std::move(text);
}

void read_times(const Section& section, AgentConfig& agent, Problems& problems)
{
    if (const Node* node = section.find("interval"))
        agent.interval =
            read_milliseconds(*node, "agent.interval", ask_interval_limits, problems).value_or(agent.interval);
    agent.timeout = std::min(agent.timeout, agent.interval);
    if (const Node* node = section.find("timeout")) {
        agent.timeout = read_milliseconds(*node, "agent.timeout", ask_timeout_limits, problems).value_or(agent.timeout);
        if (agent.timeout > agent.interval)
            problems.add(node->place,
                fmt::format("agent.timeout, {}, is longer than agent.interval, {}", write_duration(agent.timeout),
                    write_duration(agent.interval)),
                fmt::format("write timeout: {} or less, or a longer interval", write_duration(agent.interval)));
    }
    agent.hold = std::max(agent.hold, 3 * agent.interval);
    if (const Node* node = section.find("hold")) {
        agent.hold = read_milliseconds(*node, "agent.hold", hold_limits, problems).value_or(agent.hold);
        if (agent.hold < agent.interval)
            problems.add(node->place,
                fmt::format("agent.hold, {}, is shorter than agent.interval, {}: every report would be too old",
                    write_duration(agent.hold), write_duration(agent.interval)),
                fmt::format("write hold: {}, or a shorter interval", write_duration(3 * agent.interval)));
    }
}

AgentConfig read_agent(const Node& node, Problems& problems)
{
    AgentConfig agent;
    const Section section(node, keys::agent, agent_examples, problems);
    if (const Node* port = section.require("port", "port: 9999"))
        agent.port = static_cast<std::uint16_t>(
            read_number(*port, "agent.port", {1, 65535}, Quotes::refused, problems).value_or(1));
    read_times(section, agent, problems);
    if (const Node* send = section.find("send"))
        read_send(*send, agent, problems);
    return agent;
}

// Its slot table is in proportion to any weights, or the kernel divides by them.
bool follows_percentages(Algorithm algorithm)
{
    return picks_by_load(algorithm) || algorithm == Algorithm::resource_based ||
           algorithm == Algorithm::weighted_round_robin || algorithm == Algorithm::random;
}

} // namespace

SharingConfig read_sharing(const Section& section, const SharingConfig& otherwise, Problems& problems)
{
    SharingConfig sharing = otherwise;
    if (const Node* slow_start = section.find("slow_start")) {
        if (says_none(*slow_start))
            sharing.slow_start = 0s;
        else
            sharing.slow_start = read_seconds(*slow_start, "slow_start", slow_start_limits, problems).value_or(0s);
    }
    if (const Node* agent = section.find("agent")) {
        if (says_none(*agent))
            sharing.agent.reset();
        else
            sharing.agent = read_agent(*agent, problems);
    }
    return sharing;
}

void check_sharing(const Section& section, Algorithm algorithm, const SharingConfig& sharing, Problems& problems)
{
    if (algorithm == Algorithm::round_robin && sharing.slow_start > 0s)
        problems.add(section.place("slow_start"),
            fmt::format("round-robin gives every backend the same share, and slow_start is {}",
                write_duration(sharing.slow_start)),
            "write algorithm: weighted-round-robin, or slow_start: none");
    if (algorithm == Algorithm::resource_based && !sharing.agent)
        problems.add(section.place(section.has("agent") ? "agent" : "algorithm"),
            "resource-based goes by what agents report, and the service has no agent",
            fmt::format("add {}: where each backend's agent listens", agent_example));
    if (sharing.agent && !follows_percentages(algorithm))
        problems.add(section.place("agent"),
            fmt::format("{} does not go by the percentages of agents", to_string(algorithm)),
            "write algorithm: resource-based (weighted-round-robin, random and those by load do, too), or agent: none");
}

} // namespace featherlb
