// SPDX-License-Identifier: Apache-2.0
// The controller when backends fail, come back, or drain for too long.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "unit/running_controller.h"

namespace featherlb {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;
using testing::IsEmpty;

std::string service_text(const std::string& more, const std::string& backends)
{
    return "interfaces: [eth0]\nservices:\n  - name: web\n    listen: [\"10.0.0.1:80/tcp\"]\n"
           "    algorithm: round-robin\n    backends: [" +
           backends + "]\n    " + more + "\n";
}
const std::string three = R"({address: "10.0.0.11:80"}, {address: "10.0.0.12:80"}, {address: "10.0.0.13:80"})";
const std::string checked = "health: {type: tcp, interval: 1s, timeout: 500ms, rise: 2, fall: 3}";

class DaemonHealth : public RunningController {
protected:
    std::size_t slots() const { return plane_.tables.services.at(1).slots.size(); }
};

TEST_F(DaemonHealth, AFailureChangesTheRowsOfItsServiceOnly)
{
    start(service_text(checked, three) + R"(  - name: other
    listen: "10.0.0.1:81/tcp"
    backends: [{address: "10.0.0.11:81"}]
)");
    plane_.calls.clear();
    prober_.fails("10.0.0.11:80");
    loop_.advance(4s);
    EXPECT_EQ(slots(), 2u);
    EXPECT_THAT(plane_.calls, testing::ElementsAre("apply_rows"));
    // What fails for some is tried again for all.
    plane_.failing_applies = 1;
    prober_.fails("10.0.0.12:80");
    loop_.advance(6s);
    EXPECT_EQ(slots(), 1u);
    EXPECT_THAT(plane_.calls, testing::ElementsAre("apply_rows", "apply_rows", "apply"));
}

TEST_F(DaemonHealth, ABackendWithoutAPortIsAskedOnTheOnlyPortOfItsService)
{
    start(service_text(checked, R"({address: "10.0.0.11"}, {address: "10.0.0.12:8080"})"));
    EXPECT_GT(prober_.count("10.0.0.11:80"), 0u);
    EXPECT_GT(prober_.count("10.0.0.12:8080"), 0u);
    EXPECT_EQ(backend("10.0.0.11").state, "up");
}

TEST_F(DaemonHealth, ABackendThatFailsLosesItsSlotsAndGetsThemBack)
{
    start(service_text(checked, three));
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

TEST_F(DaemonHealth, ABackendThatRefusesClientsIsAskedAtOnce)
{
    start(service_text("health: {type: tcp, interval: 1h, fast_interval: 100ms, timeout: 100ms, fall: 2}", three));
    loop_.advance(2h);
    BackendId second = 0;
    for (const auto& [id, row] : plane_.tables.backends)
        second = row.endpoint.to_string() == "10.0.0.12:80" ? id : second;
    plane_.totals[second].refused = 1;
    const std::size_t before = prober_.count("10.0.0.12:80");
    const std::size_t others = prober_.count("10.0.0.11:80");
    loop_.advance(1s);
    EXPECT_EQ(prober_.count("10.0.0.12:80"), before + 1);
    EXPECT_EQ(backend("10.0.0.12:80").state, "up") << "it answers the check";
    prober_.fails("10.0.0.12:80");
    plane_.totals[second].refused = 3;
    loop_.advance(1s);
    EXPECT_EQ(backend("10.0.0.12:80").state, "down");
    EXPECT_EQ(prober_.count("10.0.0.11:80"), others);
    reload(service_text("health: none", three));
    plane_.totals[second].refused = 4;
    loop_.advance(1s);
    EXPECT_EQ(backend("10.0.0.12:80").state, "up");
    prober_.answers.clear();
    reload(service_text("health: {type: tcp, interval: 1h, fall: 2}", three));
    const std::size_t again = prober_.count("10.0.0.12:80");
    loop_.advance(2s);
    EXPECT_EQ(prober_.count("10.0.0.12:80"), again) << "what was refused while nobody checked says nothing";
    plane_.totals[second].refused = 5;
    loop_.advance(1s);
    EXPECT_EQ(prober_.count("10.0.0.12:80"), again + 1);
}

TEST_F(DaemonHealth, OneThatFlapsIsToldByStatus)
{
    start(service_text("health: {type: tcp, interval: 1s, timeout: 500ms, rise: 1, fall: 1}", three));
    for (int i = 0; i < 7; ++i) {
        i % 2 == 0 ? prober_.fails("10.0.0.12:80") : prober_.answers.clear();
        loop_.advance(2s);
    }
    EXPECT_TRUE(backend("10.0.0.12:80").checks.flapping);
    EXPECT_EQ(backend("10.0.0.12:80").checks.needed, 10u);
    EXPECT_EQ(backend("10.0.0.11:80").checks.needed, 1u);
    EXPECT_THAT(format_status(controller_->status()), HasSubstr("flaps: up after 10 good checks in a row"));
    prober_.answers.clear();
    loop_.advance(12s);
    EXPECT_EQ(backend("10.0.0.12:80").state, "up");
    EXPECT_THAT(format_status(controller_->status()), HasSubstr("flaps"));
}

TEST_F(DaemonHealth, WhereBackendsOwnTheServiceAddressTheyAreAskedThere)
{
    start(service_text("forward: dsr\n    " + checked, three));
    EXPECT_EQ(web().health, "tcp every 1s, at the service address");
    EXPECT_EQ(prober_.last_how.mark & FLB_PROBE_MARK_MASK, FLB_PROBE_MARK);
    ASSERT_EQ(prober_.routes.by_mark.size(), 3u);
    for (const auto& [mark, route] : prober_.routes.by_mark) {
        EXPECT_EQ(route.service.to_string(), "10.0.0.1");
        EXPECT_FALSE(route.tunnel);
    }
    EXPECT_EQ(prober_.routes.devices.size(), 1u) << "the programs are where the checks leave";
    reload(service_text(checked, three));
    loop_.advance(1s);
    EXPECT_EQ(prober_.last_how.mark, 0u);
    EXPECT_TRUE(prober_.routes.by_mark.empty());
}

TEST_F(DaemonHealth, ManyBackendsThatFailTogetherAreFewChanges)
{
    std::string many;
    for (int i = 1; i <= 60; ++i)
        many += (i > 1 ? ", " : "") + ("{address: \"10.0.0." + std::to_string(i + 10)) + ":80\"}";
    start(service_text("health: {type: tcp, interval: 100ms, fall: 1}", many));
    const std::size_t before = plane_.applied.size();
    for (int i = 1; i <= 60; ++i)
        prober_.fails("10.0.0." + std::to_string(i + 10) + ":80");
    loop_.advance(500ms);
    EXPECT_EQ(slots(), 0u);
    EXPECT_LE(plane_.applied.size() - before, 7u);
}

TEST_F(DaemonHealth, TooFewUpIsPanicWhichIsToldOnceAndCounted)
{
    start(service_text(checked + "\n    min_healthy: 50%\n    on_backend_down: reset", three));
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
    start(service_text(checked + "\n    all_down: refuse", three));
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
    start(service_text(checked, three));
    prober_.fails("10.0.0.12:80");
    loop_.advance(4s);
    const Tables left = plane_.tables;
    controller_.reset();
    plane_.was_there = true;
    prober_.silent = {"10.0.0.12:80"};
    plane_.applied.clear();
    start(service_text(checked, three));
    EXPECT_THAT(plane_.applied, IsEmpty()) << "nothing changes";
    EXPECT_EQ(plane_.tables, left);
    EXPECT_EQ(backend("10.0.0.12:80").state, "down");
}

TEST_F(DaemonHealth, AReloadWithoutChecksBringsAllUp)
{
    start(service_text(checked, three));
    prober_.fails("10.0.0.12:80");
    loop_.advance(4s);
    reload(service_text("health: none", three));
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
    start(service_text(checked, R"({address: "10.0.0.11:80"}, {address: "10.0.0.12:80"})"));
    reload(service_text(checked, three));
    EXPECT_EQ(slots(), 3u);
    loop_.advance(4s);
    EXPECT_EQ(slots(), 2u);
}

TEST_F(DaemonHealth, ADrainPastItsDeadlineEndsItsConnections)
{
    start(service_text("drain_timeout: 1m", three));
    reload(service_text("drain_timeout: 1m", R"({address: "10.0.0.11:80", weight: 0}, {address: "10.0.0.12:80"})"));
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
    EXPECT_EQ(log_.count("has drained for 1m: what"), 2u);
    reload(service_text("drain_timeout: 1m", three));
    EXPECT_EQ(backend("10.0.0.11:80").tcp_fate, "");
}

TEST_F(DaemonHealth, AServiceThatIsRemovedKeepsTheDeadlineThatItHad)
{
    const std::string other =
        "  - {name: other, listen: \"10.0.0.1:81/tcp\", backends: [{address: \"10.0.0.14:80\"}]}\n";
    start(service_text("drain_timeout: 1m", three) + other);
    reload("interfaces: [eth0]\nservices:\n" + other);
    loop_.advance(1min);
    EXPECT_TRUE(plane_.tables.backends.at(1).reset);
    EXPECT_FALSE(plane_.tables.backends.at(4).reset) << "it does not drain";
}

TEST_F(DaemonHealth, WithoutADeadlineADrainGoesOn)
{
    start(service_text("drain_timeout: never", three));
    reload(service_text("syn_failover: true", R"({address: "10.0.0.11:80"})"));
    loop_.advance(48h);
    EXPECT_EQ(backend("10.0.0.12:80").tcp_fate, "");
    EXPECT_EQ(backend("10.0.0.12:80").reason, "no longer configured; keeps its connections");
}

// What a plan for its service alone knows of names comes from the last plan for all, also if that changed no row.
TEST_F(DaemonHealth, AFailureIsPlannedWithTheNamesThatAReloadBrought)
{
    const auto named = [](const std::string& host) { return service_text(checked, "{dns: \"" + host + ":80\"}"); };
    resolver_.answers = {{"a.test", {*IpAddress::parse("10.0.0.11"), *IpAddress::parse("10.0.0.12")}}};
    resolver_.answers["b.test"] = resolver_.answers["a.test"];
    start(named("a.test"));
    EXPECT_EQ(slots(), 2u);
    reload(named("b.test"));
    loop_.advance(1s);
    prober_.fails("10.0.0.11:80");
    loop_.advance(5s);
    EXPECT_EQ(slots(), 1u);
    EXPECT_EQ(backend("10.0.0.12:80").state, "up");
}

TEST_F(DaemonHealth, AFailureIsPlannedWithTheNamesThatAnAdoptingDaemonAskedFor)
{
    resolver_.answers = {{"a.test", {*IpAddress::parse("10.0.0.11"), *IpAddress::parse("10.0.0.12")}}};
    const std::string text = service_text(checked, "{dns: \"a.test:80\"}");
    start(text);
    plane_.was_there = true;
    plane_.calls.clear();
    controller_.reset();
    start(text);
    EXPECT_THAT(plane_.calls, testing::Not(testing::Contains("apply"))) << "it found what it wants";
    prober_.fails("10.0.0.11:80");
    loop_.advance(5s);
    EXPECT_EQ(slots(), 1u);
}

TEST_F(DaemonHealth, ABackendThatDrainsForTheOldForwardSaysSo)
{
    start(service_text(checked, three));
    reload(service_text(checked + "\n    forward: dsr", three));
    loop_.advance(2s);
    std::vector<std::string> reasons;
    for (const BackendStatus& one : web().backends) {
        if (one.state == "draining") {
            reasons.push_back(one.reason);
            EXPECT_EQ(one.checks.good, 0u) << "those are the other row's";
        }
    }
    EXPECT_THAT(reasons, testing::Each(HasSubstr("another forward")));
    EXPECT_EQ(reasons.size(), 3u);
}

} // namespace
} // namespace featherlb
