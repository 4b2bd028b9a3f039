// SPDX-License-Identifier: Apache-2.0
// What an answer of HTTP says to a health check, in whatever pieces it comes.
#include "daemon/http_answer.h"

#include <string>

#include <gtest/gtest.h>

namespace featherlb {
namespace {

TEST(HttpAnswer, ReadsTheStatusOfAnAnswer)
{
    const HealthConfig how{.type = HealthType::http};
    const auto judge = [&how](std::string_view text, bool ended = false) { return judge_http(text, ended, how); };
    for (const char* text : {"", "H", "HTTP/1.", "HTTP/1.1 20", "HTTP/1.1 200"})
        EXPECT_FALSE(judge(text).has_value()) << text;
    for (const char* text : {"HTTP/1.1 200 OK\r\n", "HTTP/1.0 204\r\n", "HTTP/1.1 299 \r\n\r\nHTTP/1.1 500"})
        EXPECT_EQ(judge(text)->kind, CheckResult::Kind::good) << text;
    EXPECT_EQ(judge("HTTP/1.1 200", true)->kind, CheckResult::Kind::good);
    EXPECT_EQ(judge("HTTP/1.1 503 Service Unavailable\r\n")->reason, "HTTP 503, expected 200-299");
    EXPECT_EQ(judge("HTTP/1.1 199 ")->reason, "HTTP 199, expected 200-299");
    for (const char* text : {"SSH-2.0-OpenSSH", "HTTP/2 200 ok..", "HTTP/1.1 2000 ", "HTTP/1.1  200 ", "HTTP/1.1 -20 "})
        EXPECT_EQ(judge(text)->reason, "the answer is not HTTP") << text;
    EXPECT_EQ(judge("", true)->reason, "closed without an answer");
    EXPECT_EQ(judge("HTTP/1.1 20", true)->reason, "the answer ends within its first line");
    const HealthConfig one{.type = HealthType::http, .expect_first = 204, .expect_last = 204};
    EXPECT_EQ(judge_http("HTTP/1.1 200 OK", false, one)->reason, "HTTP 200, expected 204");
}

TEST(HttpAnswer, ReadsTheBodyOfAnAnswer)
{
    const HealthConfig how{.type = HealthType::http, .body = "ready"};
    const auto judge = [&how](const std::string& text, bool ended = false) { return judge_http(text, ended, how); };
    const std::string head = "HTTP/1.1 200 OK\r\nServer: x\r\n";
    EXPECT_EQ(judge(head + "\r\nI am ready")->kind, CheckResult::Kind::good) << "found before it ends";
    for (const std::string more : {"\r\n", "\r\nread", "Content-Length: 6\r\n\r\nnoready"}) {
        if (more.find("Length") == std::string::npos) {
            EXPECT_FALSE(judge(head + more).has_value()) << more;
        }
        EXPECT_EQ(judge(head + more, true)->reason, "the body does not contain \"ready\"") << more;
    }
    EXPECT_EQ(judge(head + "content-length:  4 \r\n\r\nnope")->reason, "the body does not contain \"ready\"")
        << "though the connection is open";
    EXPECT_EQ(judge(head + "X: ready\r\n\r\n", true)->reason, "the body does not contain \"ready\"") << "the head";
    EXPECT_EQ(judge(head, true)->reason, "the answer has no body");
    EXPECT_EQ(judge(head + "Content-Length: -1\r\n\r\nx")->reason,
        "the answer is not HTTP: the length of its body is not right");
    EXPECT_EQ(judge(head + std::string(70000, 'x'))->reason, "the answer has no body");
    EXPECT_EQ(judge("HTTP/1.1 500 Oh\r\n\r\nready")->reason, "HTTP 500, expected 200-299");
}

TEST(HttpAnswer, ABodyInChunksIsOneText)
{
    const HealthConfig how{.type = HealthType::http, .body = "ready"};
    const auto judge = [&how](const std::string& rest, bool ended = false) {
        return judge_http("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n" + rest, ended, how);
    };
    EXPECT_EQ(judge("2;a=b\r\nre\r\n3\r\nady\r\n")->kind, CheckResult::Kind::good);
    EXPECT_FALSE(judge("2\r\nre\r\n3\r\nad").has_value());
    EXPECT_FALSE(judge("").has_value());
    EXPECT_EQ(judge("A\r\n0123456789\r\n0\r\n")->reason, "the body does not contain \"ready\"");
    for (const char* broken : {"ready", "x\r\nready", "2\r\nreXX3\r\n", "\r\n", "ffffffff\r\nrea"})
        EXPECT_NE(judge(broken, true)->kind, CheckResult::Kind::good) << broken;
    EXPECT_EQ(judge("2\r\nreXX")->reason, "the answer is not HTTP: the length of its body is not right");
}

} // namespace
} // namespace featherlb
