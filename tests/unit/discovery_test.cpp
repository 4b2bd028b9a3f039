// SPDX-License-Identifier: Apache-2.0
// Names that are looked up again and again, with a clock that is turned by hand.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "daemon/discovery.h"
#include "unit/config_cases.h"
#include "unit/daemon_fakes.h"

namespace featherlb {
namespace {

using namespace std::chrono_literals;

DnsAnswer answer(const std::vector<std::string>& addresses)
{
    DnsAnswer made;
    for (const std::string& address : addresses)
        made.addresses.push_back(*IpAddress::parse(address));
    return made;
}
const DnsAnswer no_answer{{}, "no answer within 5000 ms"};

class FollowedNameTest : public ::testing::Test {
protected:
    FollowedNameTest() { name_.set(answer({"10.0.0.1"}).addresses, false); }
    FollowedName::Step take(const DnsAnswer& given, Loop::Clock::duration after = 1s)
    {
        now_ += after;
        auto step = name_.take("web", given, now_);
        changes_ += step.changed ? 1 : 0;
        return step;
    }
    FollowedName name_;
    FollowedName::Time now_{};
    int changes_ = 0;
};

TEST_F(FollowedNameTest, ADifferentAnswerCountsAtOnce)
{
    EXPECT_FALSE(take(answer({"10.0.0.1"})).changed);
    const auto step = take(answer({"10.0.0.2", "10.0.0.3"}));
    EXPECT_TRUE(step.changed);
    EXPECT_EQ(step.news, "web is now 10.0.0.2, 10.0.0.3");
    EXPECT_EQ(name_.addresses(), answer({"10.0.0.2", "10.0.0.3"}).addresses);
}

TEST_F(FollowedNameTest, AnAnswerThatFailsChangesNothingAndIsToldOnce)
{
    EXPECT_EQ(
        take(no_answer).warning, "web does not resolve (no answer within 5000 ms); its last known addresses stay");
    EXPECT_EQ(take(no_answer).warning, "");
    EXPECT_EQ(name_.addresses(), answer({"10.0.0.1"}).addresses);
    const auto back = take(answer({"10.0.0.1"}));
    EXPECT_EQ(back.news, "web resolves again");
    EXPECT_FALSE(back.changed);
}

TEST_F(FollowedNameTest, ANameThatChangesAllTheTimeComesToStandForAllThatItShows)
{
    int warnings = 0;
    for (int second = 0; second < 600; ++second) { // two of six at a time
        const auto at = [second](int i) { return "10.0.0." + std::to_string(1 + (2 * second + i) % 6); };
        warnings += take(answer({at(0), at(1)})).warning.empty() ? 0 : 1;
    }
    EXPECT_EQ(warnings, 1);
    EXPECT_LE(changes_, 6);
    EXPECT_EQ(name_.addresses().size(), 6u);
    for (int second = 0; second < 61; ++second)
        static_cast<void>(take(answer({"10.0.0.9"})));
    EXPECT_EQ(name_.addresses(), answer({"10.0.0.9"}).addresses) << "a minute after it has settled";
}

TEST_F(FollowedNameTest, ARestlessNameStaysSoOverLoadsAndFailures)
{
    for (int second = 0; second < 70; ++second)
        static_cast<void>(take(answer({"10.0.0." + std::to_string(1 + second % 3)})));
    ASSERT_EQ(name_.addresses().size(), 3u);
    EXPECT_EQ(name_.completed(answer({"10.0.0.9"}).addresses).size(), 4u) << "what a reload has found";
    name_.set(name_.completed(answer({"10.0.0.2"}).addresses), false);
    EXPECT_EQ(name_.addresses().size(), 3u);
    static_cast<void>(take(no_answer));
    static_cast<void>(take(answer({"10.0.0.2"}), 120s));
    EXPECT_EQ(name_.addresses().size(), 3u) << "a failure forgets nothing";
}

TEST_F(FollowedNameTest, ASlowIntervalHasALongMemory)
{
    int warnings = 0;
    for (int i = 0; i < 40; ++i) {
        now_ += 30s;
        warnings +=
            name_.take("web", answer({"10.0.0." + std::to_string(1 + i % 3)}), now_, 30s).warning.empty() ? 0 : 1;
    }
    EXPECT_EQ(warnings, 1);
    EXPECT_EQ(name_.addresses().size(), 3u);
}

TEST_F(FollowedNameTest, ALoadTakesNoMoreThanCount)
{
    std::vector<IpAddress> many;
    for (int i = 0; i < 2000; ++i)
        many.push_back(*IpAddress::parse("10.1." + std::to_string(i / 200) + "." + std::to_string(1 + i % 200)));
    EXPECT_EQ(name_.completed(many).size(), FollowedName::most_addresses);
}

TEST_F(FollowedNameTest, OneThatIsNewEachTimeChangesTablesFiveTimesAMinute)
{
    for (int second = 0; second < 600; ++second)
        static_cast<void>(
            take(answer({"10.0." + std::to_string(second / 200) + "." + std::to_string(1 + second % 200)})));
    EXPECT_LE(changes_, 51);
    EXPECT_GE(changes_, 10) << "but it is followed";
    EXPECT_LE(name_.addresses().size(), 60u);
}

TEST_F(FollowedNameTest, MoreAddressesThanAThousandAreLeftOut)
{
    DnsAnswer many;
    for (int i = 0; i < 2000; ++i)
        many.addresses.push_back(
            *IpAddress::parse("10.1." + std::to_string(i / 200) + "." + std::to_string(1 + i % 200)));
    EXPECT_TRUE(take(many).changed);
    EXPECT_EQ(name_.addresses().size(), 1000u);
}

class DiscoveryTest : public ::testing::Test {
protected:
    class Answers : public Resolver {
    public:
        explicit Answers(Loop& loop) : loop_(loop) {}
        void resolve(const std::set<std::string>& hosts, std::function<void(DnsAnswers)> done) override
        {
            DnsAnswers given;
            for (const std::string& host : hosts) {
                ++asked[host];
                given.emplace(host, answers.contains(host) ? answers.at(host) : no_answer);
            }
            timer_ = loop_.after(1ms, [given, done = std::move(done)] { done(given); });
        }
        DnsAnswers answers;
        std::map<std::string, int> asked;

    private:
        Loop& loop_;
        Handle timer_;
    };
    void follow(const std::string& backends, const Discovery::Addresses& known)
    {
        discovery_.follow(config_test::sound(config_test::service_with("\"*:80/tcp\"", backends)), known, {});
    }

    FakeLoop loop_;
    FakeLog log_;
    Answers resolver_{loop_};
    int changes_ = 0;
    Discovery discovery_{loop_, log_, resolver_, [this] { ++changes_; }};
};

TEST_F(DiscoveryTest, EachNameIsAskedAtItsInterval)
{
    resolver_.answers = {{"a.b", answer({"10.0.0.1"})}, {"c.d", answer({"10.0.0.2"})}};
    follow("[{dns: \"a.b:80\", interval: 2s}, {dns: \"c.d:80\"}, {dns: \"a.b:81\", interval: 1h}]",
        {{"a.b", answer({"10.0.0.1"}).addresses}});
    loop_.advance(20s + 100ms);
    EXPECT_EQ(resolver_.asked["a.b"], 10);
    EXPECT_EQ(resolver_.asked["c.d"], 2);
    EXPECT_EQ(changes_, 1) << "c.d was not known before";
    EXPECT_THAT(discovery_.known(), ::testing::SizeIs(2));
    resolver_.answers.clear();
    loop_.advance(60s);
    EXPECT_EQ(log_.count("does not resolve"), 2u);
    EXPECT_THAT(discovery_.known(), ::testing::SizeIs(2));
    EXPECT_EQ(changes_, 1);
}

TEST_F(DiscoveryTest, NothingIsAskedWhileItPausesNorForNamesThatAreGone)
{
    follow("[{dns: \"a.b:80\", interval: 1s}]", {});
    discovery_.pause();
    loop_.advance(10s);
    EXPECT_EQ(resolver_.asked["a.b"], 0);
    discovery_.resume();
    loop_.advance(10ms);
    EXPECT_EQ(resolver_.asked["a.b"], 1);
    follow("[{address: \"10.0.0.1:80\"}]", {});
    loop_.advance(1min);
    EXPECT_EQ(resolver_.asked["a.b"], 1);
    EXPECT_THAT(discovery_.known(), ::testing::IsEmpty());
}

TEST_F(DiscoveryTest, AnAnswerThatComesAfterAPauseDoesNotCount)
{
    resolver_.answers = {{"a.b", answer({"10.0.0.1"})}};
    follow("[{dns: \"a.b:80\", interval: 1s}]", {});
    loop_.advance(1s); // asked, and the answer is under way
    discovery_.pause();
    loop_.advance(1s);
    EXPECT_EQ(changes_, 0);
}

} // namespace
} // namespace featherlb
