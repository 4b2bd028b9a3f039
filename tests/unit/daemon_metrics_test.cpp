// SPDX-License-Identifier: Apache-2.0
// What the controller counts for those who watch it, and when it says that it is ready.
#include "unit/running_controller.h"

#include <gmock/gmock.h>

namespace featherlb {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

std::string metrics_config_of(const std::string& backends)
{
    return "interfaces: [eth0]\nservices: [{name: web, listen: [\"10.0.0.1:80/tcp\"], algorithm: round-robin, "
           "health: {type: tcp, interval: 1s, timeout: 500ms, fall: 1}, backends: [" +
           backends + "]}]\n";
}
const std::string both =
    metrics_config_of("{name: a, address: \"10.0.0.11:8080\"}, {name: b, address: \"10.0.0.12:8080\"}");
const std::string only_b = metrics_config_of("{name: b, address: \"10.0.0.12:8080\"}");

class DaemonMetrics : public RunningController {
protected:
    LoadReport::Result try_reload(const std::string& text)
    {
        text_ = text;
        LoadReport::Result result = LoadReport::Result::ok;
        controller_->reload([&result](const LoadReport& report) { result = report.result; });
        loop_.advance(2s);
        return result;
    }
    BackendId id_of(const std::string& address) const
    {
        for (const auto& [id, row] : plane_.tables.backends) {
            if (row.endpoint.to_string() == address)
                return id;
        }
        ADD_FAILURE() << "no backend " << address;
        return 0;
    }
    void count(const std::string& address, std::uint64_t connections)
    {
        BackendCounts counts;
        counts.connections = connections;
        counts.packets = {connections * 10, connections * 9};
        counts.bytes = {connections * 100, connections * 90};
        plane_.totals[id_of(address)] = counts;
    }
    void finish_drains()
    {
        loop_.advance(5s);
        plane_.counts.pass += 1;
        plane_.counts.started = loop_.now();
        plane_.counts.references.assign(100, 0);
        plane_.pass_ends = true;
        loop_.advance(2s);
        plane_.pass_ends = false;
    }
};

TEST_F(DaemonMetrics, reloads_are_counted_by_their_result)
{
    start(both);
    EXPECT_GT(controller_->status().config_loaded_unix, 1.7e9);
    try_reload(only_b);
    try_reload("services: [\n");
    try_reload("services: [\n");
    plane_.failing_applies = 1;
    EXPECT_EQ(try_reload(both), LoadReport::Result::failed);
    const ReloadCounts counts = controller_->status().reloads;
    EXPECT_EQ(counts.ok, 1u);
    EXPECT_EQ(counts.invalid, 2u);
    EXPECT_EQ(counts.failed, 1u);
}

TEST_F(DaemonMetrics, what_cannot_be_claimed_fails_the_reload_and_changes_nothing)
{
    start(both);
    const Tables before = plane_.tables;
    claim_error_ = Error{"the port is taken", "take another"};
    EXPECT_EQ(try_reload(only_b), LoadReport::Result::failed);
    EXPECT_THAT(controller_->status().last_reload.message, HasSubstr("the port is taken"));
    EXPECT_EQ(plane_.tables, before);
    EXPECT_EQ(controller_->status().problem, "") << "nothing is tried again";
    EXPECT_EQ(controller_->why_not_ready(), "");
}

TEST_F(DaemonMetrics, ready_is_who_has_carried_out_everything)
{
    make();
    EXPECT_EQ(controller_->why_not_ready(), "the configuration is being applied");
    start(both);
    EXPECT_EQ(controller_->why_not_ready(), "");
    plane_.failing_applies = 100;
    try_reload(only_b);
    EXPECT_THAT(controller_->why_not_ready(), HasSubstr("the map is full"));
    plane_.failing_applies = 0;
    loop_.advance(60s);
    EXPECT_EQ(controller_->why_not_ready(), "");
    plane_.attached.clear();
    EXPECT_THAT(controller_->why_not_ready(), HasSubstr("eth0: the program was taken off by somebody else"));
}

TEST_F(DaemonMetrics, a_service_keeps_what_backends_that_are_gone_have_carried)
{
    start(both);
    count("10.0.0.11:8080", 5);
    count("10.0.0.12:8080", 7);
    EXPECT_EQ(web().traffic.connections, 12u);
    EXPECT_EQ(web().traffic.packets_in, 120u);
    EXPECT_EQ(web().traffic.bytes_out, 1080u);
    reload(only_b);
    EXPECT_EQ(web().traffic.connections, 12u);
    const BackendId gone = id_of("10.0.0.11:8080");
    finish_drains();
    ASSERT_FALSE(plane_.tables.backends.contains(gone));
    plane_.totals.erase(gone);
    EXPECT_EQ(web().traffic.connections, 12u);
    EXPECT_EQ(web().traffic.packets_out, 108u);
    reload(both);
    count("10.0.0.11:8080", 1);
    EXPECT_EQ(web().traffic.connections, 13u);
}

// What the last daemon knew of backends that are gone is not known any more: a total that went on would fall.
TEST_F(DaemonMetrics, a_service_begins_anew_with_the_daemon)
{
    start(both);
    count("10.0.0.11:8080", 5);
    controller_.reset();
    plane_.was_there = true;
    start(both);
    EXPECT_EQ(web().traffic.connections, 0u);
    EXPECT_EQ(backend("10.0.0.11:8080").connections, 5u);
    count("10.0.0.11:8080", 6);
    EXPECT_EQ(web().traffic.connections, 1u);
    EXPECT_EQ(web().traffic.bytes_in, 100u);
}

TEST_F(DaemonMetrics, checks_that_said_something_are_timed)
{
    prober_.takes["10.0.0.11:8080"] = 200ms;
    start(both);
    loop_.advance(10s);
    const CheckStatus checks = backend("10.0.0.11:8080").checks;
    EXPECT_GT(checks.good, 8u);
    EXPECT_NEAR(checks.seconds, 0.2 * static_cast<double>(checks.good), 1e-6);
    EXPECT_LT(backend("10.0.0.12:8080").checks.seconds, 1e-3);
}

} // namespace
} // namespace featherlb
