// SPDX-License-Identifier: Apache-2.0
// The metrics port on a real socket and the real loop.
#include "daemon/metrics_server.h"

#include <atomic>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include "daemon/sockets.h"

namespace featherlb {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;
using testing::StartsWith;

const Endpoint any_port{*IpAddress::parse("127.0.0.1"), 0};

Fd connect_to(const Endpoint& endpoint)
{
    const SocketAddress address = socket_address(endpoint);
    Fd fd(::socket(address.bytes.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const timeval patience{.tv_sec = 20, .tv_usec = 0};
    ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address.bytes), address.length) != 0)
        fd.reset();
    return fd;
}

void send(const Fd& fd, std::string_view text)
{
    (void)::send(fd.get(), text.data(), text.size(), MSG_NOSIGNAL);
}

std::string read_all(const Fd& fd)
{
    std::string all;
    char buffer[4096];
    for (ssize_t got = 0; (got = ::recv(fd.get(), buffer, sizeof buffer, 0)) > 0;)
        all.append(buffer, static_cast<std::size_t>(got));
    return all;
}

class MetricsServerTest : public testing::Test {
public:
    MetricsServerTest() : loop_(make_loop()) { make(MetricsServer::default_limits()); }
    ~MetricsServerTest() override
    {
        if (thread_.joinable()) {
            loop_->post([this] { loop_->stop(); });
            thread_.join();
        }
        server_.reset();
    }

    void make(HttpLimits limits)
    {
        server_ = std::make_unique<MetricsServer>(*loop_,
            MetricsTarget{.status =
                              [this] {
                                  ++asked_;
                                  Status status;
                                  status.version = "1.2.3";
                                  return status;
                              },
                .why_not_ready = [this] { return why_; }},
            limits);
    }
    void start()
    {
        const Result<void> listening = server_->listen(any_port);
        ASSERT_TRUE(listening) << listening.error().message;
        where_ = *server_->endpoint();
        thread_ = std::thread([this] { loop_->run(); });
    }
    std::string ask(const std::string& request) const
    {
        const Fd fd = connect_to(where_);
        send(fd, request + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        return read_all(fd);
    }

    std::unique_ptr<Loop> loop_;
    std::unique_ptr<MetricsServer> server_;
    std::atomic<int> asked_ = 0;
    std::string why_;
    Endpoint where_;
    std::thread thread_;
};

TEST_F(MetricsServerTest, AnswersTheThreePathsToGetAndNothingElse)
{
    why_ = "eth0: is away";
    start();
    const std::string metrics = ask("GET /metrics");
    EXPECT_THAT(metrics, StartsWith("HTTP/1.1 200"));
    EXPECT_THAT(metrics, HasSubstr("Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"));
    EXPECT_THAT(metrics, HasSubstr("\nfeatherlb_build_info{version=\"1.2.3\",abi="));
    EXPECT_THAT(ask("GET /healthz"), testing::AllOf(StartsWith("HTTP/1.1 200"), HasSubstr("\r\n\r\nok\n")));
    EXPECT_THAT(ask("GET /readyz"), testing::AllOf(StartsWith("HTTP/1.1 503"), HasSubstr("\r\n\r\neth0: is away\n")));
    EXPECT_THAT(ask("GET /v1/status"), StartsWith("HTTP/1.1 404"));
    EXPECT_THAT(ask("HEAD /metrics"), StartsWith("HTTP/1.1 405"));
    EXPECT_THAT(ask("POST /metrics"), testing::AllOf(StartsWith("HTTP/1.1 405"), HasSubstr("Allow: GET\r\n")));
}

TEST_F(MetricsServerTest, IsReadyWhenThereIsNothingToSay)
{
    start();
    EXPECT_THAT(ask("GET /readyz"), testing::AllOf(StartsWith("HTTP/1.1 200"), HasSubstr("\r\n\r\nready\n")));
}

TEST_F(MetricsServerTest, TakesNoBody)
{
    start();
    const Fd fd = connect_to(where_);
    send(fd, "GET /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx");
    EXPECT_THAT(read_all(fd), StartsWith("HTTP/1.1 413"));
}

TEST_F(MetricsServerTest, SlowClientsMakeRoomWhenAllConnectionsAreTaken)
{
    HttpLimits limits = MetricsServer::default_limits();
    limits.connections = 3;
    limits.idle = 60s;
    limits.life = 60s;
    make(limits);
    start();
    std::vector<Fd> slow;
    for (int i = 0; i < 6; ++i) {
        slow.push_back(connect_to(where_));
        send(slow.back(), "GET /met");
    }
    const auto began = std::chrono::steady_clock::now();
    EXPECT_THAT(ask("GET /healthz"), StartsWith("HTTP/1.1 200"));
    EXPECT_LT(std::chrono::steady_clock::now() - began, 15s);
}

TEST_F(MetricsServerTest, APortThatIsTakenIsSaidAndTheOldOneStays)
{
    ASSERT_TRUE(server_->listen(any_port));
    where_ = *server_->endpoint();
    MetricsServer other(*loop_, {.status = [] { return Status(); }, .why_not_ready = [] { return std::string(); }});
    ASSERT_TRUE(other.listen(any_port));
    const Result<void> moved = server_->listen(other.endpoint());
    ASSERT_FALSE(moved);
    EXPECT_THAT(moved.error().message, HasSubstr("metrics.listen: 127.0.0.1:"));
    EXPECT_THAT(moved.error().message, HasSubstr("another program listens there"));
    EXPECT_THAT(moved.error().remedy, HasSubstr("ss -ltnp"));
    EXPECT_EQ(server_->endpoint(), where_);
    EXPECT_TRUE(connect_to(where_).valid());
}

TEST_F(MetricsServerTest, AnAddressOfAnotherMachineIsSaid)
{
    const Result<void> listening = server_->listen(Endpoint{*IpAddress::parse("192.0.2.1"), 9420});
    ASSERT_FALSE(listening);
    EXPECT_THAT(listening.error().message, HasSubstr("192.0.2.1:9420: this machine has no such address"));
    EXPECT_FALSE(server_->endpoint());
}

TEST_F(MetricsServerTest, MovesAlsoWhereItIsInItsOwnWay)
{
    ASSERT_TRUE(server_->listen(any_port));
    const Endpoint before = *server_->endpoint();
    ASSERT_TRUE(server_->listen(before)) << "it is there already";
    const Endpoint all{*IpAddress::parse("0.0.0.0"), before.port};
    ASSERT_TRUE(server_->listen(all));
    EXPECT_EQ(server_->endpoint(), all);
    ASSERT_TRUE(server_->listen(std::nullopt));
    EXPECT_FALSE(server_->endpoint());
    EXPECT_FALSE(connect_to(before).valid());
}

} // namespace
} // namespace featherlb
