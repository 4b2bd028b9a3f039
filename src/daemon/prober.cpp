// SPDX-License-Identifier: Apache-2.0
#include "daemon/prober.h"

#include <array>
#include <cerrno>
#include <optional>
#include <random>
#include <string_view>
#include <utility>

#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "base/text.h"
#include "daemon/conversation.h"
#include "daemon/datagram.h"
#include "daemon/dns_message.h"
#include "daemon/http_answer.h"
#include "daemon/tls_stream.h"

namespace featherlb {

namespace {

constexpr std::size_t longest_drain = 16384;

// A port of its own tells its answers from those of all other checks, which come from the same service address.
// What one hop cannot reach is not the backend: a backend that forwards and has not got the service address would
// send the question on, and another one would answer it.
int set_mark(int socket, int family, std::uint32_t mark)
{
    const int one = 1;
    SocketAddress any;
    any.bytes.ss_family = static_cast<sa_family_t>(family);
    any.length = family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
    const bool done =
        ::setsockopt(socket, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)) == 0 &&
        (family == AF_INET ? ::setsockopt(socket, IPPROTO_IP, IP_TTL, &one, sizeof(one)) == 0
                           : ::setsockopt(socket, IPPROTO_IPV6, IPV6_UNICAST_HOPS, &one, sizeof(one)) == 0) &&
        ::bind(socket, reinterpret_cast<const sockaddr*>(&any.bytes), any.length) == 0;
    return done ? 0 : errno;
}

int prepare(int socket, int family, HealthType type, std::uint32_t mark)
{
    if (type == HealthType::tcp) {
        // By RST: no TIME_WAIT here, however many backends there are, and the server's accept() is all it costs.
        const linger at_once{.l_onoff = 1, .l_linger = 0};
        ::setsockopt(socket, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    }
    return mark == 0 ? 0 : set_mark(socket, family, mark);
}

// The rest of a short answer, so that the server does not see it thrown back.
void drain(int socket)
{
    std::array<char, 4096> rest{};
    std::size_t total = 0;
    while (total < longest_drain) {
        const ssize_t got = ::recv(socket, rest.data(), rest.size(), 0);
        if (got <= 0)
            return;
        total += static_cast<std::size_t>(got);
    }
}

Talk<CheckResult> tcp_talk(const Check& how)
{
    Talk<CheckResult> talk{
        .to_send = {}, .waits_for = "an HTTP answer", .prepare = {}, .connected = {}, .failed = {}, .judge = {}};
    talk.prepare = [type = how.type, mark = how.mark](
                       int socket, int family) { return prepare(socket, family, type, mark); };
    talk.failed = [](CheckResult result) { return result; };
    if (how.type == HealthType::tcp)
        talk.connected = CheckResult{};
    return talk;
}

Talk<CheckResult> http_talk(const Endpoint& target, const Check& how)
{
    Talk<CheckResult> talk = tcp_talk(how);
    talk.to_send = http_request(target, how);
    talk.judge = [how](std::string_view received, bool ended, int socket) {
        auto result = judge_http(received, ended, how);
        if (result)
            drain(socket);
        return result;
    };
    return talk;
}

DatagramTalk udp_talk(const HealthConfig& how)
{
    const auto judge = [wanted = how.expect_bytes](std::string_view received) {
        return received.find(wanted) != std::string_view::npos ? CheckResult{}
                                                               : failed_check(fmt::format("{} bytes without {}: {}",
                                                                     received.size(), quote(wanted), quote(received)));
    };
    return {how.send, "an answer", judge, how.expect_bytes.empty()};
}

DatagramTalk dns_talk(const HealthConfig& how, std::uint16_t number)
{
    const auto judge = [how, number](std::string_view received) { return judge_dns(received, how, number); };
    return {dns_query(how, number), "an answer", judge};
}

// A check that cannot be made here says nothing of the backend.
class Unasked : public Probe {
public:
    Unasked(Loop& loop, const std::string& why, Prober::Done done)
        : timer_(loop.after({}, [why, done = std::move(done)] {
              const Prober::Done last = done; // this is destroyed in there
              last({CheckResult::Kind::discarded, fmt::format("this machine cannot ask: {}", why)});
          }))
    {
    }
    void look() override {}
    [[nodiscard]] std::string waits_for() const override { return "nothing"; }

private:
    Handle timer_;
};

class SocketProber : public Prober {
public:
    explicit SocketProber(Loop& loop) : loop_(loop) {}
    std::unique_ptr<Probe> start(const Endpoint& target, const Check& how, Done done) override
    {
        using Tcp = Conversation<CheckResult>;
        switch (how.type) {
        case HealthType::udp:
            return start_datagram(loop_, target, udp_talk(how), std::move(done));
        case HealthType::dns:
            return start_datagram(loop_, target, dns_talk(how, static_cast<std::uint16_t>(random_())), std::move(done));
        case HealthType::http:
            return std::make_unique<Tcp>(loop_, target, http_talk(target, how), std::move(done));
        case HealthType::https:
            return start_https(target, how, std::move(done));
        case HealthType::tcp:
            break;
        }
        return std::make_unique<Tcp>(loop_, target, tcp_talk(how), std::move(done));
    }
    Result<void> prepare(const ProbeRoutes& routes) override
    {
        if (routes.by_mark.empty()) {
            programs_.reset();
            return {};
        }
        if (!programs_) {
            Result<ProbePrograms> loaded = ProbePrograms::load();
            if (!loaded)
                return fail(loaded.error());
            programs_.emplace(std::move(*loaded));
        }
        return programs_->follow(routes);
    }

private:
    std::unique_ptr<Probe> start_https(const Endpoint& target, const Check& how, Done done)
    {
        Result<std::unique_ptr<Stream>> stream = tls_.open(target, how);
        if (!stream)
            return std::make_unique<Unasked>(loop_, stream.error().message, std::move(done));
        Talk<CheckResult> talk = http_talk(target, how);
        talk.stream = *std::move(stream);
        return std::make_unique<Conversation<CheckResult>>(loop_, target, std::move(talk), std::move(done));
    }

    Loop& loop_;
    TlsContexts tls_;
    std::random_device random_; // not to be foretold: who is elsewhere must not answer for the backend
    std::optional<ProbePrograms> programs_;
};

} // namespace

std::unique_ptr<Prober> make_prober(Loop& loop)
{
    return std::make_unique<SocketProber>(loop);
}

} // namespace featherlb
