// SPDX-License-Identifier: Apache-2.0
// The controller when backends fail, come back, or drain for too long.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "daemon/controller.h"
#include "unit/daemon_fakes.h"

namespace featherlb {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;
using testing::IsEmpty;

std::string service(const std::string& more, const std::string& backends)
{
    return "interfaces: [eth0]\nservices:\n  - name: web\n    listen: [\"10.0.0.1:80/tcp\"]\n"
           "    algorithm: round-robin\n    backends: [" +
           backends + "]\n    " + more + "\n";
}
const std::string three = R"({address: "10.0.0.11:80"}, {address: "10.0.0.12:80"}, {address: "10.0.0.13:80"})";
const std::string checked = "health: {type: tcp, interval: 1s, timeout: 500ms, rise: 2, fall: 3}";

class DaemonHealth : public testing::Test {
protected:
    void make()
    {
        ControllerOptions options;
        options.config_file = "test.yaml";
        options.read_ports = [] { return HostPorts{}; };
        options.load = [this](const std::string& file) { return parse_config(text_, file); };
        controller_ =
            std::make_unique<Controller>(std::move(options), loop_, log_, network_, plane_, resolver_, prober_);
    }
    void start(const std::string& text)
    {
        make();
        const auto config = parse_config(text, "test.yaml");
        ASSERT_TRUE(config.has_value()) << config.error().format();
        controller_->start(*config,
            [](const LoadReport& report) { EXPECT_EQ(report.result, LoadReport::Result::ok) << report.text(); });
        loop_.advance(2s);
    }
    void reload(const std::string& text)
    {
        text_ = text;
        controller_->reload(
            [](const LoadReport& report) { EXPECT_EQ(report.result, LoadReport::Result::ok) << report.text(); });
        loop_.advance(1ms);
    }
    ServiceStatus web() const { return controller_->status().services.at(0); }
    BackendStatus backend(const std::string& address) const
    {
        const ServiceStatus status = web();
        for (const BackendStatus& one : status.backends) {
            if (one.address == address)
                return one;
        }
        ADD_FAILURE() << "no backend " << address;
        return {};
    }
    std::size_t slots() const { return plane_.tables.services.at(1).slots.size(); }

    std::string text_;
    FakeLoop loop_;
    FakeLog log_;
    FakeNetwork network_;
    FakePlane plane_;
    FakeResolver resolver_{loop_};
    FakeProber prober_{loop_};
    std::unique_ptr<Controller> controller_;
};

TEST_F(DaemonHealth, ABackendThatFailsLosesItsSlotsAndGetsThemBack)
{
    start(service(checked, three));
    EXPECT_EQ(slots(), 3u);
    EXPECT_EQ(web().health, "tcp every 1s");
    prober_.fails("10.0.0.12:80");
    loop_.advance(3s + 500ms);
    EXPECT_EQ(slots(), 2u);
    const BackendStatus dead = backend("10.0.0.12:80");
    EXPECT_EQ(dead.state, "down");
    EXPECT_EQ(dead.reason, "connection refused");
    EXPECT_FALSE(dead.used);
    EXPECT_EQ(dead.udp_fate, "rehash");
    EXPECT_EQ(dead.tcp_fate, "");
    EXPECT_GE(dead.checks.failed, 3u);
    EXPECT_GE(dead.checks.good, 1u);
    EXPECT_EQ(backend("10.0.0.11:80").state, "up");
    EXPECT_THAT(format_status(controller_->status()), HasSubstr("10.0.0.12:80  down"));
    prober_.answers.clear();
    loop_.advance(2s + 500ms);
    EXPECT_EQ(slots(), 3u);
    EXPECT_EQ(backend("10.0.0.12:80").state, "up");
    EXPECT_EQ(backend("10.0.0.12:80").checks.last_failure, "connection refused");
}

TEST_F(DaemonHealth, ManyBackendsThatFailTogetherAreFewChanges)
{
    std::string many;
    for (int i = 1; i <= 60; ++i)
        many += (i > 1 ? ", " : "") + ("{address: \"10.0.0." + std::to_string(i + 10)) + ":80\"}";
    start(service("health: {type: tcp, interval: 100ms, fall: 1}", many));
    const std::size_t before = plane_.applied.size();
    for (int i = 1; i <= 60; ++i)
        prober_.fails("10.0.0." + std::to_string(i + 10) + ":80");
    loop_.advance(500ms);
    EXPECT_EQ(slots(), 0u);
    EXPECT_LE(plane_.applied.size() - before, 7u);
}

TEST_F(DaemonHealth, TooFewUpIsPanicWhichIsToldOnceAndCounted)
{
    start(service(checked + "\n    min_healthy: 50%\n    on_backend_down: reset", three));
    prober_.fails("10.0.0.11:80");
    prober_.fails("10.0.0.12:80");
    loop_.advance(4s);
    EXPECT_EQ(slots(), 3u);
    EXPECT_TRUE(web().panic);
    EXPECT_EQ(web().panics, 1u);
    EXPECT_EQ(log_.count("error service web (IPv4): PANIC"), 1u);
    EXPECT_EQ(backend("10.0.0.11:80").state, "down");
    EXPECT_TRUE(backend("10.0.0.11:80").used);
    EXPECT_EQ(backend("10.0.0.11:80").tcp_fate, "");
    EXPECT_THAT(format_status(controller_->status()), HasSubstr("PANIC"));
    prober_.answers.erase("10.0.0.11:80");
    loop_.advance(3s);
    EXPECT_FALSE(web().panic);
    EXPECT_EQ(slots(), 2u);
    EXPECT_EQ(log_.count("panic is over"), 1u);
    EXPECT_EQ(backend("10.0.0.12:80").tcp_fate, "reset");
    prober_.fails("10.0.0.11:80");
    loop_.advance(4s);
    EXPECT_EQ(web().panics, 2u);
}

TEST_F(DaemonHealth, AllDownRefusesWhereThatIsConfigured)
{
    start(service(checked + "\n    all_down: refuse", three));
    for (const char* address : {"10.0.0.11:80", "10.0.0.12:80", "10.0.0.13:80"})
        prober_.fails(address);
    EXPECT_FALSE(web().refusing);
    loop_.advance(4s);
    EXPECT_TRUE(web().refusing);
    EXPECT_TRUE(plane_.tables.services.at(1).refuse);
    prober_.answers.erase("10.0.0.12:80");
    loop_.advance(3s);
    EXPECT_FALSE(web().refusing);
}

TEST_F(DaemonHealth, ADaemonThatStartsAgainKnowsWhoIsDown)
{
    start(service(checked, three));
    prober_.fails("10.0.0.12:80");
    loop_.advance(4s);
    const Tables left = plane_.tables;
    controller_.reset();
    plane_.was_there = true;
    prober_.silent = {"10.0.0.12:80"};
    plane_.applied.clear();
    start(service(checked, three));
    EXPECT_THAT(plane_.applied, IsEmpty()) << "nothing changes";
    EXPECT_EQ(plane_.tables, left);
    EXPECT_EQ(backend("10.0.0.12:80").state, "down");
}

TEST_F(DaemonHealth, AReloadWithoutChecksBringsAllUp)
{
    start(service(checked, three));
    prober_.fails("10.0.0.12:80");
    loop_.advance(4s);
    reload(service("health: none", three));
    EXPECT_EQ(slots(), 3u);
    EXPECT_EQ(backend("10.0.0.12:80").state, "up");
    EXPECT_EQ(web().health, "none");
    const std::size_t asked = prober_.asked.size();
    loop_.advance(5s);
    EXPECT_EQ(prober_.asked.size(), asked);
}

TEST_F(DaemonHealth, BackendsThatAReloadAddsAreCheckedAndUpUntilTheyFail)
{
    prober_.fails("10.0.0.13:80");
    start(service(checked, R"({address: "10.0.0.11:80"}, {address: "10.0.0.12:80"})"));
    reload(service(checked, three));
    EXPECT_EQ(slots(), 3u);
    loop_.advance(4s);
    EXPECT_EQ(slots(), 2u);
}

TEST_F(DaemonHealth, ADrainPastItsDeadlineEndsItsConnections)
{
    start(service("drain_timeout: 1m", three));
    reload(service("drain_timeout: 1m", R"({address: "10.0.0.11:80", weight: 0}, {address: "10.0.0.12:80"})"));
    for (const char* address : {"10.0.0.11:80", "10.0.0.13:80"}) {
        EXPECT_EQ(backend(address).state, "draining");
        EXPECT_EQ(backend(address).tcp_fate, "");
        EXPECT_THAT(backend(address).reason, HasSubstr("its connections end in 1m"));
    }
    loop_.advance(59s);
    EXPECT_EQ(backend("10.0.0.13:80").tcp_fate, "");
    loop_.advance(1s);
    for (const char* address : {"10.0.0.11:80", "10.0.0.13:80"}) {
        EXPECT_EQ(backend(address).tcp_fate, "reset");
        EXPECT_EQ(backend(address).udp_fate, "rehash");
    }
    EXPECT_EQ(log_.count("has drained for 1m, its drain_timeout"), 2u);
    reload(service("drain_timeout: 1m", three));
    EXPECT_EQ(backend("10.0.0.11:80").tcp_fate, "");
}

TEST_F(DaemonHealth, AServiceThatIsRemovedKeepsTheDeadlineThatItHad)
{
    const std::string other =
        "  - {name: other, listen: \"10.0.0.1:81/tcp\", backends: [{address: \"10.0.0.14:80\"}]}\n";
    start(service("drain_timeout: 1m", three) + other);
    reload("interfaces: [eth0]\nservices:\n" + other);
    loop_.advance(1min);
    EXPECT_TRUE(plane_.tables.backends.at(1).reset);
    EXPECT_FALSE(plane_.tables.backends.at(4).reset) << "it does not drain";
}

TEST_F(DaemonHealth, WithoutADeadlineADrainGoesOn)
{
    start(service("drain_timeout: never", three));
    reload(service("syn_failover: true", R"({address: "10.0.0.11:80"})"));
    loop_.advance(48h);
    EXPECT_EQ(backend("10.0.0.12:80").tcp_fate, "");
    EXPECT_EQ(backend("10.0.0.12:80").reason, "no longer configured; keeps its connections");
}

} // namespace
} // namespace featherlb
