// SPDX-License-Identifier: Apache-2.0
#include "daemon/datagram.h"

#include <array>
#include <cerrno>
#include <cstring>
#include <optional>
#include <utility>

#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "daemon/sockets.h"

namespace featherlb {

namespace {

constexpr std::size_t largest_datagram = 65536;

CheckResult failed(int error)
{
    return {CheckResult::Kind::failed,
        error == ECONNREFUSED ? "port unreachable" : fmt::format("unreachable: {}", std::strerror(error))};
}

CheckResult result_of_udp(int error)
{
    const CheckResult result = result_of(error);
    return result.kind == CheckResult::Kind::failed ? failed(error) : result;
}

// finish() may destroy the object, so it comes last.
class Datagram final : public Probe {
public:
    Datagram(Loop& loop, const Endpoint& target, DatagramTalk talk, std::function<void(const CheckResult&)> done)
        : loop_(loop), talk_(std::move(talk)), done_(std::move(done))
    {
        begin(target);
    }

    void look() override
    {
        if (early_)
            return finish(CheckResult(*early_));
        if (!socket_.valid())
            return;
        std::array<char, largest_datagram> buffer{};
        const ssize_t got = ::recv(socket_.get(), buffer.data(), buffer.size(), 0);
        if (got >= 0)
            return finish(talk_.judge({buffer.data(), static_cast<std::size_t>(got)}));
        if (errno != EAGAIN && errno != EINTR) // it has been sent, so this is the network's word, EACCES too
            finish(failed(errno));
    }

    [[nodiscard]] bool silence_is_good() const override { return talk_.silence_is_good; }
    [[nodiscard]] std::string waits_for() const override { return std::string(talk_.waits_for); }

private:
    void begin(const Endpoint& target)
    {
        const bool ipv4 = target.address.is_ipv4();
        const int one = 1;
        socket_ = Fd(::socket(ipv4 ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
        if (!socket_.valid())
            return fail_soon(errno);
        // So that a host that does not answer for itself (no neighbour, no route) is told of as well.
        if (ipv4)
            ::setsockopt(socket_.get(), IPPROTO_IP, IP_RECVERR, &one, sizeof(one));
        else
            ::setsockopt(socket_.get(), IPPROTO_IPV6, IPV6_RECVERR, &one, sizeof(one));
        const SocketAddress address = socket_address(target);
        if (::connect(socket_.get(), reinterpret_cast<const sockaddr*>(&address.bytes), address.length) != 0 ||
            ::send(socket_.get(), talk_.to_send.data(), talk_.to_send.size(), MSG_NOSIGNAL) < 0)
            return fail_soon(errno);
        ready_ = loop_.on_readable(socket_.get(), [this] { look(); });
    }

    // Done is not called before the constructor has returned.
    void fail_soon(int error)
    {
        early_ = result_of_udp(error);
        ready_ = loop_.after({}, [this] { finish(CheckResult(*early_)); });
    }

    void finish(const CheckResult& result)
    {
        ready_.reset();
        socket_.reset();
        early_.reset();
        const auto done = std::exchange(done_, nullptr);
        if (done)
            done(result);
    }

    Loop& loop_;
    DatagramTalk talk_;
    std::function<void(const CheckResult&)> done_;
    Fd socket_;
    Handle ready_; // refers to the socket: goes before it
    std::optional<CheckResult> early_;
};

} // namespace

std::unique_ptr<Probe> start_datagram(
    Loop& loop, const Endpoint& target, DatagramTalk talk, std::function<void(const CheckResult&)> done)
{
    return std::make_unique<Datagram>(loop, target, std::move(talk), std::move(done));
}

} // namespace featherlb
