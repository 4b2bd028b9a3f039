// SPDX-License-Identifier: Apache-2.0
// The controller on a machine in memory.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "daemon/controller.h"
#include "unit/daemon_fakes.h"

namespace featherlb {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

constexpr const char* two_backends = R"(
interfaces: [eth0]
services:
  - name: web
    listen: ["10.0.0.1:80/tcp"]
    algorithm: round-robin
    backends:
      - {name: a, address: "10.0.0.11:8080"}
      - {name: b, address: "10.0.0.12:8080"}
)";
constexpr const char* one_backend = R"(
interfaces: [eth0]
services:
  - name: web
    listen: ["10.0.0.1:80/tcp"]
    algorithm: round-robin
    backends:
      - {name: b, address: "10.0.0.12:8080"}
)";
constexpr const char* everywhere = R"(
interfaces: [eth0]
services:
  - name: web
    listen: ["*:80/tcp"]
    backends: [{name: a, address: "10.0.0.11:8080"}]
)";
constexpr const char* by_name = R"(
interfaces: [eth0]
services:
  - name: web
    listen: ["10.0.0.1:80/tcp"]
    backends: [{dns: "web.internal:8080"}]
)";
constexpr const char* by_name_and_address = R"(
interfaces: [eth0]
services:
  - name: web
    listen: ["10.0.0.1:80/tcp"]
    backends: [{dns: "web.internal:8080"}, {name: b, address: "10.0.0.12:8080"}]
)";

class DaemonTest : public testing::Test {
protected:
    void make(const char* text)
    {
        text_ = text;
        ControllerOptions options;
        options.config_file = "test.yaml";
        options.read_ports = [] { return HostPorts{}; };
        options.load = [this](const std::string& file) { return parse_config(text_, file); };
        controller_ =
            std::make_unique<Controller>(std::move(options), loop_, log_, network_, plane_, resolver_, prober_);
    }
    LoadReport start(const char* text)
    {
        make(text);
        LoadReport report;
        report.file = "never called back";
        controller_->start(*parse_config(text, "test.yaml"), [&report](const LoadReport& got) { report = got; });
        loop_.advance(2s);
        return report;
    }
    LoadReport reload(const char* text)
    {
        text_ = text;
        LoadReport report;
        report.file = "never called back";
        controller_->reload([&report](const LoadReport& got) { report = got; });
        loop_.advance(2s);
        return report;
    }
    void network_changes()
    {
        loop_.readable(FakeNetwork::fd);
        loop_.advance(100ms);
    }
    // The state of each backend by address.
    std::map<std::string, std::string> states() const
    {
        std::map<std::string, std::string> all;
        for (const ServiceStatus& service : controller_->status().services) {
            for (const BackendStatus& backend : service.backends)
                all[backend.address] = backend.state;
        }
        return all;
    }
    // A whole count of flows that began now, with the references of each backend id.
    void count_flows(std::uint32_t references)
    {
        plane_.counts.pass += 1;
        plane_.counts.started = loop_.now();
        plane_.counts.references.assign(100, references);
        plane_.counts.by_backend.assign(100, references);
        plane_.pass_ends = true;
        loop_.advance(2s);
        plane_.pass_ends = false;
    }

    std::string text_;
    FakeLoop loop_;
    FakeLog log_;
    FakeNetwork network_;
    FakePlane plane_;
    FakeResolver resolver_{loop_};
    FakeProber prober_{loop_};
    std::unique_ptr<Controller> controller_;
};

TEST_F(DaemonTest, StartFillsTheTablesBeforeItAttaches)
{
    const LoadReport report = start(two_backends);
    EXPECT_EQ(report.result, LoadReport::Result::ok) << report.text();
    EXPECT_THAT(plane_.calls, ElementsAre("apply", "attach eth0"));
    EXPECT_EQ(plane_.tables.backends.size(), 2u);
    EXPECT_THAT(states(), ElementsAre(std::pair("10.0.0.11:8080", "up"), std::pair("10.0.0.12:8080", "up")));
    EXPECT_EQ(log_.count("eth0"), 1u);
}

TEST_F(DaemonTest, StartWaitsForNextHopsAndGoesOnAsSoonAsTheyAreKnown)
{
    make(two_backends);
    network_.unresolved = {"10.0.0.12"};
    bool done = false;
    controller_->start(*parse_config(two_backends, "test.yaml"), [&done](const LoadReport&) { done = true; });
    loop_.advance(300ms);
    EXPECT_FALSE(done);
    EXPECT_THAT(plane_.calls, IsEmpty());
    network_.unresolved.clear();
    network_changes();
    EXPECT_TRUE(done);
    EXPECT_TRUE(is_resolved(plane_.tables.backends.rbegin()->second.hop));
}

TEST_F(DaemonTest, StartDoesNotWaitLongForABackendThatIsDead)
{
    network_.unresolved = {"10.0.0.12"};
    EXPECT_EQ(start(two_backends).result, LoadReport::Result::ok);
    EXPECT_EQ(states().at("10.0.0.12:8080"), "unresolved");
    EXPECT_EQ(log_.count("10.0.0.12 (of web) is not reached"), 1u);
}

TEST_F(DaemonTest, AFailedAttachEndsTheStart)
{
    plane_.failing_attach = true;
    const LoadReport report = start(two_backends);
    EXPECT_EQ(report.result, LoadReport::Result::failed);
    EXPECT_THAT(report.text(), HasSubstr("interface eth0: the interface is occupied; free it"));
}

TEST_F(DaemonTest, AReloadOfAnInvalidFileChangesNothing)
{
    start(two_backends);
    const Tables before = plane_.tables;
    const std::size_t calls = plane_.calls.size();
    const LoadReport report = reload("services: [\n");
    EXPECT_EQ(report.result, LoadReport::Result::invalid);
    EXPECT_THAT(report.text(), HasSubstr("test.yaml:"));
    EXPECT_EQ(plane_.tables, before);
    EXPECT_EQ(plane_.calls.size(), calls);
    EXPECT_EQ(controller_->status().last_reload.result, "invalid");
    EXPECT_EQ(log_.count("nothing was changed"), 1u);
}

TEST_F(DaemonTest, AReloadThatNamesAMissingInterfaceChangesNothing)
{
    start(two_backends);
    const std::size_t calls = plane_.calls.size();
    const LoadReport report = reload("interfaces: [eht0]\nservices: [{name: web, listen: [\"10.0.0.1:80/tcp\"], "
                                     "backends: [{address: \"10.0.0.12:8080\"}]}]\n");
    EXPECT_EQ(report.result, LoadReport::Result::invalid);
    EXPECT_THAT(report.text(), HasSubstr("test.yaml:1:14: interface \"eht0\" does not exist; did you mean \"eth0\"?"));
    EXPECT_EQ(plane_.calls.size(), calls);
}

TEST_F(DaemonTest, ATooLargeConfigurationIsRefusedAndTheOldOneStays)
{
    start(two_backends);
    const Tables before = plane_.tables;
    plane_.most_services = 1;
    EXPECT_EQ(reload(one_backend).result, LoadReport::Result::failed);
    network_changes();
    EXPECT_EQ(plane_.tables, before);
    EXPECT_EQ(states().at("10.0.0.11:8080"), "up");
}

TEST_F(DaemonTest, ReloadsThatComeTogetherAreAllAnswered)
{
    start(two_backends);
    text_ = one_backend;
    int answered = 0;
    for (int i = 0; i < 5; ++i)
        controller_->reload([&answered](const LoadReport& report) {
            EXPECT_EQ(report.result, LoadReport::Result::ok);
            ++answered;
        });
    loop_.advance(1s);
    EXPECT_EQ(answered, 5);
    EXPECT_EQ(plane_.applied.size(), 2u) << "the start and one change";
}

TEST_F(DaemonTest, ARemovedBackendDrainsUntilItsFlowsAreGone)
{
    start(two_backends);
    reload(one_backend);
    EXPECT_EQ(states().at("10.0.0.11:8080"), "draining");
    count_flows(1);
    EXPECT_EQ(states().count("10.0.0.11:8080"), 1u) << "a flow refers to it";
    loop_.advance(5s);
    count_flows(0);
    EXPECT_EQ(states().count("10.0.0.11:8080"), 0u);
    EXPECT_EQ(log_.count("finished draining"), 1u);
}

TEST_F(DaemonTest, ACountThatBeganBeforeTheDrainDoesNotReleaseTheBackend)
{
    start(two_backends);
    plane_.counts.pass = 1;
    plane_.counts.started = loop_.now();
    plane_.counts.references.assign(100, 0);
    reload(one_backend);
    plane_.pass_ends = true;
    loop_.advance(2s);
    EXPECT_EQ(states().count("10.0.0.11:8080"), 1u);
}

TEST_F(DaemonTest, ANeighbourThatChangesReachesTheTables)
{
    start(two_backends);
    network_.mac = 9;
    network_changes();
    for (const auto& [id, row] : plane_.tables.backends)
        EXPECT_EQ(row.hop.mac[5], 9);
}

TEST_F(DaemonTest, ManyEventsMakeOnePlanAndDoNotPutItOff)
{
    start(two_backends);
    const std::size_t before = plane_.applied.size();
    network_.mac = 9;
    for (int i = 0; i < 8; ++i) {
        loop_.readable(FakeNetwork::fd);
        loop_.advance(10ms);
    }
    EXPECT_EQ(plane_.applied.size(), before + 1) << "50 ms after the first event, not after the last";
}

TEST_F(DaemonTest, ANeighbourThatIsLostForAMomentKeepsItsWay)
{
    start(two_backends);
    network_.unresolved = {"10.0.0.11"};
    network_changes();
    EXPECT_EQ(states().at("10.0.0.11:8080"), "up");
    loop_.advance(2s);
    EXPECT_EQ(states().at("10.0.0.11:8080"), "unresolved");
    network_.unresolved.clear();
    network_changes();
    EXPECT_EQ(states().at("10.0.0.11:8080"), "up");
    EXPECT_EQ(log_.count("10.0.0.11 (of web) is not reached"), 1u);
    EXPECT_EQ(log_.count("10.0.0.11 (of web) is reached again"), 1u);
}

TEST_F(DaemonTest, AnUnreachedBackendIsLoggedOnce)
{
    network_.unresolved = {"10.0.0.11"};
    start(two_backends);
    for (int i = 0; i < 10; ++i)
        network_changes();
    EXPECT_EQ(log_.count("is not reached"), 1u);
}

TEST_F(DaemonTest, ListenersOnEveryAddressFollowTheAddresses)
{
    start(everywhere);
    EXPECT_EQ(plane_.tables.listeners.size(), 1u);
    network_.own.push_back({.address = *IpAddress::parse("10.0.0.2"), .prefix_length = 24, .ifindex = 2});
    network_changes();
    EXPECT_EQ(plane_.tables.listeners.size(), 2u);
    network_.own.pop_back();
    network_changes();
    EXPECT_EQ(plane_.tables.listeners.size(), 1u);
}

TEST_F(DaemonTest, AnInterfaceThatReturnsIsAttachedAgain)
{
    start(two_backends);
    network_.remove_interface(2);
    network_.way_out = 0;
    network_changes();
    EXPECT_THAT(plane_.attached, IsEmpty());
    EXPECT_EQ(log_.count("interface eth0 is gone"), 1u);
    EXPECT_FALSE(controller_->status().interfaces.at(0).attached);
    network_.add_interface(7, "eth0", "10.0.0.1");
    network_.way_out = 7;
    network_changes();
    EXPECT_THAT(plane_.attached, ElementsAre(7u));
    EXPECT_TRUE(controller_->status().interfaces.at(0).attached);
}

TEST_F(DaemonTest, AFailedApplyIsTriedAgainAndLoggedOnce)
{
    start(two_backends);
    network_.mac = 9;
    plane_.failing_applies = 3;
    network_changes();
    EXPECT_THAT(controller_->status().problem, HasSubstr("the map is full"));
    loop_.advance(20s);
    EXPECT_EQ(plane_.tables.backends.begin()->second.hop.mac[5], 9);
    EXPECT_EQ(controller_->status().problem, "");
    EXPECT_EQ(log_.count("the map is full"), 1u);
    EXPECT_EQ(log_.count("worked now"), 1u);
}

TEST_F(DaemonTest, AReloadWhoseApplyFailsSaysSoAndIsCarriedOutLater)
{
    start(two_backends);
    plane_.failing_applies = 1;
    text_ = one_backend;
    LoadReport report;
    controller_->reload([&report](const LoadReport& got) { report = got; });
    loop_.advance(100ms);
    EXPECT_EQ(report.result, LoadReport::Result::failed);
    EXPECT_EQ(states().at("10.0.0.11:8080"), "up");
    loop_.advance(3s);
    EXPECT_EQ(states().at("10.0.0.11:8080"), "draining");
}

TEST_F(DaemonTest, ANameThatFailsAtReloadKeepsItsLastAddresses)
{
    resolver_.answers["web.internal"] = {*IpAddress::parse("10.0.0.21"), *IpAddress::parse("10.0.0.22")};
    EXPECT_EQ(start(by_name).result, LoadReport::Result::ok);
    EXPECT_EQ(states().size(), 2u);
    resolver_.answers.clear();
    const LoadReport report = reload(by_name);
    EXPECT_EQ(report.result, LoadReport::Result::ok);
    EXPECT_THAT(report.warnings, ElementsAre(HasSubstr("its last known addresses stay")));
    EXPECT_THAT(states(), ElementsAre(std::pair("10.0.0.21:8080", "up"), std::pair("10.0.0.22:8080", "up")));
}

TEST_F(DaemonTest, ANameIsFollowedAtReload)
{
    resolver_.answers["web.internal"] = {*IpAddress::parse("10.0.0.21")};
    start(by_name);
    resolver_.answers["web.internal"] = {*IpAddress::parse("10.0.0.22")};
    reload(by_name);
    EXPECT_THAT(states(), ElementsAre(std::pair("10.0.0.21:8080", "draining"), std::pair("10.0.0.22:8080", "up")));
}

TEST_F(DaemonTest, AStartWhoseOnlyBackendDoesNotResolveFails)
{
    const LoadReport report = start(by_name);
    EXPECT_EQ(report.result, LoadReport::Result::failed);
    EXPECT_THAT(report.text(), HasSubstr("test.yaml:6:"));
    EXPECT_THAT(report.text(), HasSubstr("web.internal does not resolve (no such name)"));
    EXPECT_THAT(plane_.calls, IsEmpty());
}

TEST_F(DaemonTest, AStartWithAnotherBackendGoesOnWithoutTheName)
{
    const LoadReport report = start(by_name_and_address);
    EXPECT_EQ(report.result, LoadReport::Result::ok);
    EXPECT_EQ(states().size(), 1u);
    EXPECT_EQ(log_.count("warning web.internal does not resolve"), 1u);
}

TEST_F(DaemonTest, ADaemonThatAdoptsRemembersTheAddressesOfANameThatFails)
{
    resolver_.answers["web.internal"] = {*IpAddress::parse("10.0.0.21")};
    start(by_name);
    resolver_.answers.clear();
    controller_.reset();
    plane_.was_there = true;
    EXPECT_EQ(start(by_name).result, LoadReport::Result::ok);
    EXPECT_EQ(states().at("10.0.0.21:8080"), "up");
}

TEST_F(DaemonTest, AdoptionOfTheSameConfigurationChangesNothing)
{
    start(two_backends);
    controller_.reset();
    plane_.was_there = true;
    const std::size_t before = plane_.applied.size();
    EXPECT_EQ(start(two_backends).changes, 0u);
    EXPECT_EQ(plane_.applied.size(), before);
}

TEST_F(DaemonTest, AReloadPutsBackAProgramThatSomebodyTookOff)
{
    start(two_backends);
    plane_.attached.clear();
    EXPECT_FALSE(controller_->status().interfaces.at(0).attached);
    reload(two_backends);
    EXPECT_THAT(plane_.attached, ElementsAre(2u));
}

TEST_F(DaemonTest, TheNetworkIsMaintainedAndTheTableSwept)
{
    start(two_backends);
    loop_.advance(11s);
    EXPECT_GE(network_.maintained, 2);
    EXPECT_GT(plane_.sweeps, 50);
    EXPECT_LT(plane_.sweeps, 150) << "at most every 100 ms";
}

TEST_F(DaemonTest, AnEmptyTableIsSweptInNoHurryUnlessABackendDrains)
{
    const auto sweeps_in_a_minute = [this] {
        const int before = plane_.sweeps;
        loop_.advance(1min);
        return plane_.sweeps - before;
    };
    start(two_backends);
    plane_.on_sweep = [this] { loop_.take(2ms); };
    const int usual = sweeps_in_a_minute(); // a hundredth of a processor
    plane_.at_rest = true;
    loop_.advance(2s);
    EXPECT_NEAR(usual, 297, 10);
    EXPECT_NEAR(sweeps_in_a_minute(), 30, 2);
    reload(one_backend);
    EXPECT_NEAR(sweeps_in_a_minute(), 297, 15);
}

TEST_F(DaemonTest, ATableThatIsTooSmallIsWarnedOfWhileItIsAndInTheLogOnceAnHour)
{
    plane_.evicted = 1000; // of an earlier daemon
    start(two_backends);
    loop_.advance(2min);
    EXPECT_EQ(controller_->status().flows.evicted_last_minute, 0u);
    EXPECT_EQ(controller_->status().flows.evicted, 1000u);
    for (int i = 0; i < 10; ++i) {
        plane_.evicted += 7;
        loop_.advance(5min);
        EXPECT_EQ(controller_->status().flows.evicted_last_minute, 0u) << "it is over";
    }
    EXPECT_EQ(log_.count("flows.max is too small"), 1u);
    plane_.evicted += 7;
    loop_.advance(20s);
    EXPECT_EQ(controller_->status().flows.evicted_last_minute, 7u);
    EXPECT_THAT(format_status(controller_->status()), HasSubstr("flows.max is too small"));
    loop_.advance(1h);
    EXPECT_THAT(format_status(controller_->status()), Not(HasSubstr("flows.max is too small")));
    plane_.evicted += 7;
    loop_.advance(20s);
    EXPECT_EQ(log_.count("flows.max is too small"), 2u);
}

TEST_F(DaemonTest, OnlyWaysThatAreUsedAreRetained)
{
    start(two_backends);
    EXPECT_EQ(network_.retained.size(), 2u);
    reload(one_backend);
    EXPECT_EQ(network_.retained.size(), 2u) << "it drains";
    loop_.advance(5s);
    count_flows(0);
    network_changes();
    EXPECT_EQ(network_.retained.size(), 1u);
}

TEST_F(DaemonTest, StatusNamesDropsByReason)
{
    start(two_backends);
    const Status status = controller_->status();
    ASSERT_EQ(status.drops.size(), 1u);
    EXPECT_EQ(status.drops[0].reason, "no_flow");
    EXPECT_EQ(status.drops[0].packets, 3u);
    EXPECT_EQ(status.data_plane.memory_bytes, 6400u);
}

} // namespace
} // namespace featherlb
