// SPDX-License-Identifier: Apache-2.0
#include "daemon/resolver.h"

#include <atomic>
#include <condition_variable>
#include <mutex>

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
    std::atomic<int> running = 0;
    std::atomic<int> most = 0;
    const auto answers = resolve(
        [&](const std::string&) {
            const int now = ++running;
            for (int seen = most; now > seen && !most.compare_exchange_weak(seen, now);) {
            }
            --running;
            return DnsAnswer{{*IpAddress::parse("10.0.0.1")}, ""};
        },
        hosts);
    EXPECT_EQ(answers.size(), 100u);
    EXPECT_LE(most, 8);
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
        {"fast", "slow"}, 50ms);
    gate->let_go(); // the thread is alone by now, and ends
    EXPECT_EQ(answers.at("fast").problem, "");
    EXPECT_EQ(answers.at("slow").problem, "no answer within 50 ms");
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
