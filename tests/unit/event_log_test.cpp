// SPDX-License-Identifier: Apache-2.0
// Who listens to events, for how long the programs are asked, and what is left out.
#include "daemon/event_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "daemon/api.h"
#include "daemon_fakes.h"

#include <nlohmann/json.hpp>

namespace featherlb {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

class EventLogTest : public testing::Test {
public:
    static std::vector<Event> describe(std::span<const SeenSample> samples)
    {
        std::vector<Event> events;
        for (const SeenSample& seen : samples)
            events.push_back(make_event(seen.sample, seen.time, {}));
        return events;
    }
    void ask(const std::string& reason = {}, std::optional<EventCursor> after = {}, std::chrono::seconds wait = 2s)
    {
        EventQuery query{make_event_filter("", reason, "", "").value(), after, wait};
        const auto asked = log.ask(query, [this](EventBatch batch) { got.push_back(std::move(batch)); });
        EXPECT_TRUE(asked) << featherlb::describe(asked.error());
    }
    void happens(flb_drop_reason reason, std::size_t times = 1)
    {
        flb_sample sample{};
        sample.family = FLB_IPV4;
        sample.reason = reason;
        sample.kind = reason == FLB_DROP_none ? FLB_SAMPLE_NEW : FLB_SAMPLE_DROP;
        plane.samples.insert(plane.samples.end(), times, sample);
    }
    std::uint64_t asked() const { return plane.asked_samples.empty() ? 0 : plane.asked_samples.back(); }

    FakeLoop loop;
    FakePlane plane;
    std::vector<EventBatch> got;
    EventLog log{loop, plane, describe};
};

TEST_F(EventLogTest, NobodyListensAndNothingIsAsked)
{
    loop.advance(10s);
    EXPECT_THAT(plane.asked_samples, IsEmpty());
}

TEST_F(EventLogTest, AnEventIsAnsweredSoonAndTheNextQuestionGoesOnFromThere)
{
    happens(FLB_DROP_denied);
    ask();
    loop.advance(1s);
    EXPECT_THAT(got, IsEmpty()) << "what was before is of no interest";
    happens(FLB_DROP_denied);
    happens(FLB_DROP_none);
    loop.advance(100ms);
    ASSERT_THAT(got, SizeIs(1));
    ASSERT_THAT(got[0].events, SizeIs(2));
    EXPECT_EQ(got[0].events[0].reason, "denied");
    EXPECT_EQ(got[0].events[1].reason, "new");
    EXPECT_EQ(got[0].left_out, 0u);
    happens(FLB_DROP_refused);
    loop.advance(1s);
    ask({}, got[0].next);
    ASSERT_THAT(got, SizeIs(2)) << "what came meanwhile is there at once";
    EXPECT_EQ(got[1].events.at(0).reason, "refused");
}

TEST_F(EventLogTest, AWaitEndsWithoutEvents)
{
    ask();
    loop.advance(1900ms);
    EXPECT_THAT(got, IsEmpty());
    loop.advance(200ms);
    ASSERT_THAT(got, SizeIs(1));
    EXPECT_THAT(got[0].events, IsEmpty());
}

TEST_F(EventLogTest, TheProgramsAreAskedAgainAndAgainAndNoLongerThanSomebodyListens)
{
    ask("denied");
    EXPECT_EQ(asked(), 1ull << FLB_DROP_denied);
    loop.advance(2s);
    EXPECT_GE(plane.asked_samples.size(), 2u) << "they stop by themselves otherwise";
    loop.advance(EventLog::grace - 1s);
    EXPECT_EQ(asked(), 1ull << FLB_DROP_denied) << "the next question may still come";
    loop.advance(2s);
    EXPECT_EQ(asked(), 0u);
    const std::size_t before = plane.asked_samples.size();
    loop.advance(60s);
    EXPECT_EQ(plane.asked_samples.size(), before) << "and the daemon does nothing any more";
}

TEST_F(EventLogTest, TwoThatListenAskForBoth)
{
    ask("denied", {}, 30s);
    ask("refused");
    EXPECT_EQ(asked(), 1ull << FLB_DROP_denied | 1ull << FLB_DROP_refused);
    happens(FLB_DROP_refused);
    loop.advance(100ms);
    ASSERT_THAT(got, SizeIs(1));
    EXPECT_EQ(got[0].events.at(0).reason, "refused");
    loop.advance(10s);
    EXPECT_EQ(asked(), 1ull << FLB_DROP_denied) << "the second has not asked again";
    happens(FLB_DROP_refused);
    happens(FLB_DROP_denied);
    loop.advance(100ms);
    ASSERT_THAT(got, SizeIs(2));
    EXPECT_EQ(got[1].events.at(0).reason, "denied");
}

TEST_F(EventLogTest, WhatThePlaneLeftOutIsToldByReason)
{
    plane.left_out[FLB_DROP_denied] = 1000;
    ask("denied");
    plane.left_out[FLB_DROP_denied] += 7;
    plane.left_out[FLB_DROP_refused] += 100;
    happens(FLB_DROP_denied);
    loop.advance(100ms);
    ASSERT_THAT(got, SizeIs(1));
    EXPECT_EQ(got[0].left_out, 7u);
    plane.left_out[FLB_DROP_denied] += 5;
    ask("denied", got[0].next);
    loop.advance(2100ms);
    ASSERT_THAT(got, SizeIs(2));
    EXPECT_EQ(got[1].left_out, 5u);
}

TEST_F(EventLogTest, MemoryIsBoundedAndWhatWasOverwrittenIsCounted)
{
    ask("refused", {}, 30s);
    ask();
    for (int i = 0; i < 4; ++i) {
        happens(FLB_DROP_denied, EventLog::most_kept);
        happens(FLB_DROP_refused, 1);
        loop.advance(100ms);
    }
    ASSERT_THAT(got, SizeIs(2));
    EventCursor next = got[1].next;
    EXPECT_THAT(got[1].events, SizeIs(EventLog::most_in_batch)) << "a part at a time";
    std::uint64_t shown = got[1].events.size(), left_out = got[1].left_out;
    for (int i = 0; i < 100; ++i) {
        ask({}, next, 0s);
        next = got.back().next;
        if (got.back().events.empty())
            break;
        shown += got.back().events.size();
        left_out += got.back().left_out;
    }
    EXPECT_EQ(shown + left_out, 4 * (EventLog::most_kept + 1));
    EXPECT_LE(shown, EventLog::most_kept + EventLog::most_in_batch);
}

TEST_F(EventLogTest, ACursorOfAnotherDaemonBeginsAnew)
{
    ask({}, EventCursor{1000, 1000000});
    happens(FLB_DROP_denied);
    loop.advance(100ms);
    ASSERT_THAT(got, SizeIs(1));
    EXPECT_THAT(got[0].events, SizeIs(1));
    EXPECT_EQ(got[0].left_out, 0u);
}

TEST_F(EventLogTest, TooManyAreRefusedAndAnEndedOneMakesRoom)
{
    for (std::size_t i = 0; i < EventLog::most_waiting; ++i)
        ask();
    const auto refused = log.ask({{}, {}, 1s}, [](const EventBatch&) {});
    ASSERT_FALSE(refused);
    EXPECT_THAT(refused.error().message, HasSubstr("listen to events already"));
    loop.advance(3s);
    EXPECT_THAT(got, SizeIs(EventLog::most_waiting));
    ask();
}

TEST_F(EventLogTest, WhereTheProgramsCannotBeAskedTheClientIsTold)
{
    plane.failing_samples = true;
    EXPECT_FALSE(log.ask({{}, {}, 1s}, [](const EventBatch&) {}));
    plane.failing_samples = false;
    ask();
    EXPECT_NE(asked(), 0u);
}

TEST_F(EventLogTest, ItEndsWithTheProgramsAskedForNothing)
{
    {
        EventLog other{loop, plane, describe};
        EXPECT_TRUE(other.ask({{}, {}, 30s}, [](const EventBatch&) {}));
        EXPECT_NE(asked(), 0u);
    }
    EXPECT_EQ(asked(), 0u);
}

TEST(EventCursorTest, IsReadStrictly)
{
    EXPECT_EQ((EventCursor{12, 345}.to_string()), "12-345");
    const auto read = EventCursor::parse("12-345");
    ASSERT_TRUE(read);
    EXPECT_EQ(read->sequence, 12u);
    EXPECT_EQ(read->left_out, 345u);
    for (const char* text : {"", "12", "12-", "-5", "12-3x", "a-b", "12-3-4", "99999999999999999999-0"})
        EXPECT_FALSE(EventCursor::parse(text)) << text;
}

TEST(EventQueryTest, TellsWhatIsWrong)
{
    const auto wrong = [](const std::vector<std::pair<std::string, std::string>>& arguments) {
        const auto query = read_event_query(arguments);
        return query ? std::string("nothing is wrong") : describe(query.error());
    };
    EXPECT_THAT(wrong({{"resaon", "denied"}}), HasSubstr("did you mean \"reason\"?"));
    EXPECT_THAT(wrong({{"reason", "denied"}, {"reason", "refused"}}), HasSubstr("twice"));
    EXPECT_THAT(wrong({{"service", ""}}), HasSubstr("empty"));
    EXPECT_THAT(wrong({{"wait", "31"}}), HasSubstr("from 0 to 30"));
    EXPECT_THAT(wrong({{"wait", "-1"}}), HasSubstr("from 0 to 30"));
    EXPECT_THAT(wrong({{"after", "yesterday"}}), HasSubstr("`next`"));
    const auto query = read_event_query({{"kind", "drop"}, {"client", "fd00::/8"}, {"wait", "5"}, {"after", "3-0"}});
    ASSERT_TRUE(query);
    EXPECT_EQ(query->wait, 5s);
    EXPECT_EQ(query->filter.kind, "drop");
    EXPECT_EQ(query->after->sequence, 3u);
}

class EventApi : public testing::Test {
public:
    HttpResponse get(std::vector<std::pair<std::string, std::string>> query)
    {
        HttpResponse got;
        AdminRequest request{"GET", "/v1/events", {}, std::move(query)};
        make_api({.events = events, .check_service = [](const std::string& name) -> Result<void> {
                      if (name == "web")
                          return {};
                      return fail("there is no service", "did you mean \"web\"?");
                  }})(request, [&](HttpResponse response) { got = std::move(response); });
        return got;
    }
    std::function<Result<void>(const EventQuery&, EventLog::Done)> events = [](const EventQuery&,
                                                                                const EventLog::Done& done) {
        Event event;
        event.reason = "denied";
        done({{event}, {5, 9}, 2});
        return Result<void>();
    };
};

TEST_F(EventApi, AnswersWithEventsAndWhereToGoOn)
{
    const HttpResponse got = get({{"service", "web"}});
    EXPECT_EQ(got.code, 200u);
    const auto json = nlohmann::json::parse(got.body);
    EXPECT_EQ(json.at("next"), "5-9");
    EXPECT_EQ(json.at("left_out"), 2);
    EXPECT_EQ(json.at("events").at(0).at("reason"), "denied");
}

TEST_F(EventApi, RefusesWithTheRightCode)
{
    EXPECT_EQ(get({{"reason", "denyed"}}).code, 400u);
    EXPECT_EQ(get({{"service", "wab"}}).code, 404u);
    events = [](const EventQuery&, const EventLog::Done&) -> Result<void> { return fail("too many"); };
    EXPECT_EQ(get({}).code, 429u);
}

} // namespace
} // namespace featherlb
