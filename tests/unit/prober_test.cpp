// SPDX-License-Identifier: Apache-2.0
// The real prober against sockets of this machine.
#include <thread>

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "daemon/prober.h"

namespace featherlb {
namespace {

using namespace std::chrono_literals;
using Kind = CheckResult::Kind;

// A server on 127.0.0.1 that answers one connection with `answer` when it has read a request, and keeps that.
class OneAnswer {
public:
    explicit OneAnswer(std::string answer) : answer_(std::move(answer))
    {
        listener_ = Fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t length = sizeof(address);
        EXPECT_EQ(::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), length), 0);
        EXPECT_EQ(::listen(listener_.get(), 8), 0);
        EXPECT_EQ(::getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &length), 0);
        endpoint_ = {*IpAddress::parse("127.0.0.1"), ntohs(address.sin_port)};
    }
    OneAnswer(const OneAnswer&) = delete;
    OneAnswer& operator=(const OneAnswer&) = delete;
    ~OneAnswer()
    {
        if (thread_.joinable())
            thread_.join();
    }
    void serve()
    {
        thread_ = std::thread([this] {
            const Fd connection(::accept(listener_.get(), nullptr, nullptr));
            char buffer[4096];
            while (request_.find("\r\n\r\n") == std::string::npos) {
                const ssize_t got = ::recv(connection.get(), buffer, sizeof(buffer), 0);
                if (got <= 0)
                    return;
                request_.append(buffer, static_cast<std::size_t>(got));
            }
            // In two parts, as it may come.
            ::send(connection.get(), answer_.data(), answer_.size() / 2, MSG_NOSIGNAL);
            ::send(connection.get(), answer_.data() + answer_.size() / 2, answer_.size() - answer_.size() / 2,
                MSG_NOSIGNAL);
        });
    }
    [[nodiscard]] const Endpoint& endpoint() const { return endpoint_; }
    [[nodiscard]] std::string request()
    {
        thread_.join();
        return request_;
    }
    void close() { listener_.reset(); }

private:
    std::string answer_;
    Fd listener_;
    Endpoint endpoint_;
    std::string request_;
    std::thread thread_;
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
    EXPECT_EQ(server.request(), "GET /up?x=1 HTTP/1.1\r\nHost: web.internal\r\nUser-Agent: featherlb\r\nAccept: */*\r\n"
                                "Connection: close\r\n\r\n");
}

TEST_F(ProberTest, AnotherStatusFails)
{
    OneAnswer server("HTTP/1.1 503 Service Unavailable\r\n\r\n");
    server.serve();
    const auto result = ask(server.endpoint(), {.type = HealthType::http});
    ASSERT_TRUE(result.has_value());
    EXPECT_EQ(result->reason, "HTTP 503, expected 200-299");
    EXPECT_THAT(server.request(), testing::HasSubstr("\r\nHost: " + server.endpoint().to_string() + "\r\n"));
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
