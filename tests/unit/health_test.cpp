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

const CheckResult good{};
const CheckResult bad{CheckResult::Kind::failed, "connection refused"};
const CheckResult nothing{CheckResult::Kind::discarded, "late"};

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

// Feeds `times` equal results; how often the state changed.
int feed(HealthState& state, const CheckResult& result, std::uint32_t times)
{
    int changes = 0;
    for (std::uint32_t i = 0; i < times; ++i)
        changes += state.take(result, 2, 3) != Change::none ? 1 : 0;
    return changes;
}

TEST(HealthState, OneThatFallsAgainAndAgainNeedsMoreGoodChecksEachTime)
{
    HealthState state;
    for (int fall = 1; fall <= 2; ++fall) {
        EXPECT_EQ(feed(state, bad, 3), 1);
        EXPECT_FALSE(state.flapping());
        EXPECT_EQ(state.needed(2), 2u);
        EXPECT_EQ(feed(state, good, 2), 1);
    }
    std::uint32_t expected = 10;
    for (int fall = 3; fall <= 40; ++fall) {
        EXPECT_EQ(feed(state, bad, 3), 1);
        EXPECT_TRUE(state.flapping());
        EXPECT_EQ(state.needed(2), expected);
        EXPECT_EQ(state.needed(100), 100u) << "rise, where that is more";
        EXPECT_EQ(feed(state, good, expected - 1), 0);
        EXPECT_EQ(feed(state, bad, 1), 0) << "in a row";
        EXPECT_EQ(feed(state, good, expected - 1), 0);
        EXPECT_EQ(feed(state, good, 1), 1);
        expected = std::min(expected * 2, HealthState::steady_after);
    }
}

TEST(HealthState, OneThatAlternatesFastStaysDown)
{
    HealthState state;
    int changes = 0;
    for (int i = 0; i < 1000; ++i)
        changes += feed(state, bad, 3) + feed(state, good, 4);
    EXPECT_EQ(changes, 5);
    EXPECT_TRUE(state.down());
}

TEST(HealthState, OneThatIsSteadyStartsAfresh)
{
    HealthState state;
    feed(state, bad, 3);
    for (int i = 0; i < 5; ++i) { // a fall every 60 good checks is no flapping
        feed(state, good, 2 + HealthState::steady_after);
        EXPECT_EQ(feed(state, bad, 3), 1);
        EXPECT_FALSE(state.flapping());
    }
    feed(state, good, 2 + HealthState::steady_after - 1);
    EXPECT_EQ(feed(state, bad, 1), 0) << "one failed check begins the row anew";
    feed(state, good, HealthState::steady_after - 1);
    feed(state, bad, 3);
    feed(state, good, 2);
    feed(state, bad, 3);
    EXPECT_TRUE(state.flapping());
    feed(state, good, 10);
    EXPECT_TRUE(state.flapping()) << "up, and watched";
    feed(state, good, HealthState::steady_after);
    EXPECT_FALSE(state.flapping());
    EXPECT_EQ(state.needed(2), 2u);
}

class HealthTest : public testing::Test {
protected:
    static BackendKey key(const std::string& endpoint, const std::string& service = "web")
    {
        return {service, *Endpoint::parse(endpoint)};
    }
    void watch(const std::vector<std::string>& endpoints, const HealthConfig& how = {})
    {
        std::map<BackendKey, Check> targets;
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
    Health health_{loop_, log_, prober_, [this](const BackendKey&) { ++changes_; }};
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

TEST_F(HealthTest, ABackendThatFailsIsAskedMoreOftenUntilItIsUpAgain)
{
    watch({a_}, {.interval = 4s, .fast_interval = 500ms});
    loop_.advance(40s);
    EXPECT_EQ(prober_.count(a_), 10u);
    prober_.fails(a_);
    loop_.advance(4s + 2 * 500ms);
    EXPECT_TRUE(down(a_)) << "after an interval and two fast ones";
    prober_.answers.clear();
    loop_.advance(2 * 500ms);
    EXPECT_FALSE(down(a_));
    const std::size_t before = prober_.count(a_);
    loop_.advance(40s);
    EXPECT_EQ(prober_.count(a_), before + 10);
}

TEST_F(HealthTest, AFastIntervalMayBeShorterThanTheTimeout)
{
    watch({a_}, {.interval = 4s, .fast_interval = 100ms, .timeout = 1s});
    prober_.silent = {a_};
    loop_.advance(4s + 3 * 1s);
    EXPECT_TRUE(down(a_));
    EXPECT_LE(prober_.running, 1) << "one after the other";
}

TEST_F(HealthTest, OneThatFlapsIsNamedWhenItBeginsAndWhenItIsOver)
{
    watch({a_}, {.interval = 1s, .timeout = 500ms, .rise = 1, .fall = 1});
    for (int i = 0; i < 600; ++i) { // a change each 2 s for 20 minutes
        i % 2 == 0 ? prober_.fails(a_) : prober_.answers.clear();
        loop_.advance(2s);
    }
    EXPECT_EQ(changes_, 5);
    EXPECT_TRUE(down(a_));
    EXPECT_THAT(log_.lines, testing::SizeIs(5));
    EXPECT_EQ(
        log_.count("backend 10.0.0.11:80 of web flaps: it is down for the 3rd time without 60 good checks in a row "
                   "between, now by: connection refused; it is up again after 10 good checks in a row, after more "
                   "with each further time, which is not told here until it is over"),
        1u);
    prober_.answers.clear();
    loop_.advance(11s);
    EXPECT_FALSE(down(a_));
    loop_.advance(61s);
    EXPECT_EQ(log_.count("info backend 10.0.0.11:80 of web no longer flaps: 60 good checks in a row"), 1u);
    EXPECT_THAT(log_.lines, testing::SizeIs(6));
}

TEST_F(HealthTest, OneThatWasSeenToFailIsAskedAtOnce)
{
    watch({a_, b_}, {.interval = 1h, .fast_interval = 500ms, .timeout = 1s, .rise = 1, .fall = 2});
    prober_.fails(a_);
    loop_.advance(2h);
    prober_.answers.clear();
    loop_.advance(2h);
    ASSERT_FALSE(down(a_));
    const std::size_t before = prober_.count(a_);
    health_.ask_soon(key(a_));
    EXPECT_EQ(prober_.count(a_), before + 1);
    EXPECT_FALSE(down(a_)) << "it answers";
    loop_.advance(90min);
    EXPECT_LE(prober_.count(a_), before + 3) << "and then in its turns";
    prober_.fails(a_);
    health_.ask_soon(key(a_));
    loop_.advance(1s);
    EXPECT_TRUE(down(a_));
    const std::size_t then = prober_.count(a_);
    health_.ask_soon(key(a_));
    EXPECT_EQ(prober_.count(a_), then) << "it is down already";
    health_.ask_soon(key("10.0.0.99:80"));
    prober_.silent = {b_};
    const std::size_t asked = prober_.count(b_);
    health_.ask_soon(key(b_));
    health_.ask_soon(key(b_));
    EXPECT_EQ(prober_.count(b_), asked + 1) << "one question at a time";
}

TEST_F(HealthTest, WhatWasAskedBesideItsTurnsDoesNotMoveThem)
{
    watch({a_}, {.interval = 10s, .jitter = 50, .timeout = 1s});
    health_.ask_soon(key(a_));
    EXPECT_EQ(prober_.count(a_), 1u) << "before its first turn";
    for (int i = 0; i < 20; ++i) {
        loop_.advance(7s); // while a turn waits for its jitter, too
        health_.ask_soon(key(a_));
    }
    const std::size_t before = prober_.count(a_);
    EXPECT_GE(before, 21u + 13u);
    EXPECT_LE(before, 21u + 15u);
    loop_.advance(100s);
    EXPECT_NEAR(static_cast<double>(prober_.count(a_) - before), 10, 1);
    EXPECT_FALSE(down(a_));
}

TEST_F(HealthTest, OneWhoseChecksFailAlreadyIsNotHurried)
{
    watch({a_}, {.interval = 10s, .timeout = 1s, .fall = 3});
    prober_.fails(a_);
    for (int i = 0; i < 25; ++i) { // clients are refused all the time
        health_.ask_soon(key(a_));
        loop_.advance(400ms);
    }
    EXPECT_FALSE(down(a_));
    EXPECT_LE(prober_.count(a_), 2u);
    loop_.advance(20s);
    EXPECT_TRUE(down(a_));
}

TEST_F(HealthTest, WithJitterAQuestionBeginsLaterThanItsTurnAndTheNextDoesNot)
{
    watch({a_}, {.interval = 2s, .jitter = 50});
    loop_.advance(200s);
    EXPECT_NEAR(static_cast<double>(prober_.count(a_)), 100, 1);
    std::set<Loop::Clock::duration> distances;
    for (std::size_t i = 1; i < prober_.asked.size(); ++i) {
        const auto distance = prober_.asked[i].first - prober_.asked[i - 1].first;
        distances.insert(distance);
        EXPECT_GE(distance, 1s);
        EXPECT_LE(distance, 3s);
    }
    EXPECT_GT(distances.size(), 50u);
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
    prober_.answers[a_] = {CheckResult::Kind::discarded, "this machine cannot ask: Too many open files"};
    loop_.advance(20s);
    EXPECT_FALSE(down(a_));
    EXPECT_EQ(log_.count("Too many open files"), 1u);
}

} // namespace
} // namespace featherlb
