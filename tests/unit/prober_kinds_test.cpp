// SPDX-License-Identifier: Apache-2.0
// Checks by TLS and by UDP against servers of this machine.
#include <csignal>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "daemon/dns_message.h"
#include "daemon/prober.h"
#include "unit/tls_server.h"

namespace featherlb {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;
using Kind = CheckResult::Kind;

const std::string page = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nready\n";

class ProberKinds : public testing::Test {
protected:
    ProberKinds() { std::signal(SIGPIPE, SIG_IGN); } // as run() does

    std::optional<CheckResult> ask(
        const Endpoint& target, const HealthConfig& how, Loop::Clock::duration patience = 10s)
    {
        prober_.reset();
        loop_ = make_loop(); // one that was stopped does not run again
        prober_ = make_prober(*loop_);
        std::optional<CheckResult> result;
        std::unique_ptr<Probe> probe = prober_->start(target, how, [&](const CheckResult& got) {
            result = got;
            probe.reset();
            loop_->stop();
        });
        const Handle enough = loop_->after(patience, [this] { loop_->stop(); });
        loop_->run();
        return result;
    }
    // What a check says of a server with that certificate.
    CheckResult ask_tls(const Certificate& certificate, HealthConfig how, const std::string& answer = page)
    {
        OneServer server;
        server.serve([](std::string_view) { return true; },
            [&](int connection) { heard_ = certificate.serve(connection, answer, &asked_for_); });
        how.type = HealthType::https;
        return ask(server.endpoint(), how).value_or(CheckResult{Kind::discarded, "no result"});
    }

    std::unique_ptr<Loop> loop_ = make_loop();
    std::unique_ptr<Prober> prober_ = make_prober(*loop_);
    std::string heard_;
    std::string asked_for_;
};

TEST_F(ProberKinds, ACertificateThatIsRightIsGood)
{
    const Certificate certificate("DNS:web.internal");
    const CheckResult result =
        ask_tls(certificate, {.path = "/up", .host = "web.internal:8443", .body = "ready", .ca = certificate.pem()});
    EXPECT_EQ(result.kind, Kind::good) << result.reason;
    EXPECT_EQ(asked_for_, "web.internal");
    EXPECT_THAT(heard_, testing::StartsWith("GET /up HTTP/1.1\r\nHost: web.internal:8443\r\n"));
}

TEST_F(ProberKinds, WithoutAHostItIsCheckedForTheAddress)
{
    const Certificate right("IP:127.0.0.1");
    EXPECT_EQ(ask_tls(right, {.ca = right.pem()}).kind, Kind::good);
    EXPECT_EQ(asked_for_, "") << "an address is no server name";
    const Certificate wrong("DNS:web.internal");
    EXPECT_EQ(ask_tls(wrong, {.ca = wrong.pem()}).reason, "certificate: IP address mismatch");
}

TEST_F(ProberKinds, OneThatIsWrongFails)
{
    const Certificate other("DNS:web.internal");
    const Certificate expired("DNS:web.internal", -60);
    EXPECT_EQ(ask_tls(other, {.host = "web.internal"}).reason, "certificate: self-signed certificate");
    EXPECT_EQ(ask_tls(other, {.host = "web.internal", .ca = expired.pem()}).kind, Kind::failed);
    EXPECT_EQ(ask_tls(other, {.host = "www.internal", .ca = other.pem()}).reason, "certificate: hostname mismatch");
    EXPECT_EQ(
        ask_tls(expired, {.host = "web.internal", .ca = expired.pem()}).reason, "certificate: certificate has expired");
    EXPECT_EQ(ask_tls(expired, {.host = "www.internal", .verify = false}).kind, Kind::good);
}

TEST_F(ProberKinds, WhatTheAnswerSaysCountsAsInHttp)
{
    const Certificate certificate("IP:127.0.0.1");
    const HealthConfig how{.body = "steady", .ca = certificate.pem()};
    EXPECT_EQ(ask_tls(certificate, how).reason, "the body does not contain \"steady\"");
    EXPECT_EQ(ask_tls(certificate, how, "HTTP/1.1 503 No\r\n\r\n").reason, "HTTP 503, expected 200-299");
    EXPECT_EQ(ask_tls(certificate, how, "SSH-2.0-OpenSSH_9.2\r\n").reason, "the answer is not HTTP");
    EXPECT_EQ(ask_tls(certificate, how, "").reason, "closed without an answer");
}

TEST_F(ProberKinds, ABodyOfManyRecordsIsReadToItsEnd)
{
    const Certificate certificate("IP:127.0.0.1");
    HealthConfig how{.body = "the end", .ca = certificate.pem()};
    EXPECT_EQ(
        ask_tls(certificate, how, "HTTP/1.1 200 OK\r\n\r\n" + std::string(60000, 'x') + "the end").kind, Kind::good);
    EXPECT_EQ(ask_tls(certificate, how, "HTTP/1.1 200 OK\r\n\r\n" + std::string(90000, 'x') + "the end").reason,
        "the body does not contain \"the end\" within 64 KiB");
}

TEST_F(ProberKinds, AServerWithoutTlsFails)
{
    for (const auto& [says, reason] :
        {std::pair("HTTP/1.1 400 Bad Request\r\n\r\n", "TLS: "), std::pair("", "closed during the TLS handshake")}) {
        OneServer server;
        server.serve([](std::string_view heard) { return !heard.empty(); },
            [says = says](int connection) { OneServer::say(connection, says); });
        const auto result = ask(server.endpoint(), {.type = HealthType::https, .verify = false});
        ASSERT_TRUE(result.has_value());
        EXPECT_EQ(result->kind, Kind::failed);
        EXPECT_THAT(result->reason, HasSubstr(reason));
    }
}

TEST_F(ProberKinds, ASilentServerIsWaitedForInTheHandshake)
{
    const OneServer server;
    const HealthConfig how{.type = HealthType::https, .verify = false};
    EXPECT_FALSE(ask(server.endpoint(), how, 50ms).has_value());
    const auto probe = prober_->start(server.endpoint(), how, [](const CheckResult&) { FAIL(); });
    probe->look();
    EXPECT_EQ(probe->waits_for(), "the TLS handshake");
    EXPECT_FALSE(probe->silence_is_good());
}

// Answers one datagram by what `answer` makes of it.
class OneDatagram {
public:
    explicit OneDatagram(std::function<std::string(const std::string&)> answer) : answer_(std::move(answer))
    {
        socket_ = Fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t length = sizeof(address);
        EXPECT_EQ(::bind(socket_.get(), reinterpret_cast<sockaddr*>(&address), length), 0);
        EXPECT_EQ(::getsockname(socket_.get(), reinterpret_cast<sockaddr*>(&address), &length), 0);
        endpoint = {*IpAddress::parse("127.0.0.1"), ntohs(address.sin_port)};
        thread_ = std::thread([this] {
            char buffer[2048];
            sockaddr_in from{};
            socklen_t size = sizeof(from);
            const ssize_t got =
                ::recvfrom(socket_.get(), buffer, sizeof(buffer), 0, reinterpret_cast<sockaddr*>(&from), &size);
            const std::string reply = answer_({buffer, static_cast<std::size_t>(std::max<ssize_t>(got, 0))});
            if (!reply.empty())
                ::sendto(socket_.get(), reply.data(), reply.size(), 0, reinterpret_cast<sockaddr*>(&from), size);
        });
    }
    ~OneDatagram() { thread_.join(); }
    OneDatagram(const OneDatagram&) = delete;
    OneDatagram& operator=(const OneDatagram&) = delete;

    Endpoint endpoint;

private:
    std::function<std::string(const std::string&)> answer_;
    Fd socket_;
    std::thread thread_;
};

TEST_F(ProberKinds, WhatComesBackByUdpMustContainWhatIsExpected)
{
    const HealthConfig how{.type = HealthType::udp, .send = "ping", .expect_bytes = "pong"};
    {
        const OneDatagram server([](const std::string& heard) { return heard == "ping" ? "a pong!" : "what?"; });
        EXPECT_EQ(ask(server.endpoint, how)->kind, Kind::good);
    }
    const OneDatagram server([](const std::string&) { return "what?"; });
    EXPECT_EQ(ask(server.endpoint, how)->reason, "5 bytes without \"pong\": \"what?\"");
}

TEST_F(ProberKinds, SilenceIsGoodWhereNothingIsExpected)
{
    const OneDatagram server([](const std::string&) { return ""; });
    HealthConfig how{.type = HealthType::udp, .send = "ping"};
    const auto probe = prober_->start(server.endpoint, how, [](const CheckResult&) { FAIL(); });
    EXPECT_TRUE(probe->silence_is_good());
    how.expect_bytes = "pong";
    EXPECT_FALSE(prober_->start(server.endpoint, how, [](const CheckResult&) { FAIL(); })->silence_is_good());
}

TEST_F(ProberKinds, AClosedPortFailsAtOnce)
{
    Endpoint closed;
    {
        const OneDatagram server([](const std::string&) { return "x"; });
        closed = server.endpoint;
        EXPECT_EQ(ask(closed, {.type = HealthType::udp, .send = "ping"})->kind, Kind::good);
    }
    EXPECT_EQ(ask(closed, {.type = HealthType::udp, .send = "ping"})->reason, "port unreachable");
}

// An answer to `query` with these flags and, maybe, one record of it.
std::string answer_to(const std::string& query, int flags, const std::string& data = "")
{
    std::string answer = query;
    answer[2] = static_cast<char>(flags >> 8);
    answer[3] = static_cast<char>(flags);
    if (data.empty())
        return answer;
    answer[7] = 1;
    answer += std::string("\xc0\x0c", 2) + answer.substr(answer.size() - 4) + std::string("\0\0\0\x3c\0", 5) +
              static_cast<char>(data.size()) + data;
    return answer;
}

constexpr int response = 0x8180;

TEST_F(ProberKinds, ADnsServerThatKnowsTheNameIsGood)
{
    for (const DnsRecord record : {DnsRecord::a, DnsRecord::aaaa}) {
        const std::string data(record == DnsRecord::a ? 4 : 16, '\x0a');
        const OneDatagram server([&](const std::string& heard) { return answer_to(heard, response, data); });
        const HealthConfig how{.type = HealthType::dns, .name = "www.example.com", .record = record};
        const auto result = ask(server.endpoint, how);
        EXPECT_EQ(result->kind, Kind::good) << result->reason;
    }
}

TEST(DnsMessage, AsksOneQuestion)
{
    const std::string query = dns_query({.name = "web.internal", .record = DnsRecord::aaaa}, 0x1234);
    EXPECT_EQ(query, std::string("\x12\x34\x01\0\0\x01\0\0\0\0\0\0\3web\x08internal\0\0\x1c\0\x01", 30));
    EXPECT_EQ(dns_query({.name = std::string(70, 'a')}, 1), "");
}

TEST(DnsMessage, SaysWhyAnAnswerIsNotGood)
{
    HealthConfig how{.type = HealthType::dns, .name = "web.internal"};
    const std::string query = dns_query(how, 7);
    const std::string address = "\x0a\x01\x02\x03";
    const auto reason = [&](const std::string& answer) { return judge_dns(answer, how, 7).reason; };
    EXPECT_EQ(reason(answer_to(query, response, address)), "");
    EXPECT_EQ(reason(answer_to(query, response | 3)), "DNS NXDOMAIN, expected NOERROR");
    EXPECT_EQ(reason(answer_to(query, response | 5)), "DNS REFUSED, expected NOERROR");
    EXPECT_EQ(reason(answer_to(query, response)), "the answer has no A record of web.internal");
    EXPECT_EQ(reason(answer_to(query, response | 0x200)), "") << "cut off, so it has too many";
    EXPECT_EQ(reason(query), "the answer is not DNS") << "a question";
    EXPECT_EQ(reason(""), "the answer is not DNS");
    EXPECT_EQ(reason("HTTP/1.1 400 Bad Request\r\n\r\n"), "the answer is not DNS");
    EXPECT_EQ(reason(answer_to(dns_query(how, 8), response, address)), "the answer is to another question");
    EXPECT_EQ(
        reason(answer_to(dns_query({.name = "web.else"}, 7), response, address)), "the answer is to another question");
    EXPECT_EQ(reason(answer_to(dns_query({.name = "WEB.internal"}, 7), response, address)), "") << "case is nothing";
    const std::string whole = answer_to(query, response, address);
    for (std::size_t length = 0; length < whole.size(); ++length)
        EXPECT_NE(reason(whole.substr(0, length)), "") << length;
    EXPECT_EQ(reason(whole + "x"), "the answer is not DNS");
    how.expect_dns = DnsExpect::nxdomain;
    EXPECT_EQ(reason(answer_to(query, response | 3)), "");
    EXPECT_EQ(reason(answer_to(query, response, address)), "DNS NOERROR, expected NXDOMAIN");
    how.expect_dns = DnsExpect::any;
    EXPECT_EQ(reason(answer_to(query, response | 5)), "");
    EXPECT_EQ(reason("garbage"), "the answer is not DNS");
}

} // namespace
} // namespace featherlb
