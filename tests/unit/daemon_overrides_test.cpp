// SPDX-License-Identifier: Apache-2.0
// The controller when an operator drains backends and changes weights.
#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "daemon/api.h"
#include "unit/running_controller.h"

namespace featherlb {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using Action = OverrideRequest::Action;

std::string service_of(const std::string& backends, const std::string& more = "algorithm: weighted-round-robin")
{
    return "interfaces: [eth0]\nservices:\n  - name: web\n    listen: [\"10.0.0.1:80/tcp\"]\n    backends: [" +
           backends + "]\n    " + more + "\n";
}
const std::string two = R"({name: a, address: "10.0.0.11:80"}, {name: b, address: "10.0.0.12:80"})";
const std::string heavier = R"({name: a, address: "10.0.0.11:80", weight: 7}, {name: b, address: "10.0.0.12:80"})";

class DaemonOverrides : public RunningController {
public:
    DaemonOverrides(const DaemonOverrides&) = delete;
    DaemonOverrides& operator=(const DaemonOverrides&) = delete;
    ~DaemonOverrides() override
    {
        std::filesystem::remove(file_);
        std::filesystem::remove(file_ + ".broken");
    }

protected:
    DaemonOverrides()
    {
        file_ =
            (std::filesystem::temp_directory_path() / ("featherlb-overrides-" + std::to_string(::getpid()))).string();
        options_.overrides = file_;
    }
    OverrideReport say(Action action, const std::string& backend, std::optional<std::uint32_t> weight = {},
        std::optional<std::chrono::seconds> deadline = {})
    {
        return controller_->override_backend(
            {.action = action, .service = "web", .backend = backend, .weight = weight, .deadline = deadline});
    }
    void expect_ok(const OverrideReport& report)
    {
        EXPECT_EQ(report.result, OverrideReport::Result::ok) << (report.error ? describe(*report.error) : "");
    }
    // Slots of the first and the second backend.
    std::vector<std::size_t> slots() const
    {
        const auto& all = plane_.tables.services.at(1).slots;
        return {static_cast<std::size_t>(std::ranges::count(all, BackendId{1})),
            static_cast<std::size_t>(std::ranges::count(all, BackendId{2}))};
    }
    // Another daemon adopts what is there.
    void restart(const std::string& text)
    {
        controller_.reset();
        start(text);
    }

    std::string file_;
};

TEST_F(DaemonOverrides, ADrainedBackendTakesNothingUntilItIsUndrained)
{
    start(service_of(two));
    const OverrideReport report = say(Action::drain, "a");
    expect_ok(report);
    ASSERT_EQ(report.backends.size(), 1u);
    EXPECT_EQ(report.backends[0].endpoint.to_string(), "10.0.0.11:80");
    EXPECT_THAT(slots(), ElementsAre(0, 1)) << "by the time of the answer";
    EXPECT_EQ(backend("10.0.0.11:80").state, "draining");
    EXPECT_THAT(backend("10.0.0.11:80").reason, HasSubstr("by command, since 20"));
    EXPECT_TRUE(backend("10.0.0.11:80").override.drained);
    EXPECT_EQ(log_.count("backend 10.0.0.11:80 of web: drained"), 1u);
    expect_ok(say(Action::undrain, "10.0.0.11:80"));
    EXPECT_THAT(slots(), ElementsAre(1, 1));
    EXPECT_EQ(backend("10.0.0.11:80").state, "up");
    EXPECT_EQ(backend("10.0.0.11:80").override.at, "");
}

TEST_F(DaemonOverrides, AWeightHoldsUntilTheFileSaysAnother)
{
    start(service_of(two));
    expect_ok(say(Action::weight, "a", 3));
    EXPECT_THAT(slots(), ElementsAre(3, 1));
    EXPECT_EQ(backend("10.0.0.11:80").weight, 1u) << "as the file says";
    EXPECT_EQ(backend("10.0.0.11:80").weight_now, 3);
    EXPECT_THAT(format_status(controller_->status()), HasSubstr("3 of 1"));
    reload(service_of(two, "algorithm: weighted-round-robin\n    all_down: refuse"));
    EXPECT_THAT(slots(), ElementsAre(3, 1)) << "the file says nothing new of it";
    reload(service_of(heavier));
    EXPECT_THAT(slots(), ElementsAre(7, 1));
    EXPECT_EQ(log_.count("10.0.0.11:80 of web is no longer weight 3 (the file: 1): the file now says weight 7"), 1u);
}

TEST_F(DaemonOverrides, TheFilesWeightCanBeHadBack)
{
    start(service_of(heavier));
    expect_ok(say(Action::weight, "a", 0));
    EXPECT_THAT(slots(), ElementsAre(0, 1));
    EXPECT_EQ(backend("10.0.0.11:80").state, "draining");
    expect_ok(say(Action::weight, "a"));
    EXPECT_THAT(slots(), ElementsAre(7, 1));
}

TEST_F(DaemonOverrides, ABackendThatLeavesTheFileTakesItsOverrideAlong)
{
    start(service_of(two));
    expect_ok(say(Action::drain, "b"));
    reload(service_of(R"({name: a, address: "10.0.0.11:80"})"));
    EXPECT_EQ(log_.count("10.0.0.12:80 of web is no longer drained: it is no longer in the file"), 1u);
    reload(service_of(two));
    EXPECT_EQ(backend("10.0.0.12:80").state, "up");
}

TEST_F(DaemonOverrides, TheyOutliveTheDaemon)
{
    start(service_of(two));
    expect_ok(say(Action::drain, "a", {}, 300s));
    expect_ok(say(Action::weight, "b", 5));
    restart(service_of(two));
    EXPECT_THAT(slots(), ElementsAre(0, 1));
    EXPECT_EQ(backend("10.0.0.11:80").override.deadline_seconds, 300);
    EXPECT_EQ(backend("10.0.0.12:80").override.weight, 5);
    restart(service_of(R"({name: a, address: "10.0.0.11:80"}, {name: b, address: "10.0.0.12:80", weight: 2})"));
    EXPECT_EQ(backend("10.0.0.12:80").override.at, "") << "the file has changed meanwhile";
    EXPECT_TRUE(backend("10.0.0.11:80").override.drained);
}

TEST_F(DaemonOverrides, WithoutAFileTheyEndWithTheDaemon)
{
    options_.overrides.clear();
    start(service_of(two));
    expect_ok(say(Action::drain, "a"));
    restart(service_of(two));
    EXPECT_EQ(backend("10.0.0.11:80").state, "up");
    EXPECT_FALSE(std::filesystem::exists(file_));
}

TEST_F(DaemonOverrides, AFileThatCannotBeUnderstoodIsMovedAside)
{
    for (const char* broken : {"", "{", R"({"version": 2, "overrides": []})", R"({"version": 1, "overrides": [{}]})",
             R"({"version": 1, "overrides": [{"service": "web", "address": "no", "port": 80, "drained": true,
                 "configured_weight": 1, "at": ""}]})"}) {
        std::ofstream(file_) << broken;
        start(service_of(two));
        EXPECT_EQ(backend("10.0.0.11:80").state, "up") << broken;
        EXPECT_TRUE(std::filesystem::exists(file_ + ".broken")) << broken;
        EXPECT_FALSE(std::filesystem::exists(file_)) << broken;
    }
    EXPECT_EQ(log_.count("cannot be understood"), 5u);
}

TEST_F(DaemonOverrides, WhatCannotBeKeptIsNotDone)
{
    options_.overrides = "/proc/featherlb/overrides";
    start(service_of(two));
    const OverrideReport report = say(Action::drain, "a");
    EXPECT_EQ(report.result, OverrideReport::Result::failed);
    EXPECT_THAT(describe(*report.error), HasSubstr("cannot be written"));
    EXPECT_THAT(slots(), ElementsAre(1, 1));
}

TEST_F(DaemonOverrides, WhatCannotBeCarriedOutIsTakenBack)
{
    start(service_of(two));
    plane_.failing_applies = 2; // for the service alone, and for all
    const OverrideReport report = say(Action::drain, "a");
    EXPECT_EQ(report.result, OverrideReport::Result::failed);
    loop_.advance(2s);
    EXPECT_EQ(backend("10.0.0.11:80").state, "up");
    restart(service_of(two));
    EXPECT_EQ(backend("10.0.0.11:80").state, "up");
}

TEST_F(DaemonOverrides, ADeadlineOfItsOwnEndsTheConnectionsThatAreLeft)
{
    start(service_of(two, "drain_timeout: 1h"));
    expect_ok(say(Action::drain, "a", {}, 60s));
    loop_.advance(59s);
    EXPECT_FALSE(plane_.tables.backends.at(1).reset);
    loop_.advance(2s);
    EXPECT_TRUE(plane_.tables.backends.at(1).reset);
    expect_ok(say(Action::undrain, "a"));
    EXPECT_FALSE(plane_.tables.backends.at(1).reset);
}

TEST_F(DaemonOverrides, ADeadlineMayBeGivenToABackendThatDrainsAlready)
{
    start(service_of(two));
    expect_ok(say(Action::drain, "a"));
    loop_.advance(10s);
    expect_ok(say(Action::drain, "a", {}, 60s)); // from its beginning
    loop_.advance(49s);
    EXPECT_FALSE(plane_.tables.backends.at(1).reset);
    loop_.advance(2s);
    EXPECT_TRUE(plane_.tables.backends.at(1).reset);
}

TEST_F(DaemonOverrides, AnInterfaceThatCannotBeAttachedDoesNotConcernThem)
{
    start(service_of(two));
    plane_.failing_attach = true;
    text_ = service_of(two);
    network_.links.at(0).mac = {2, 2, 2, 2, 2, 2};
    plane_.attached.clear();
    controller_->reload([](const LoadReport&) {});
    loop_.advance(1ms);
    ASSERT_NE(controller_->status().problem, "");
    expect_ok(say(Action::drain, "a"));
    EXPECT_THAT(slots(), ElementsAre(0, 1));
    loop_.advance(5s);
    EXPECT_THAT(slots(), ElementsAre(0, 1));
}

TEST_F(DaemonOverrides, AWeightThatTheAlgorithmDoesNotUseIsRefused)
{
    start(service_of(two, "algorithm: round-robin"));
    const OverrideReport report = say(Action::weight, "a", 3);
    EXPECT_EQ(report.result, OverrideReport::Result::unknown);
    EXPECT_THAT(describe(*report.error), HasSubstr("round-robin does not use weights"));
    expect_ok(say(Action::weight, "a", 0));
    EXPECT_THAT(say(Action::undrain, "a").warnings, ElementsAre("a has weight 0 by command: it takes no connections"));
}

TEST_F(DaemonOverrides, OfAnAddressOfANameTheyStayWhileItIsAway)
{
    resolver_.answers["web.internal"] = {*IpAddress::parse("10.0.0.11"), *IpAddress::parse("10.0.0.12")};
    const std::string named = service_of(R"({dns: "web.internal:80", interval: 1s})");
    start(named);
    EXPECT_THAT(
        say(Action::drain, "web.internal:80").warnings, testing::Contains("addresses that come later are not drained"));
    expect_ok(say(Action::undrain, "10.0.0.12:80"));
    EXPECT_THAT(slots(), ElementsAre(0, 1));
    resolver_.answers["web.internal"] = {*IpAddress::parse("10.0.0.12")};
    loop_.advance(3s);
    reload(named);
    resolver_.answers["web.internal"] = {*IpAddress::parse("10.0.0.11"), *IpAddress::parse("10.0.0.12")};
    loop_.advance(3s);
    EXPECT_EQ(backend("10.0.0.11:80").state, "draining");
    expect_ok(say(Action::undrain, "10.0.0.11:80"));
    EXPECT_EQ(backend("10.0.0.11:80").state, "up");
}

TEST_F(DaemonOverrides, WhoeverIsAwayWhenANameIsUndrainedIsToldOf)
{
    resolver_.answers["web.internal"] = {*IpAddress::parse("10.0.0.11"), *IpAddress::parse("10.0.0.12")};
    start(service_of(R"({dns: "web.internal:80", interval: 1s})"));
    expect_ok(say(Action::drain, "web.internal:80"));
    resolver_.answers["web.internal"] = {*IpAddress::parse("10.0.0.12")};
    loop_.advance(3s);
    EXPECT_THAT(say(Action::undrain, "web.internal:80").warnings,
        ElementsAre("10.0.0.11:80 is not there at the moment and stays drained: "
                    "featherlb undrain web/10.0.0.11:80 ends that"));
    EXPECT_TRUE(say(Action::undrain, "10.0.0.11:80").warnings.empty());
}

TEST_F(DaemonOverrides, OfAnAddressOfANameTheyEndWithTheName)
{
    resolver_.answers["web.internal"] = {*IpAddress::parse("10.0.0.11")};
    start(service_of(R"({dns: "web.internal:80", interval: 1s})"));
    expect_ok(say(Action::drain, "10.0.0.11:80"));
    reload(service_of(R"({name: a, address: "10.0.0.12:80"})"));
    EXPECT_EQ(log_.count("it is no longer in the file"), 1u);
    reload(service_of(R"({name: a, address: "10.0.0.12:80"}, {name: b, address: "10.0.0.11:80"})"));
    EXPECT_THAT(slots(), ElementsAre(1, 1));
}

TEST_F(DaemonOverrides, WhatIsNotThereIsNamedWithWhatWasMeant)
{
    start(service_of(two));
    OverrideReport report = say(Action::drain, "c");
    EXPECT_EQ(report.result, OverrideReport::Result::unknown);
    EXPECT_THAT(describe(*report.error), HasSubstr("service web has no backend \"c\""));
    report = controller_->override_backend({.action = Action::drain, .service = "wbe", .backend = "a"});
    EXPECT_EQ(report.result, OverrideReport::Result::unknown);
    EXPECT_THAT(describe(*report.error), HasSubstr("did you mean \"web\"?"));
}

TEST_F(DaemonOverrides, AServiceThatIsLeftWithoutBackendsIsAWarning)
{
    start(service_of(two));
    expect_ok(say(Action::drain, "a"));
    EXPECT_THAT(say(Action::drain, "b").warnings, ElementsAre("no backend of web takes IPv4 connections now"));
    EXPECT_THAT(say(Action::undrain, "b").warnings, IsEmpty());
}

TEST_F(DaemonOverrides, UndrainOfABackendThatTheFileDrainsSaysSo)
{
    start(service_of(R"({name: a, address: "10.0.0.11:80", weight: 0}, {name: b, address: "10.0.0.12:80"})"));
    EXPECT_THAT(say(Action::undrain, "a").warnings, ElementsAre("a has weight 0 in the file: it takes no connections"));
}

TEST(OverrideBodies, AreReadStrictly)
{
    const auto read = [](Action action, const std::string& body) { return read_override(action, body); };
    const auto drain = read(Action::drain, R"({"service": "web", "backend": "a", "deadline_seconds": 60})");
    ASSERT_TRUE(drain);
    EXPECT_EQ(drain->deadline, 60s);
    const auto weight = read(Action::weight, R"({"service": "web", "backend": "a", "weight": null})");
    ASSERT_TRUE(weight);
    EXPECT_FALSE(weight->weight);
    for (const char* body : {"", "[]", "{", R"({"service": "web"})", R"({"service": 1, "backend": "a"})"})
        EXPECT_FALSE(read(Action::drain, body)) << body;
    for (const char* value : {"-1", "1001", "1.5", "\"3\"", "true"}) {
        const std::string body = R"({"service": "web", "backend": "a", "weight": )" + std::string(value) + "}";
        EXPECT_FALSE(read(Action::weight, body)) << body;
    }
    const auto unknown = read(Action::undrain, R"({"service": "web", "backend": "a", "deadline_seconds": 60})");
    ASSERT_FALSE(unknown);
    EXPECT_EQ(unknown.error().message, "\"deadline_seconds\" is no key of this request");
    EXPECT_EQ(unknown.error().remedy, "it may have: service, backend");
    EXPECT_EQ(read(Action::drain, R"({"service": "web", "backend": "a", "weight": 3})").error().remedy,
        "it may have: service, backend, deadline_seconds");
    EXPECT_FALSE(read(Action::weight, R"({"service": "web", "backend": "a"})"));
    EXPECT_FALSE(read(Action::drain, R"({"service": "web", "backend": "a", "deadline_seconds": 2592001})"));
}

} // namespace
} // namespace featherlb
