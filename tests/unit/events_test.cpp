// SPDX-License-Identifier: Apache-2.0
// What the programs tell of packets, as words; and the filters.
#include "observe/events.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <nlohmann/json.hpp>

#include "base/log.h"
#include "plan_support.h"

namespace featherlb {
namespace {

using testing::HasSubstr;

IpAddress address_at(const char* text)
{
    return *IpAddress::parse(text);
}

Tables example()
{
    Tables tables;
    tables.services[3].name = "web";
    tables.services[4].name = "dns";
    tables.backends[7].service = 3;
    tables.backends[7].endpoint = {address_at("10.3.0.1"), 8080};
    tables.listeners[{address_at("10.1.0.1"), 80, Protocol::tcp}] = 3;
    tables.listeners[{address_at("10.1.0.1"), 443, Protocol::tcp}] = 3;
    tables.listeners[{address_at("10.1.0.1"), 53, Protocol::udp}] = 4;
    tables.sources[{address_at("10.3.0.1"), 8080, Protocol::tcp}] = {{address_at("10.1.0.1"), 80}, 7};
    return tables;
}

flb_sample drop(std::uint8_t reason)
{
    flb_sample sample{};
    sample.source = address_at("10.0.0.1").to_abi();
    sample.destination = address_at("10.1.0.1").to_abi();
    sample.sport = htons(4242);
    sample.dport = htons(80);
    sample.kind = FLB_SAMPLE_DROP;
    sample.reason = reason;
    sample.family = FLB_IPV4;
    sample.protocol = IPPROTO_TCP;
    return sample;
}

constexpr std::chrono::system_clock::time_point noon{std::chrono::milliseconds{1'769'860'800'045}};

TEST(Events, ADropSaysWhoseItIs)
{
    Event event = make_event(drop(FLB_DROP_no_backend), noon, example());
    EXPECT_EQ(event, (Event{"2026-01-31T12:00:00.045Z", "drop", "no_backend", "tcp", "10.0.0.1:4242", "10.1.0.1:80",
                         "web", "", "", ""}));
    event.interface = "eth1";
    EXPECT_EQ(format_event(event), "12:00:00.045 drop no_backend TCP 10.0.0.1:4242 -> 10.1.0.1:80 web eth1");
    EXPECT_EQ(nlohmann::json(event).get<Event>(), event);
}

TEST(Events, ADecisionSaysItsBackendAndWhatKindItIs)
{
    flb_sample sample = drop(FLB_DROP_none);
    sample.kind = FLB_SAMPLE_NEW;
    sample.backend = 7;
    sample.tcp_flags = TH_SYN;
    Event event = make_event(sample, noon, example());
    EXPECT_EQ(event.kind, "decision");
    EXPECT_EQ(event.reason, "new");
    EXPECT_EQ(event.backend_address, "10.3.0.1:8080");
    EXPECT_THAT(format_event(event), HasSubstr(" web/10.3.0.1:8080"));
    event.backend = "web1";
    EXPECT_THAT(format_event(event), HasSubstr(" web/web1"));
    sample.tcp_flags = TH_ACK;
    EXPECT_EQ(make_event(sample, noon, example()).reason, "midstream");
    sample.kind = FLB_SAMPLE_MOVED;
    EXPECT_EQ(make_event(sample, noon, example()).reason, "moved");
    sample.kind = FLB_SAMPLE_NEW;
    sample.protocol = IPPROTO_UDP;
    EXPECT_EQ(make_event(sample, noon, example()).reason, "new");
}

TEST(Events, TheServiceIsFoundByListenerAndByBackend)
{
    flb_sample sample = drop(FLB_DROP_no_return_path);
    sample.source = address_at("10.3.0.1").to_abi();
    sample.sport = htons(8080);
    sample.destination = address_at("10.0.0.1").to_abi();
    EXPECT_EQ(make_event(sample, noon, example()).service, "web") << "from a backend";

    sample = drop(FLB_DROP_fragment);
    sample.sport = sample.dport = 0;
    const Event event = make_event(sample, noon, example());
    EXPECT_EQ(event.service, "web") << "all that listens there under TCP is one service's";
    EXPECT_EQ(event.source, "10.0.0.1");
    Tables two = example();
    two.listeners[{address_at("10.1.0.1"), 81, Protocol::tcp}] = 4;
    EXPECT_EQ(make_event(sample, noon, two).service, "") << "either may be meant";
    sample.protocol = IPPROTO_ICMP;
    EXPECT_EQ(make_event(sample, noon, example()).service, "");
    EXPECT_EQ(make_event(sample, noon, example()).protocol, "icmp");
    sample = drop(FLB_DROP_not_configured);
    sample.backend = 99;
    EXPECT_EQ(make_event(sample, noon, example()).backend_address, "") << "a backend that is gone by now";
}

TEST(Events, AReasonOfALaterVersionIsShownAsUnknown)
{
    EXPECT_EQ(make_event(drop(63), noon, example()).reason, "unknown");
}

TEST(Events, FiltersAskTheProgramsForWhatTheyNeed)
{
    const auto which = [](const char* kind, const char* reason) {
        return samples_for(make_event_filter(kind, reason, "", "").value());
    };
    const std::uint64_t drops = (std::uint64_t{1} << FLB_DROP_REASON_COUNT) - 2;
    EXPECT_EQ(which("", ""), drops | 1);
    EXPECT_EQ(which("drop", ""), drops);
    EXPECT_EQ(which("decision", ""), 1u);
    EXPECT_EQ(which("", "denied"), std::uint64_t{1} << FLB_DROP_denied);
    EXPECT_EQ(which("decision", "moved"), 1u);
}

TEST(Events, FiltersMatch)
{
    const EventFilter any;
    EXPECT_TRUE(may_match(any, drop(FLB_DROP_denied)));
    const auto by_client = [](const char* client) {
        return may_match(make_event_filter("", "", "", client).value(), drop(FLB_DROP_denied));
    };
    EXPECT_TRUE(by_client("10.0.0.1"));
    EXPECT_TRUE(by_client("10.0.0.0/24"));
    EXPECT_TRUE(by_client("10.1.0.0/16")) << "to it";
    EXPECT_FALSE(by_client("10.0.0.2"));
    EXPECT_FALSE(by_client("fd00::/8"));
    EXPECT_FALSE(may_match(make_event_filter("", "refused", "", "").value(), drop(FLB_DROP_denied)));
    EXPECT_FALSE(may_match(make_event_filter("decision", "", "", "").value(), drop(FLB_DROP_denied)));
    const Event event = make_event(drop(FLB_DROP_denied), noon, example());
    EXPECT_TRUE(matches(make_event_filter("", "denied", "web", "").value(), event));
    EXPECT_FALSE(matches(make_event_filter("", "", "dns", "").value(), event));
    EXPECT_FALSE(matches(make_event_filter("", "moved", "", "").value(), event));
}

TEST(Events, WrongWordsAreAnsweredWithTheRightOnes)
{
    const auto wrong = [](const char* kind, const char* reason, const char* client) {
        const auto filter = make_event_filter(kind, reason, "", client);
        return filter ? std::string("nothing is wrong") : describe(filter.error());
    };
    EXPECT_THAT(wrong("drops", "", ""), HasSubstr("did you mean \"drop\"?"));
    EXPECT_THAT(wrong("", "no-backend", ""), HasSubstr("did you mean \"no_backend\"?"));
    EXPECT_THAT(wrong("", "xyzzy", ""), HasSubstr("use one of truncated, "));
    EXPECT_THAT(wrong("decision", "denied", ""), HasSubstr("use one of new, midstream, moved"));
    EXPECT_THAT(wrong("drop", "moved", ""), HasSubstr("is unknown"));
    EXPECT_THAT(wrong("", "", "10.0.0.1/8"), HasSubstr("10.0.0.0/8"));
    EXPECT_THAT(wrong("", "", "web.internal"), HasSubstr("the client"));
}

} // namespace
} // namespace featherlb
