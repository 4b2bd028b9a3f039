// SPDX-License-Identifier: Apache-2.0
// What the controller says that a reload would change.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "unit/running_controller.h"

namespace featherlb {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;
using testing::Not;

std::string service_text(const std::string& backends, const std::string& more = "algorithm: weighted-round-robin")
{
    return "interfaces: [eth0]\nservices:\n  - name: web\n    listen: [\"10.0.0.1:80/tcp\"]\n    backends: [" +
           backends + "]\n    " + more + "\n";
}
const std::string a = R"({name: a, address: "10.0.0.11:80"})", b = R"({name: b, address: "10.0.0.12:80"})",
                  c = R"({name: c, address: "10.0.0.13:80"})";

class DaemonPlan : public RunningController {
protected:
    LoadReport plan(const std::string& text)
    {
        text_ = text;
        std::optional<LoadReport> result;
        controller_->plan([&result](const LoadReport& report) { result = report; });
        loop_.advance(2s);
        EXPECT_TRUE(result.has_value());
        return result.value_or(LoadReport{});
    }
    // Of a file that is right.
    std::string text_of(const std::string& text)
    {
        const LoadReport report = plan(text);
        EXPECT_EQ(report.result, LoadReport::Result::ok) << report.text();
        return report.plan ? format_plan(*report.plan, report.file) : "";
    }
};

TEST_F(DaemonPlan, NothingIsSaidOfTheSameFile)
{
    start(service_text(a + ", " + b));
    const auto applied = plane_.applied.size();
    EXPECT_EQ(text_of(service_text(a + ", " + b)), "test.yaml: a reload would change nothing\n");
    EXPECT_EQ(plane_.applied.size(), applied);
}

TEST_F(DaemonPlan, ABackendThatComesAndOneThatGoes)
{
    start(service_text(a + ", " + b));
    const auto applied = plane_.applied.size();
    const std::string text = text_of(service_text(a + ", " + c));
    EXPECT_THAT(text, HasSubstr("services.web.backends.b: address: 10.0.0.12:80, name: b -> (not set)"));
    EXPECT_THAT(text, Not(HasSubstr("services.web.backends.a")));
    EXPECT_THAT(text, HasSubstr("backend 10.0.0.13:80 of web: new: takes connections, with weight 1"));
    EXPECT_THAT(text, HasSubstr("backend 10.0.0.12:80 of web: drains: no new connections, it keeps those that it has"));
    EXPECT_THAT(text, HasSubstr("50.0 % of its 2 slots lead to another backend"));
    EXPECT_EQ(plane_.applied.size(), applied) << "nothing is changed";
    EXPECT_EQ(controller_->status().last_reload.result, "") << "nor remembered as a reload";
    EXPECT_EQ(web().backends.size(), 2u);
}

TEST_F(DaemonPlan, WeightsAndListeners)
{
    start(service_text(a + ", " + b));
    std::string other = service_text(a + R"(, {name: b, address: "10.0.0.12:80", weight: 3})");
    other.replace(other.find("10.0.0.1:80/tcp"), 15, "10.0.0.1:81/tcp");
    const std::string text = text_of(other);
    EXPECT_THAT(text, HasSubstr("services.web.backends.b.weight: (not set) -> 3"));
    EXPECT_THAT(text, HasSubstr("services.web.listen: [10.0.0.1:80/tcp] -> [10.0.0.1:81/tcp]"));
    EXPECT_THAT(text, HasSubstr("backend 10.0.0.12:80 of web: weight 1 -> 3"));
    EXPECT_THAT(text, HasSubstr("    listens on 10.0.0.1:81/tcp\n    no longer listens on 10.0.0.1:80/tcp\n"));
}

TEST_F(DaemonPlan, AServiceThatGoes)
{
    start(
        service_text(a) + "  - {name: dns, listen: [\"10.0.0.1:53/udp\"], backends: [{address: \"10.0.0.14:53\"}]}\n");
    const std::string text = text_of(service_text(a));
    EXPECT_THAT(text, HasSubstr("services.dns: "));
    EXPECT_THAT(text, HasSubstr("no longer listens on 10.0.0.1:53/udp"));
    EXPECT_THAT(text, HasSubstr("backend 10.0.0.14:53 of dns: drains"));
}

TEST_F(DaemonPlan, AnInvalidFileIsToldWithItsPlace)
{
    start(service_text(a));
    const LoadReport report = plan(service_text(a, "algoritm: maglev"));
    EXPECT_EQ(report.result, LoadReport::Result::invalid);
    EXPECT_THAT(report.text(), HasSubstr("did you mean \"algorithm\"?"));
    EXPECT_FALSE(report.plan);
    EXPECT_EQ(controller_->status().last_reload.result, "");
}

TEST_F(DaemonPlan, OverridesThatTheFileContradictsEnd)
{
    start(service_text(a + ", " + b));
    ASSERT_EQ(
        controller_->override_backend({.action = OverrideRequest::Action::drain, .service = "web", .backend = "b"})
            .result,
        OverrideReport::Result::ok);
    const std::string heavier = a + R"(, {name: b, address: "10.0.0.12:80", weight: 3})";
    EXPECT_THAT(
        text_of(service_text(heavier)), HasSubstr("10.0.0.12:80 of web: takes connections again, with weight 3"));
    EXPECT_EQ(web().backends.at(1).state, "draining") << "it was only a question";
    reload(service_text(heavier));
    EXPECT_EQ(web().backends.at(1).state, "up");
}

TEST_F(DaemonPlan, WaitsForAReloadThatIsUnderWay)
{
    start(service_text(a));
    text_ = service_text(a + ", " + b);
    std::vector<std::string> order;
    controller_->plan([&order](const LoadReport& report) {
        order.emplace_back("plan");
        EXPECT_GT(report.changes, 0u);
    });
    controller_->reload([&order](const LoadReport&) { order.emplace_back("reload"); });
    controller_->plan([&order](const LoadReport& report) {
        order.emplace_back("plan after");
        EXPECT_EQ(report.changes, 0u);
    });
    loop_.advance(5s);
    EXPECT_THAT(order, testing::ElementsAre("plan", "reload", "plan after"));
}

// Which backend each of many clients' hashes leads to, as the packet programs look it up (pick_scale in bpf/slots.h).
std::vector<std::string> led_to(const Tables& tables)
{
    const ServiceRow& row = tables.services.begin()->second;
    std::vector<std::string> all;
    for (std::uint64_t hash = 0; hash < 1ull << 32; hash += 100'003)
        all.push_back(tables.backends.at(row.slots[hash * row.slots.size() >> 32]).endpoint.to_string());
    return all;
}

TEST_F(DaemonPlan, TheShareThatMovesIsTheOneThatHasMovedAfterTheReload)
{
    const auto many = [](int count, int first_weight) {
        std::string text = fmt::format(R"({{address: "10.0.0.10:80", weight: {}}})", first_weight);
        for (int i = 1; i < count; ++i)
            text += fmt::format(R"(, {{address: "10.0.0.{}:80"}})", 10 + i);
        return text;
    };
    for (const std::string algorithm : {"maglev", "ip-hash", "weighted-round-robin", "random"}) {
        start(service_text(many(3, 1), "algorithm: " + algorithm));
        // Fewer, more, another weight, so many that the table has another size, and back.
        for (const auto& [count, weight] : {std::pair(2, 1), {4, 1}, {4, 3}, {9, 3}, {40, 1}, {13, 2}, {3, 1}}) {
            const std::string file = service_text(many(count, weight), "algorithm: " + algorithm);
            const LoadReport report = plan(file);
            ASSERT_TRUE(report.plan);
            const std::vector<ServiceEffect>& services = report.plan->effects.services;
            ASSERT_EQ(services.size(), 1u);
            const Tables before = plane_.tables;
            const std::vector<std::string> old = led_to(before);
            reload(file);
            loop_.advance(2s);
            const std::vector<std::string> now = led_to(plane_.tables);
            std::size_t moved = 0;
            for (std::size_t i = 0; i < old.size(); ++i)
                moved += old[i] != now[i] ? 1 : 0;
            EXPECT_NEAR(services[0].moved_share, static_cast<double>(moved) / static_cast<double>(old.size()), 0.01)
                << algorithm << ", " << count << " backends";
            const SlotTable& slots = plane_.tables.services.begin()->second.slots;
            const SlotTable& old_slots = before.services.begin()->second.slots;
            EXPECT_EQ(services[0].slots, slots.size());
            if (slots.size() != old_slots.size())
                continue;
            std::size_t other = 0;
            for (std::size_t i = 0; i < slots.size(); ++i)
                other += slots[i] != old_slots[i] ? 1 : 0;
            EXPECT_EQ(services[0].moved_share, static_cast<double>(other) / static_cast<double>(slots.size()));
        }
    }
}

class DaemonDiscovery : public RunningController {
protected:
    static std::vector<IpAddress> many(std::size_t count)
    {
        std::vector<IpAddress> all;
        for (std::size_t i = 0; i < count; ++i)
            all.push_back(*IpAddress::parse("10.0.0." + std::to_string(10 + i)));
        return all;
    }
    const std::string named_ = service_text(R"({dns: "web.internal:80", interval: 1s})");
};

TEST_F(DaemonDiscovery, AnAnswerThatCannotBePlannedLeavesWhatHeld)
{
    resolver_.answers["web.internal"] = many(2);
    start(named_);
    resolver_.answers["web.internal"] = many(120); // the maps have room for 100 backends
    loop_.advance(5s);
    EXPECT_EQ(web().backends.size(), 2u);
    EXPECT_EQ(controller_->status().problem, "") << "what holds can be carried out";
    EXPECT_EQ(controller_->status().last_reload.result, "") << "nobody has reloaded";
    EXPECT_EQ(log_.count("change of names of test.yaml failed"), 1u) << "each half minute";
    EXPECT_EQ(
        controller_
            ->override_backend({.action = OverrideRequest::Action::drain, .service = "web", .backend = "10.0.0.10:80"})
            .result,
        OverrideReport::Result::ok);
    resolver_.answers["web.internal"] = many(3);
    loop_.advance(3s);
    EXPECT_EQ(web().backends.size(), 3u);
}

TEST_F(DaemonDiscovery, AQuestionWhoseAnswerAPlanMakesVoidIsAskedAgain)
{
    resolver_.answers["web.internal"] = many(1);
    start(service_text(R"({dns: "web.internal:80", interval: 1h})"));
    resolver_.answers["web.internal"] = many(2);
    text_ = named_;
    loop_.advance(1h - 2s);
    controller_->plan([](const LoadReport&) {});
    loop_.advance(10s);
    EXPECT_EQ(web().backends.size(), 2u);
}

TEST(MovedShare, ComparesTablesOfAnySize)
{
    EXPECT_EQ(moved_share({1, 2, 1, 2}, {1, 2, 1, 2}), 0);
    EXPECT_EQ(moved_share({1, 2, 1, 2}, {1, 1, 1, 2}), 0.25);
    EXPECT_EQ(moved_share({1, 2}, {1, 1, 2, 2}), 0);
    EXPECT_EQ(moved_share({}, {1}), 1);
    EXPECT_EQ(moved_share({}, {}), 0);
    EXPECT_EQ(moved_share({1}, {}), 1);
    // A third of the hashes for each instead of a half: a sixth moves from the first to the second, a third to the
    // last.
    EXPECT_DOUBLE_EQ(moved_share({1, 2}, {1, 2, 3}), 0.5);
    EXPECT_DOUBLE_EQ(moved_share({1, 2, 3}, {1, 2}), 0.5);
}

} // namespace
} // namespace featherlb
