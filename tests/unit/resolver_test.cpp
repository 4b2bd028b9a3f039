// SPDX-License-Identifier: Apache-2.0
#include "daemon/resolver.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace featherlb {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

DnsAnswers resolve(Lookup lookup, const std::set<std::string>& hosts, std::chrono::milliseconds deadline = 10s)
{
    const auto loop = make_loop();
    const auto resolver = make_resolver(*loop, deadline, std::move(lookup));
    DnsAnswers got;
    resolver->resolve(hosts, [&](DnsAnswers answers) {
        got = std::move(answers);
        loop->stop();
    });
    loop->run();
    return got;
}

// A name server that answers when it is told to.
struct Gate {
    std::mutex mutex;
    std::condition_variable opened;
    bool open = false;
    void wait()
    {
        std::unique_lock lock(mutex);
        opened.wait(lock, [this] { return open; });
    }
    void let_go()
    {
        const std::lock_guard lock(mutex);
        open = true;
        opened.notify_all();
    }
};

TEST(Resolver, AnswersForEachHost)
{
    const auto answers = resolve(
        [](const std::string& host) {
            return host == "b" ? DnsAnswer{{}, "no such name"} : DnsAnswer{{*IpAddress::parse("10.0.0.1")}, ""};
        },
        {"a", "b"});
    ASSERT_EQ(answers.size(), 2u);
    EXPECT_EQ(answers.at("a").addresses.size(), 1u);
    EXPECT_EQ(answers.at("b").problem, "no such name");
}

TEST(Resolver, NoHostsAreAnsweredWithoutAThread)
{
    EXPECT_THAT(resolve([](const std::string&) -> DnsAnswer { throw std::logic_error("asked"); }, {}), IsEmpty());
}

TEST(Resolver, ManyHostsAreAskedAFewAtATime)
{
    std::set<std::string> hosts;
    for (int i = 0; i < 100; ++i)
        hosts.insert(std::to_string(i));
    std::mutex mutex;
    std::condition_variable enough;
    int running = 0;
    int most = 0;
    const auto answers = resolve(
        [&](const std::string&) {
            std::unique_lock lock(mutex);
            most = std::max(most, ++running);
            enough.notify_all();
            enough.wait_for(lock, std::chrono::seconds(2), [&] { return most >= 32; });
            --running;
            return DnsAnswer{{*IpAddress::parse("10.0.0.1")}, ""};
        },
        hosts);
    EXPECT_EQ(answers.size(), 100u);
    EXPECT_EQ(most, 32);
}

// Half of 64 names are never answered: each round asks others first, so two rounds have answers of all others.
TEST(Resolver, SilentNamesHoldUpTheOthersOneRoundOnly)
{
    const auto gate = std::make_shared<Gate>();
    const auto loop = make_loop();
    const auto resolver = make_resolver(*loop, 300ms, [gate](const std::string& host) {
        if (host < "32")
            gate->wait();
        return DnsAnswer{{*IpAddress::parse("10.0.0.1")}, ""};
    });
    std::set<std::string> hosts;
    for (int i = 0; i < 64; ++i)
        hosts.insert(fmt::format("{:02}", i));
    std::set<std::string> answered;
    for (int round = 0; round < 2; ++round) {
        resolver->resolve(hosts, [&](const DnsAnswers& answers) {
            for (const auto& [host, answer] : answers)
                if (!answer.addresses.empty())
                    answered.insert(host);
            loop->stop();
        });
        loop->run();
    }
    gate->let_go();
    EXPECT_EQ(answered.size(), 32u);
}

TEST(Resolver, AfterTheDeadlineTheOtherAnswersCount)
{
    const auto gate = std::make_shared<Gate>();
    const auto answers = resolve(
        [gate](const std::string& host) {
            if (host == "slow")
                gate->wait();
            return DnsAnswer{{*IpAddress::parse("10.0.0.1")}, ""};
        },
        {"fast", "slow"}, 500ms); // a busy machine takes more than 50 to let the fast one's thread begin
    gate->let_go();               // the thread is alone by now, and ends
    EXPECT_EQ(answers.at("fast").problem, "");
    EXPECT_EQ(answers.at("slow").problem, "no answer within 500 ms");
}

TEST(Resolver, NumbersAreTheirOwnAnswerAndLoopbackIsNone)
{
    EXPECT_THAT(look_up("10.1.2.3").addresses, ElementsAre(*IpAddress::parse("10.1.2.3")));
    EXPECT_THAT(look_up("127.0.0.1").addresses, IsEmpty());
    EXPECT_THAT(look_up("127.0.0.1").problem, HasSubstr("no address that a backend can have"));
}

TEST(MergeAnswers, AServiceWithoutAnyBackendIsAProblemAtItsPlace)
{
    const auto config = parse_config(
        "services:\n- name: web\n  listen: [\"10.0.0.1:80/tcp\"]\n  backends: [{dns: \"a.internal:80\"}]\n", "t");
    ASSERT_TRUE(config);
    const auto knowledge = merge_answers(*config, {{"a.internal", {{}, "no such name"}}}, {});
    ASSERT_EQ(knowledge.problems.size(), 1u);
    EXPECT_EQ(knowledge.problems[0].place.line, 4u);
    EXPECT_THAT(knowledge.known, IsEmpty());
}

} // namespace
} // namespace featherlb
