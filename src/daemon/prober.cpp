// SPDX-License-Identifier: Apache-2.0
#include "daemon/prober.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "config/values.h"

namespace featherlb {

namespace {

constexpr std::string_view http_version = "HTTP/1.";
constexpr std::size_t status_line_start = 12; // "HTTP/1.1 200"
constexpr std::size_t longest_drain = 16384;

CheckResult failed(std::string reason)
{
    return {CheckResult::Kind::failed, std::move(reason)};
}

// Failures of this machine say nothing about the backend.
bool is_our_own(int error)
{
    switch (error) {
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
    case EADDRNOTAVAIL:
    case EAGAIN:
    case EACCES:
    case EPERM:
        return true;
    default:
        return false;
    }
}

CheckResult of_error(int error)
{
    if (is_our_own(error))
        return {CheckResult::Kind::discarded, fmt::format("this machine cannot ask: {}", std::strerror(error))};
    if (error == ECONNREFUSED)
        return failed("connection refused");
    if (error == ECONNRESET)
        return failed("connection reset");
    return failed(fmt::format("no connection: {}", std::strerror(error)));
}

struct SocketAddress {
    sockaddr_storage bytes{};
    socklen_t length = 0;
};

SocketAddress socket_address(const Endpoint& endpoint)
{
    SocketAddress result;
    const flb_addr address = endpoint.address.to_abi();
    if (endpoint.address.is_ipv4()) {
        auto& inet = reinterpret_cast<sockaddr_in&>(result.bytes);
        inet.sin_family = AF_INET;
        inet.sin_port = htons(endpoint.port);
        std::memcpy(&inet.sin_addr, address.bytes, 4);
        result.length = sizeof(inet);
    } else {
        auto& inet = reinterpret_cast<sockaddr_in6&>(result.bytes);
        inet.sin6_family = AF_INET6;
        inet.sin6_port = htons(endpoint.port);
        std::memcpy(&inet.sin6_addr, address.bytes, 16);
        result.length = sizeof(inet);
    }
    return result;
}

// Each step waits for the socket and goes on in the next; finish() may destroy the object, so it comes last.
class SocketProbe : public Probe {
public:
    SocketProbe(Loop& loop, const Endpoint& target, const HealthConfig& how, Prober::Done done)
        : loop_(loop), how_(how), done_(std::move(done))
    {
        if (how.type == HealthType::http)
            request_ = http_request(target, how);
        begin(target);
    }

    void look() override
    {
        if (early_)
            return finish(CheckResult(*early_));
        switch (step_) {
        case Step::connecting:
            return on_connected();
        case Step::sending:
            return send_more();
        case Step::receiving:
            return receive_more();
        case Step::over:
            return;
        }
    }

    [[nodiscard]] std::string waits_for() const override
    {
        return step_ == Step::connecting ? "the connection" : "an HTTP answer";
    }

private:
    enum class Step { connecting, sending, receiving, over };

    void begin(const Endpoint& target)
    {
        const int family = target.address.is_ipv4() ? AF_INET : AF_INET6;
        socket_ = Fd(::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
        if (!socket_.valid())
            return finish_soon(of_error(errno));
        if (how_.type == HealthType::tcp) {
            // By RST: no TIME_WAIT here, however many backends there are, and the server's accept() is all it costs.
            const linger at_once{.l_onoff = 1, .l_linger = 0};
            ::setsockopt(socket_.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
        }
        const SocketAddress address = socket_address(target);
        if (::connect(socket_.get(), reinterpret_cast<const sockaddr*>(&address.bytes), address.length) != 0 &&
            errno != EINPROGRESS)
            return finish_soon(of_error(errno));
        ready_ = loop_.on_writable(socket_.get(), [this] { on_connected(); });
    }

    void on_connected()
    {
        int error = 0;
        socklen_t length = sizeof(error);
        if (::getsockopt(socket_.get(), SOL_SOCKET, SO_ERROR, &error, &length) != 0)
            error = errno;
        if (error != 0)
            return finish(of_error(error));
        sockaddr_storage peer{};
        length = sizeof(peer);
        if (::getpeername(socket_.get(), reinterpret_cast<sockaddr*>(&peer), &length) != 0)
            return; // not connected yet
        if (how_.type == HealthType::tcp)
            return finish({});
        step_ = Step::sending;
        send_more();
    }

    void send_more()
    {
        const ssize_t sent = ::send(socket_.get(), request_.data(), request_.size(), MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN && errno != EINTR)
            return finish(of_error(errno));
        request_.erase(0, sent > 0 ? static_cast<std::size_t>(sent) : 0);
        if (!request_.empty())
            return;
        step_ = Step::receiving;
        ready_.reset();
        ready_ = loop_.on_readable(socket_.get(), [this] { receive_more(); });
    }

    void receive_more()
    {
        std::array<char, 256> buffer{};
        const ssize_t got = ::recv(socket_.get(), buffer.data(), buffer.size(), 0);
        if (got < 0) {
            if (errno != EAGAIN && errno != EINTR)
                finish(of_error(errno));
            return;
        }
        received_.append(buffer.data(), static_cast<std::size_t>(got));
        if (auto result = judge_http(received_, got == 0, how_)) {
            drain();
            finish(*std::move(result));
        }
    }

    // The rest of a short answer, so that the server does not see it thrown back.
    void drain()
    {
        std::array<char, 4096> rest{};
        std::size_t total = 0;
        while (total < longest_drain) {
            const ssize_t got = ::recv(socket_.get(), rest.data(), rest.size(), 0);
            if (got <= 0)
                return;
            total += static_cast<std::size_t>(got);
        }
    }

    void finish_soon(CheckResult result)
    {
        early_ = std::move(result);
        ready_ = loop_.after({}, [this] { finish(CheckResult(*early_)); });
    }

    void finish(const CheckResult& result)
    {
        step_ = Step::over;
        ready_.reset();
        socket_.reset();
        const Prober::Done done = std::move(done_);
        done(result);
    }

    Loop& loop_;
    HealthConfig how_;
    Prober::Done done_;
    std::string request_;  // what is still to be sent
    std::string received_; // a status line at most, and what came with its end
    Fd socket_;
    Handle ready_; // refers to the socket: goes before it
    Step step_ = Step::connecting;
    std::optional<CheckResult> early_;
};

class SocketProber : public Prober {
public:
    explicit SocketProber(Loop& loop) : loop_(loop) {}
    std::unique_ptr<Probe> start(const Endpoint& target, const HealthConfig& how, Done done) override
    {
        return std::make_unique<SocketProbe>(loop_, target, how, std::move(done));
    }

private:
    Loop& loop_;
};

std::string expected(const HealthConfig& how)
{
    return how.expect_first == how.expect_last ? fmt::format("{}", how.expect_first)
                                               : fmt::format("{}-{}", how.expect_first, how.expect_last);
}

} // namespace

std::unique_ptr<Prober> make_prober(Loop& loop)
{
    return std::make_unique<SocketProber>(loop);
}

std::string http_request(const Endpoint& target, const HealthConfig& how)
{
    return fmt::format(
        "GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: featherlb\r\nAccept: */*\r\nConnection: close\r\n\r\n", how.path,
        how.host.empty() ? target.to_string() : how.host);
}

std::optional<CheckResult> judge_http(std::string_view received, bool ended, const HealthConfig& how)
{
    const std::string_view start = received.substr(0, std::min(received.size(), http_version.size()));
    if (start != http_version.substr(0, start.size()))
        return failed("the answer is not HTTP");
    // One byte more tells that the code is not longer.
    if (received.size() <= status_line_start && !(ended && received.size() == status_line_start)) {
        if (!ended)
            return std::nullopt;
        return failed(received.empty() ? "closed without an answer" : "the answer ends within its first line");
    }
    const auto code = parse_decimal(received.substr(http_version.size() + 2, 3));
    const char behind = received.size() > status_line_start ? received[status_line_start] : '\r';
    if (received[http_version.size() + 1] != ' ' || !code || (behind != ' ' && behind != '\r' && behind != '\n'))
        return failed("the answer is not HTTP");
    if (*code < how.expect_first || *code > how.expect_last)
        return failed(fmt::format("HTTP {}, expected {}", *code, expected(how)));
    return CheckResult{};
}

} // namespace featherlb
