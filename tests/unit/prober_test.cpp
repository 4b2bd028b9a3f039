// SPDX-License-Identifier: Apache-2.0
// The real prober against sockets of this machine.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "daemon/prober.h"
#include "unit/one_server.h"

namespace featherlb {
namespace {

using namespace std::chrono_literals;
using Kind = CheckResult::Kind;

// A server that answers one connection with `answer`, in two parts, as it may come, when it has read a request.
class OneAnswer : public OneServer {
public:
    explicit OneAnswer(std::string answer) : answer_(std::move(answer)) {}
    void serve()
    {
        OneServer::serve([](std::string_view heard) { return heard.find("\r\n\r\n") != std::string_view::npos; },
            [answer = answer_](int connection) {
                say(connection, std::string_view(answer).substr(0, answer.size() / 2));
                say(connection, std::string_view(answer).substr(answer.size() / 2));
            });
    }

private:
    std::string answer_;
};

class ProberTest : public testing::Test {
protected:
    // Runs the loop until there is a result, or for so long.
    std::optional<CheckResult> ask(
        const Endpoint& target, const HealthConfig& how, Loop::Clock::duration patience = 10s)
    {
        std::optional<CheckResult> result;
        std::unique_ptr<Probe> probe = prober_->start(target, how, [&](const CheckResult& got) {
            result = got;
            probe.reset(); // as Health does
            loop_->stop();
        });
        const Handle enough = loop_->after(patience, [this] { loop_->stop(); });
        loop_->run();
        return result;
    }

    std::unique_ptr<Loop> loop_ = make_loop();
    std::unique_ptr<Prober> prober_ = make_prober(*loop_);
    const HealthConfig http_{.type = HealthType::http, .path = "/up?x=1", .host = "web.internal"};
};

TEST_F(ProberTest, ATcpCheckIsGoodWhereAConnectionOpens)
{
    const OneAnswer server("");
    const auto result = ask(server.endpoint(), {});
    ASSERT_TRUE(result.has_value());
    EXPECT_EQ(result->kind, Kind::good) << result->reason;
}

TEST_F(ProberTest, AndFailsWhereNobodyListens)
{
    OneAnswer server("");
    server.close();
    const auto result = ask(server.endpoint(), {});
    ASSERT_TRUE(result.has_value());
    EXPECT_EQ(result->kind, Kind::failed);
    EXPECT_EQ(result->reason, "connection refused");
}

TEST_F(ProberTest, AnHttpCheckReadsTheStatus)
{
    OneAnswer server("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    server.serve();
    const auto result = ask(server.endpoint(), http_);
    ASSERT_TRUE(result.has_value());
    EXPECT_EQ(result->kind, Kind::good) << result->reason;
    EXPECT_EQ(server.heard(), "GET /up?x=1 HTTP/1.1\r\nHost: web.internal\r\nUser-Agent: featherlb\r\nAccept: */*\r\n"
                              "Connection: close\r\n\r\n");
}

TEST_F(ProberTest, AnotherStatusFails)
{
    OneAnswer server("HTTP/1.1 503 Service Unavailable\r\n\r\n");
    server.serve();
    const auto result = ask(server.endpoint(), {.type = HealthType::http});
    ASSERT_TRUE(result.has_value());
    EXPECT_EQ(result->reason, "HTTP 503, expected 200-299");
    EXPECT_THAT(server.heard(), testing::HasSubstr("\r\nHost: " + server.endpoint().to_string() + "\r\n"));
}

TEST_F(ProberTest, WhatIsNotHttpFails)
{
    OneAnswer server("SSH-2.0-OpenSSH_9.2\r\n");
    server.serve();
    const auto result = ask(server.endpoint(), http_);
    ASSERT_TRUE(result.has_value());
    EXPECT_EQ(result->reason, "the answer is not HTTP");
}

TEST_F(ProberTest, AConnectionThatClosesWithoutAnAnswerFails)
{
    OneAnswer server("");
    server.serve();
    const auto result = ask(server.endpoint(), http_);
    ASSERT_TRUE(result.has_value());
    EXPECT_EQ(result->reason, "closed without an answer");
}

TEST_F(ProberTest, LookFindsAnAnswerThatTheLoopHasNotToldOf)
{
    const OneAnswer server("");
    bool done = false;
    const auto probe =
        prober_->start(server.endpoint(), {}, [&](const CheckResult& got) { done = got.kind == Kind::good; });
    EXPECT_EQ(probe->waits_for(), "the connection");
    EXPECT_FALSE(done) << "not before start() has returned";
    probe->look(); // on this machine the connection is there at once; the loop never ran
    EXPECT_TRUE(done);
}

TEST_F(ProberTest, AServerThatAcceptsAndSaysNothingIsWaitedFor)
{
    const OneAnswer server("");
    EXPECT_FALSE(ask(server.endpoint(), http_, 50ms).has_value());
    const auto probe = prober_->start(server.endpoint(), http_, [](const CheckResult&) { FAIL(); });
    probe->look();
    EXPECT_EQ(probe->waits_for(), "an HTTP answer");
    probe->look();
}

} // namespace
} // namespace featherlb
