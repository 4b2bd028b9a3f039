// SPDX-License-Identifier: Apache-2.0
// The keys `backup`, `slow_start`, `agent` and `agent_port`.
#include "unit/config_cases.h"

namespace featherlb::config_test {
namespace {

using namespace std::chrono_literals;

const std::string resource = "algorithm: resource-based\n    ";

SharingConfig sharing_of(const std::string& more, const std::string& defaults = "")
{
    return sound(service_saying(more, defaults)).services.at(0).sharing;
}

TEST(ConfigSharing, is_off_by_default)
{
    const ServiceConfig service = sound(web).services.at(0);
    EXPECT_EQ(service.sharing.slow_start, 0s);
    EXPECT_FALSE(service.sharing.agent);
    EXPECT_FALSE(service.backends.at(0).backup);
    EXPECT_FALSE(service.backends.at(0).agent_port);
}

TEST(ConfigSharing, slow_start_is_a_duration_or_none)
{
    EXPECT_EQ(sharing_of("slow_start: 30s").slow_start, 30s);
    EXPECT_EQ(sharing_of("slow_start: none").slow_start, 0s);
}

TEST(ConfigSharing, slow_start_of_the_defaults_can_be_taken_back)
{
    const std::string defaults = "defaults: {slow_start: 1m}\n";
    EXPECT_EQ(sharing_of("syn_failover: true", defaults).slow_start, 60s);
    EXPECT_EQ(sharing_of("slow_start: none", defaults).slow_start, 0s);
    EXPECT_EQ(sharing_of("algorithm: round-robin\n    slow_start: none", defaults).slow_start, 0s);
}

TEST(ConfigSharing, slow_start_is_refused_where_all_shares_are_the_same)
{
    expect_problem(service_saying("algorithm: round-robin\n    §slow_start: 30s"),
        "round-robin gives every backend the same share", "write algorithm: weighted-round-robin, or slow_start: none");
    expect_problem("defaults: {slow_start: 30s}\nservices:\n  - §name: web\n    listen: \"*:80/tcp\"\n"
                   "    algorithm: round-robin\n    backends: [{address: \"10.0.0.1:80\"}]\n",
        "slow_start is 30s", "slow_start: none");
    expect_problem(service_saying("slow_start: §500ms"), "must be from 1s to 1h", "30s");
    expect_problem(service_saying("slow_start: §30"), "has no unit", "write 30s");
}

TEST(ConfigSharing, an_agent_has_a_port_and_defaults)
{
    const auto agent = sharing_of(resource + "agent: {port: 9999}").agent;
    ASSERT_TRUE(agent);
    EXPECT_EQ(*agent, (AgentConfig{.port = 9999, .interval = 2s, .timeout = 1s, .hold = 30s, .send = ""}));
}

TEST(ConfigSharing, every_setting_of_an_agent)
{
    const auto agent =
        sharing_of(resource + R"(agent: {port: 1, interval: 500ms, timeout: 200ms, hold: 5s, send: "state\n"})").agent;
    ASSERT_TRUE(agent);
    EXPECT_EQ(*agent, (AgentConfig{.port = 1, .interval = 500ms, .timeout = 200ms, .hold = 5s, .send = "state\n"}));
}

TEST(ConfigSharing, times_of_an_agent_fit_its_interval_by_themselves)
{
    const auto quick = sharing_of(resource + "agent: {port: 1, interval: 200ms}").agent;
    EXPECT_EQ(quick->timeout, 200ms);
    const auto slow = sharing_of(resource + "agent: {port: 1, interval: 1m}").agent;
    EXPECT_EQ(slow->hold, 3min);
}

TEST(ConfigSharing, an_agent_is_wrong_without_a_port_or_with_impossible_times)
{
    expect_problem(service_saying(resource + "agent: §{interval: 2s}"), "agent has no \"port\"", "add port: 9999");
    expect_problem(service_saying(resource + "agent: §yes"), "agent must be a mapping", "agent: {port: 9999}");
    expect_problem(service_saying(resource + "agent: {port: 1, timeout: §3s}"), "longer than agent.interval, 2s",
        "write timeout: 2s or less");
    expect_problem(
        service_saying(resource + "agent: {port: 1, hold: §1s}"), "shorter than agent.interval, 2s", "write hold: 6s");
    expect_problem(service_saying(resource + "agent: {port: 1, send: §\"" + std::string(256, 'x') + "\"}"),
        "agent.send is 256 bytes long", "at most 255");
    expect_problem(service_saying(resource + "agent: {§prot: 1, port: 1}"), "unknown key", "did you mean \"port\"?");
}

TEST(ConfigSharing, agents_and_algorithms_must_go_together)
{
    expect_problem(service_saying("§algorithm: resource-based"), "the service has no agent", "agent: {port: 9999}");
    expect_problem(service_saying("algorithm: resource-based\n    §agent: none", "defaults: {agent: {port: 1}}\n"),
        "the service has no agent", "agent: {port: 9999}");
    expect_problem(service_saying("§agent: {port: 1}"), "maglev does not go by the percentages of agents",
        "write algorithm: resource-based");
    for (const std::string algorithm : {"weighted-round-robin", "random", "resource-based"})
        EXPECT_TRUE(sharing_of("algorithm: " + algorithm + "\n    agent: {port: 1}").agent) << algorithm;
    EXPECT_FALSE(sharing_of("agent: none", "defaults: {agent: {port: 1}}\n").agent);
}

TEST(ConfigSharing, a_backend_may_have_a_port_of_its_own_for_its_agent)
{
    const std::string backends = R"([{address: "10.0.0.1:80", agent_port: 7}, {address: "10.0.0.2:80"}])";
    const Config config = sound(service_with("\"*:80/tcp\"", backends, "    " + resource + "agent: {port: 9}\n"));
    EXPECT_EQ(config.services[0].backends[0].agent_port, 7);
    EXPECT_FALSE(config.services[0].backends[1].agent_port);
    expect_problem(with_backend("{address: \"10.0.0.1:80\", §agent_port: 7}"),
        "agent_port says nothing without the service's agent", "agent: {port: 9999}");
}

TEST(ConfigSharing, a_backup_needs_somebody_to_stand_in_for)
{
    const Config config =
        sound(service_with("\"*:80/tcp\"", R"([{address: "10.0.0.1:80"}, {address: "10.0.0.2:80", backup: true}])"));
    EXPECT_FALSE(config.services[0].backends[0].backup);
    EXPECT_TRUE(config.services[0].backends[1].backup);
    expect_problem(service_with("\"*:80/tcp\"", "§[{address: \"10.0.0.1:80\", backup: true}]"),
        "all backends are backups", "remove backup: true");
    expect_problem(with_backend("{address: \"10.0.0.1:80\", backup: §yes}"), "backup", "true");
}

} // namespace
} // namespace featherlb::config_test
