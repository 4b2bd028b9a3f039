// SPDX-License-Identifier: Apache-2.0
// SlowStart: who starts slowly, and how much it has by when.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "daemon/slow_start.h"
#include "unit/plan_support.h"

namespace featherlb {
namespace {

using namespace plan_test;
using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;

RC_GTEST_PROP(Ramp, grows_from_ten_percent_to_all_in_ten_steps, ())
{
    const std::chrono::seconds duration{*rc::gen::inRange(1, 3601)};
    const std::chrono::nanoseconds elapsed{*rc::gen::inRange<std::int64_t>(0, 7200LL * 1'000'000'000LL)};
    const auto percent = ramp_percent(elapsed, duration);
    RC_ASSERT(percent >= 10U);
    RC_ASSERT(percent <= 100U);
    RC_ASSERT(percent % 10 == 0U);
    RC_ASSERT((percent == 100) == (elapsed >= duration));
    // Never ahead of a straight line, and less than a step behind it.
    const double line = 10 + 90 * std::min(1.0, std::chrono::duration<double>(elapsed) / duration);
    RC_ASSERT(percent <= line + 1e-6);
    RC_ASSERT(percent > line - 10 - 1e-6);
    const auto next = next_ramp_step(elapsed, duration);
    RC_ASSERT(next.has_value() == (percent < 100));
    if (next) {
        RC_ASSERT(*next > elapsed);
        RC_ASSERT(ramp_percent(*next, duration) == percent + 10);
        RC_ASSERT(ramp_percent(*next - 1ns, duration) == percent);
    }
}

class SlowStarting : public testing::Test {
protected:
    SlowStarting()
    {
        config = config_of(
            {service("web", {listen("203.0.113.10:80")}, {backend("10.0.1.11:80"), backend("10.0.1.12:80")})});
        config.services[0].sharing.slow_start = 9s;
    }
    static BackendKey named(const char* text, const char* service = "web") { return {service, endpoint(text)}; }
    void go_on(const std::set<BackendKey>& taking) { state = state.next(config, taking, have, now); }
    auto percents() const { return state.percents(now); }

    Config config;
    Tables have;
    SlowStart state;
    SlowStart::Time now{1h};
    const BackendKey one = named("10.0.1.11:80"), two = named("10.0.1.12:80");
};

TEST_F(SlowStarting, nobody_does_when_the_daemon_starts)
{
    go_on({one, two});
    EXPECT_THAT(percents(), IsEmpty());
    EXPECT_FALSE(state.next_step(now));
}

TEST_F(SlowStarting, one_that_comes_up_does)
{
    go_on({one});
    go_on({one, two});
    EXPECT_THAT(percents(), ElementsAre(Pair(two, 10)));
    EXPECT_EQ(state.next_step(now), now + 1s);
    EXPECT_EQ(state.left(two, now), 9s);
    now += 1s;
    go_on({one, two});
    EXPECT_THAT(percents(), ElementsAre(Pair(two, 20)));
    now += 8s;
    EXPECT_THAT(percents(), IsEmpty());
    EXPECT_FALSE(state.next_step(now));
    go_on({one, two});
    EXPECT_EQ(state.percent(two, now), 100U);
}

TEST_F(SlowStarting, one_that_goes_down_within_its_ramp_begins_anew)
{
    go_on({one});
    go_on({one, two});
    now += 5s;
    go_on({one});
    EXPECT_THAT(percents(), IsEmpty());
    now += 1s;
    go_on({one, two});
    EXPECT_THAT(percents(), ElementsAre(Pair(two, 10)));
}

TEST_F(SlowStarting, all_that_come_back_together_do)
{
    go_on({});
    go_on({one, two});
    EXPECT_THAT(percents(), ElementsAre(Pair(one, 10), Pair(two, 10)));
}

TEST_F(SlowStarting, not_those_of_a_new_service)
{
    go_on({one, two});
    config.services.push_back(service("shop", {listen("203.0.113.10:81")}, {backend("10.0.1.11:80")}));
    config.services[1].sharing.slow_start = 9s;
    go_on({one, two, named("10.0.1.11:80", "shop")});
    EXPECT_THAT(percents(), IsEmpty());
}

TEST_F(SlowStarting, not_those_of_a_service_that_says_so_only_now)
{
    config.services[0].sharing.slow_start = 0s;
    go_on({});
    config.services[0].sharing.slow_start = 9s;
    go_on({one, two});
    EXPECT_THAT(percents(), IsEmpty());
}

TEST_F(SlowStarting, not_one_that_was_used_until_now_because_of_panic)
{
    go_on({one});
    have.services[1].name = "web";
    have.backends[2] = BackendRow{.service = 1, .endpoint = two.endpoint, .down = true, .snat_addresses = {}};
    go_on({one, two});
    EXPECT_THAT(percents(), IsEmpty());
}

TEST_F(SlowStarting, a_new_duration_holds_for_ramps_under_way)
{
    go_on({one});
    go_on({one, two});
    now += 3s;
    config.services[0].sharing.slow_start = 18s;
    go_on({one, two});
    EXPECT_THAT(percents(), ElementsAre(Pair(two, 20)));
    config.services[0].sharing.slow_start = 3s;
    go_on({one, two});
    EXPECT_THAT(percents(), IsEmpty());
    config.services[0].sharing.slow_start = 0s;
    go_on({one, two});
    EXPECT_THAT(percents(), IsEmpty());
}

} // namespace
} // namespace featherlb
