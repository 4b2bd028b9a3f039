// SPDX-License-Identifier: Apache-2.0
// Asking agents over real sockets of this machine.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "daemon/agent_asker.h"
#include "unit/one_server.h"

namespace featherlb {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

// An agent that answers one question in these parts, and then closes or waits for the asker to do so.
class OneAgent : public OneServer {
public:
    void serve(std::vector<std::string> parts, bool closes, std::size_t expects = 0)
    {
        OneServer::serve([expects](std::string_view heard) { return heard.size() >= expects; },
            [parts = std::move(parts), closes](int connection) {
                for (const std::string& part : parts)
                    say(connection, part);
                char more = 0;
                if (!closes)
                    static_cast<void>(::recv(connection, &more, 1, 0));
            });
    }
};

class AgentAskerTest : public testing::Test {
protected:
    std::optional<AgentAnswer> ask(const AgentConfig& how = {}, Loop::Clock::duration patience = 10s)
    {
        std::optional<AgentAnswer> result;
        std::unique_ptr<Probe> question = ask_(agent_.endpoint(), how, [&](const AgentAnswer& got) {
            result = got;
            question.reset(); // as Agents does
            loop_->stop();
        });
        const Handle enough = loop_->after(patience, [this] { loop_->stop(); });
        loop_->run();
        return result;
    }

    std::unique_ptr<Loop> loop_ = make_loop();
    AskAgent ask_ = make_agent_asker(*loop_);
    OneAgent agent_;
};

TEST_F(AgentAskerTest, reads_a_line_that_comes_in_parts)
{
    agent_.serve({"7", "5% ", "up\r", "\n"}, false);
    const auto answer = ask();
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->kind, CheckResult::Kind::good) << answer->reason;
    EXPECT_EQ(answer->report.percent, 75U);
    EXPECT_EQ(answer->report.up, true);
}

TEST_F(AgentAskerTest, takes_a_line_that_ends_with_the_connection)
{
    agent_.serve({"drain"}, true);
    const auto answer = ask();
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->report.admin, AgentReport::Admin::drain);
}

TEST_F(AgentAskerTest, sends_first_what_it_shall)
{
    agent_.serve({"up\n"}, true, 6);
    const auto answer = ask({.port = 0, .send = "state\n"});
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->kind, CheckResult::Kind::good);
    EXPECT_EQ(agent_.heard(), "state\n");
}

TEST_F(AgentAskerTest, reads_no_more_than_a_line)
{
    agent_.serve(std::vector<std::string>(1000, std::string(1000, 'x')), false);
    const auto answer = ask();
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->kind, CheckResult::Kind::failed);
    EXPECT_THAT(answer->reason, HasSubstr("a line of more than 255 bytes"));
}

TEST_F(AgentAskerTest, says_what_it_does_not_understand)
{
    agent_.serve({"fine\n"}, true);
    const auto answer = ask();
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->kind, CheckResult::Kind::failed);
    EXPECT_EQ(answer->reason, "it says a word that is not known: \"fine\"");
}

TEST_F(AgentAskerTest, says_that_nobody_listens)
{
    agent_.close();
    const auto answer = ask();
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->kind, CheckResult::Kind::failed);
    EXPECT_EQ(answer->reason, "connection refused");
}

TEST_F(AgentAskerTest, waits_for_one_that_says_nothing_yet)
{
    agent_.serve({"50"}, false);
    EXPECT_FALSE(ask({}, 100ms));
}

TEST_F(AgentAskerTest, closed_without_a_word_is_a_failure)
{
    agent_.serve({}, true);
    const auto answer = ask();
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->kind, CheckResult::Kind::failed);
    EXPECT_EQ(answer->reason, "it says nothing: the connection was closed");
}

} // namespace
} // namespace featherlb
