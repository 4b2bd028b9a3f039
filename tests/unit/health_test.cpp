// SPDX-License-Identifier: Apache-2.0
// Health checks with a clock that is turned by hand and backends that answer as told.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "daemon/health.h"
#include "unit/daemon_fakes.h"

namespace featherlb {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::IsEmpty;
using Change = HealthState::Change;
using Kind = CheckResult::Kind;

const CheckResult good{};
const CheckResult bad{Kind::failed, "connection refused"};
const CheckResult nothing{Kind::discarded, "late"};

TEST(HealthState, ABackendIsUpUntilFallChecksHaveFailedInARow)
{
    HealthState state;
    EXPECT_FALSE(state.down());
    EXPECT_EQ(state.take(bad, 2, 3), Change::none);
    EXPECT_EQ(state.take(bad, 2, 3), Change::none);
    EXPECT_EQ(state.take(good, 2, 3), Change::none) << "in a row";
    EXPECT_EQ(state.take(bad, 2, 3), Change::none);
    EXPECT_EQ(state.take(bad, 2, 3), Change::none);
    EXPECT_EQ(state.take(bad, 2, 3), Change::went_down);
    EXPECT_TRUE(state.down());
    EXPECT_EQ(state.take(bad, 2, 3), Change::none) << "it is down already";
    EXPECT_EQ(state.last_failure(), "connection refused");
}

TEST(HealthState, AndDownUntilRiseWereGoodInARow)
{
    HealthState state(true);
    EXPECT_EQ(state.take(good, 2, 3), Change::none);
    EXPECT_EQ(state.take(bad, 2, 3), Change::none);
    EXPECT_EQ(state.take(good, 2, 3), Change::none);
    EXPECT_EQ(state.take(good, 2, 3), Change::went_up);
    EXPECT_FALSE(state.down());
}

TEST(HealthState, WhatIsDiscardedChangesNothingAndIsCounted)
{
    HealthState state;
    EXPECT_EQ(state.take(bad, 1, 2), Change::none);
    EXPECT_EQ(state.take(nothing, 1, 2), Change::none);
    EXPECT_EQ(state.take(bad, 1, 2), Change::went_down) << "neither for nor against";
    EXPECT_EQ(state.failed(), 2u);
    EXPECT_EQ(state.discarded(), 1u);
    EXPECT_EQ(state.good(), 0u);
}

TEST(HealthState, ReadsTheStatusOfAnAnswer)
{
    const HealthConfig how{.type = HealthType::http};
    const auto judge = [&how](std::string_view text, bool ended = false) { return judge_http(text, ended, how); };
    for (const char* text : {"", "H", "HTTP/1.", "HTTP/1.1 20", "HTTP/1.1 200"})
        EXPECT_FALSE(judge(text).has_value()) << text;
    for (const char* text : {"HTTP/1.1 200 OK\r\n", "HTTP/1.0 204\r\n", "HTTP/1.1 299 \r\n\r\nHTTP/1.1 500"})
        EXPECT_EQ(judge(text)->kind, Kind::good) << text;
    EXPECT_EQ(judge("HTTP/1.1 200", true)->kind, Kind::good);
    EXPECT_EQ(judge("HTTP/1.1 503 Service Unavailable\r\n")->reason, "HTTP 503, expected 200-299");
    EXPECT_EQ(judge("HTTP/1.1 199 ")->reason, "HTTP 199, expected 200-299");
    for (const char* text : {"SSH-2.0-OpenSSH", "HTTP/2 200 ok..", "HTTP/1.1 2000 ", "HTTP/1.1  200 ", "HTTP/1.1 -20 "})
        EXPECT_EQ(judge(text)->reason, "the answer is not HTTP") << text;
    EXPECT_EQ(judge("", true)->reason, "closed without an answer");
    EXPECT_EQ(judge("HTTP/1.1 20", true)->reason, "the answer ends within its first line");
    const HealthConfig one{.type = HealthType::http, .expect_first = 204, .expect_last = 204};
    EXPECT_EQ(judge_http("HTTP/1.1 200 OK", false, one)->reason, "HTTP 200, expected 204");
}

class HealthTest : public testing::Test {
protected:
    static BackendKey key(const std::string& endpoint, const std::string& service = "web")
    {
        return {service, *Endpoint::parse(endpoint)};
    }
    void watch(const std::vector<std::string>& endpoints, const HealthConfig& how = {})
    {
        std::map<BackendKey, HealthConfig> targets;
        for (const std::string& endpoint : endpoints)
            targets.emplace(key(endpoint), how);
        health_.watch(targets);
    }
    [[nodiscard]] bool down(const std::string& endpoint) const { return health_.down().contains(key(endpoint)); }
    const HealthState& state(const std::string& endpoint) const { return *health_.find(key(endpoint)); }

    FakeLoop loop_;
    FakeLog log_;
    FakeProber prober_{loop_};
    int changes_ = 0;
    Health health_{loop_, log_, prober_, [this] { ++changes_; }};
    const std::string a_ = "10.0.0.11:80";
    const std::string b_ = "10.0.0.12:80";
};

TEST_F(HealthTest, AsksOnceAnInterval)
{
    watch({a_});
    loop_.advance(20s);
    EXPECT_EQ(prober_.count(a_), 10u);
    EXPECT_EQ(state(a_).good(), 10u);
    EXPECT_THAT(log_.lines, IsEmpty());
    for (std::size_t i = 1; i < prober_.asked.size(); ++i)
        EXPECT_EQ(prober_.asked[i].first - prober_.asked[i - 1].first, 2s);
}

TEST_F(HealthTest, ABackendThatDiesIsDownWithinFallIntervalsAndATimeout)
{
    watch({a_, b_});
    loop_.advance(7s);
    prober_.silent = {a_};
    loop_.advance(7s - 1ms);
    EXPECT_TRUE(down(a_));
    EXPECT_FALSE(down(b_));
    EXPECT_EQ(changes_, 1);
    EXPECT_EQ(log_.count("warning backend 10.0.0.11:80 of web is down: timeout after 1s, waiting for the connection "
                         "(3 failed checks in a row)"),
        1u);
    loop_.advance(1min);
    EXPECT_THAT(log_.lines, testing::SizeIs(1)) << "a change is told once";
    prober_.silent.clear();
    loop_.advance(4s);
    EXPECT_FALSE(down(a_));
    EXPECT_EQ(changes_, 2);
    EXPECT_EQ(log_.count("info backend 10.0.0.11:80 of web is up: 2 good checks in a row"), 1u);
}

TEST_F(HealthTest, ARefusedConnectionFailsAtOnce)
{
    watch({a_}, {.interval = 500ms, .timeout = 100ms, .fall = 1});
    prober_.fails(a_);
    loop_.advance(501ms);
    EXPECT_TRUE(down(a_));
    EXPECT_EQ(log_.count("is down: connection refused (1 failed check in a row)"), 1u);
}

TEST_F(HealthTest, AsksAtThePortThatIsConfigured)
{
    watch({a_}, {.port = std::uint16_t{9000}});
    loop_.advance(2s);
    EXPECT_EQ(prober_.count("10.0.0.11:9000"), 1u);
    EXPECT_EQ(state(a_).good(), 1u);
}

TEST_F(HealthTest, ChecksOfManyBackendsAreSpread)
{
    std::vector<std::string> many;
    for (int i = 0; i < 1000; ++i)
        many.push_back("10.0." + std::to_string(i / 250) + "." + std::to_string(i % 250 + 1) + ":80");
    watch(many);
    std::size_t most = 0;
    for (int tenth = 0; tenth < 20; ++tenth) {
        const std::size_t before = prober_.asked.size();
        loop_.advance(100ms);
        most = std::max(most, prober_.asked.size() - before);
    }
    EXPECT_GE(prober_.asked.size(), 1000u);
    EXPECT_LE(prober_.asked.size(), 1010u); // those whose place is the very first are asked again
    EXPECT_LT(most, 100u) << "50 in each tenth of a second, were they spread perfectly";
}

TEST_F(HealthTest, AReloadStartsAndStopsChecksAndKeepsWhatIsKnown)
{
    watch({a_, b_});
    prober_.fails(a_);
    prober_.silent = {b_};
    loop_.advance(8s);
    EXPECT_TRUE(down(a_) && down(b_));
    watch({a_, "10.0.0.13:80"});
    EXPECT_TRUE(down(a_));
    EXPECT_FALSE(down(b_));
    EXPECT_EQ(health_.find(key(b_)), nullptr);
    const auto asked = prober_.count(b_);
    loop_.advance(10s);
    EXPECT_EQ(prober_.count(b_), asked);
    EXPECT_EQ(prober_.count("10.0.0.13:80"), 5u);
    watch({});
    EXPECT_THAT(health_.down(), IsEmpty());
    EXPECT_EQ(prober_.running, 0);
}

TEST_F(HealthTest, OtherSettingsHoldAtOnceAndTheStateStays)
{
    watch({a_}, {.interval = 1h, .timeout = 1min});
    prober_.fails(a_);
    watch({a_}, {.interval = 1s, .timeout = 1s, .fall = 2});
    loop_.advance(2s);
    EXPECT_TRUE(down(a_));
    watch({a_}, {.interval = 2s, .timeout = 1s, .fall = 9});
    EXPECT_TRUE(down(a_));
}

TEST_F(HealthTest, ADaemonThatAdoptsKnowsWhoWasDown)
{
    health_.adopt({key(a_), key("10.0.0.99:80")});
    EXPECT_TRUE(down(a_)) << "before the first check, too";
    watch({a_, b_});
    EXPECT_THAT(health_.down(), ElementsAre(key(a_)));
    loop_.advance(4s);
    EXPECT_FALSE(down(a_));
}

// ---- the daemon is late ----

TEST_F(HealthTest, AStopOfTenSecondsMarksNothingDown)
{
    std::vector<std::string> many;
    for (int i = 1; i <= 100; ++i)
        many.push_back("10.0.0." + std::to_string(i) + ":80");
    for (const std::string& backend : many)
        prober_.takes[backend] = 900ms; // some are under way at any moment
    watch(many, {.fall = 1});
    loop_.advance(5s);
    EXPECT_GT(prober_.running, 20);
    // What was on its way is lost with the stop, as far as the prober can tell.
    prober_.silent = {many.begin(), many.end()};
    loop_.advance(100ms);
    prober_.silent.clear();
    loop_.stall(10s);
    loop_.advance(3s);
    EXPECT_THAT(health_.down(), IsEmpty());
    EXPECT_EQ(log_.count("is down"), 0u);
    EXPECT_EQ(log_.count("health checks are discarded"), 1u) << "told once for all";
    std::uint64_t discarded = 0;
    for (const std::string& backend : many)
        discarded += state(backend).discarded();
    EXPECT_GT(discarded, 0u);
}

TEST_F(HealthTest, AfterAStopChecksAreStillSpread)
{
    std::vector<std::string> many;
    for (int i = 1; i <= 200; ++i)
        many.push_back("10.0.0." + std::to_string(i) + ":80");
    watch(many);
    loop_.advance(5s);
    prober_.asked.clear();
    loop_.stall(10s);
    EXPECT_LT(prober_.asked.size(), 130u) << "those that were due long ago wait for their turn";
    loop_.advance(4s);
    EXPECT_GE(prober_.asked.size(), 400u);
}

TEST_F(HealthTest, AFailureDuringALongHandlerIsDiscarded)
{
    watch({a_}, {.fall = 1});
    loop_.advance(2s);
    prober_.fails(a_);
    prober_.takes[a_] = 800ms;
    while (prober_.running == 0)
        loop_.advance(10ms);
    loop_.stall(900ms); // the answer has come meanwhile, and the time is not over
    EXPECT_FALSE(down(a_));
    EXPECT_EQ(state(a_).discarded(), 1u);
    loop_.advance(2s + 900ms);
    EXPECT_TRUE(down(a_)) << "the next one counts";
}

TEST_F(HealthTest, AGoodAnswerThatIsThereWhenTheTimeIsUpCounts)
{
    watch({a_}, {.fall = 1});
    prober_.takes[a_] = 1s; // its timer is due after that of the timeout, at the same moment
    loop_.advance(4s);
    EXPECT_EQ(state(a_).failed(), 0u);
    EXPECT_EQ(state(a_).good(), 1u);
}

TEST_F(HealthTest, AShortDelayDoesNotExcuseAFailure)
{
    watch({a_}, {.fall = 1});
    loop_.advance(2s);
    prober_.silent = {a_};
    while (prober_.running == 0)
        loop_.advance(10ms);
    loop_.stall(300ms);
    loop_.advance(1s);
    EXPECT_TRUE(down(a_));
}

TEST_F(HealthTest, ADelayBeforeTheCheckBeganDoesNotExcuseItsFailure)
{
    watch({a_}, {.fall = 1});
    prober_.fails(a_);
    loop_.stall(2s + 900ms); // its turn is past, by less than half an interval or by more
    loop_.advance(2s);
    EXPECT_TRUE(down(a_));
}

TEST_F(HealthTest, WhatThisMachineCannotAskSaysNothingOfTheBackend)
{
    watch({a_}, {.fall = 1});
    prober_.answers[a_] = {Kind::discarded, "this machine cannot ask: Too many open files"};
    loop_.advance(20s);
    EXPECT_FALSE(down(a_));
    EXPECT_EQ(log_.count("Too many open files"), 1u);
}

} // namespace
} // namespace featherlb
