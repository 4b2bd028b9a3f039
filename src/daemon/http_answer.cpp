// SPDX-License-Identifier: Apache-2.0
#include "daemon/http_answer.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "base/text.h"
#include "config/values.h"

namespace featherlb {

namespace {

constexpr std::string_view http_version = "HTTP/1.";
constexpr std::size_t status_line_start = 12; // "HTTP/1.1 200"

std::string expected(const HealthConfig& how)
{
    return how.expect_first == how.expect_last ? fmt::format("{}", how.expect_first)
                                               : fmt::format("{}-{}", how.expect_first, how.expect_last);
}

bool same_letters(std::string_view a, std::string_view b)
{
    const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
    return std::ranges::equal(a, b, {}, lower, lower);
}

std::string_view trimmed(std::string_view text)
{
    const std::size_t first = text.find_first_not_of(" \t");
    return first == std::string_view::npos ? "" : text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

// Of a field in the head; nothing: it is not there.
std::optional<std::string_view> field(std::string_view head, std::string_view name)
{
    for (std::size_t at = head.find("\r\n"); at != std::string_view::npos;) {
        const std::size_t end = head.find("\r\n", at + 2);
        const std::string_view line = head.substr(at + 2, end == std::string_view::npos ? end : end - at - 2);
        const std::size_t colon = line.find(':');
        if (colon != std::string_view::npos && same_letters(line.substr(0, colon), name))
            return trimmed(line.substr(colon + 1));
        at = end;
    }
    return std::nullopt;
}

struct Body {
    std::string text;
    bool complete = false;
    bool broken = false;
};

std::optional<std::size_t> chunk_size(std::string_view line)
{
    line = trimmed(line.substr(0, line.find(';')));
    if (line.empty() || line.size() > 7)
        return std::nullopt;
    std::size_t size = 0;
    for (const char c : line) {
        static constexpr std::string_view digits = "0123456789abcdef";
        const std::size_t digit = digits.find(c >= 'A' && c <= 'F' ? static_cast<char>(c - 'A' + 'a') : c);
        if (digit == std::string_view::npos)
            return std::nullopt;
        size = size * 16 + digit;
    }
    return size;
}

// RFC 9112, 7.1, as far as it has come; trailers are not read.
Body join_chunks(std::string_view rest)
{
    Body body;
    while (true) {
        const std::size_t end = rest.find("\r\n");
        if (end == std::string_view::npos)
            return body;
        const auto size = chunk_size(rest.substr(0, end));
        if (!size) {
            body.broken = true;
            return body;
        }
        rest.remove_prefix(end + 2);
        body.text += rest.substr(0, *size);
        if (*size == 0) {
            body.complete = true;
            return body;
        }
        if (rest.size() < *size + 2)
            return body;
        body.broken = rest.substr(*size, 2) != "\r\n";
        if (body.broken)
            return body;
        rest.remove_prefix(*size + 2);
    }
}

Body body_of(std::string_view head, std::string_view rest)
{
    const auto coding = field(head, "Transfer-Encoding");
    if (coding && same_letters(*coding, "chunked"))
        return join_chunks(rest);
    Body body{.text = std::string(rest)};
    if (const auto length = field(head, "Content-Length")) {
        const auto bytes = parse_decimal(*length);
        body.broken = !bytes;
        body.complete = bytes && rest.size() >= *bytes;
        if (body.complete)
            body.text.resize(*bytes);
    }
    return body;
}

std::optional<CheckResult> judge_body(std::string_view received, bool ended, const HealthConfig& how)
{
    const bool all = ended || received.size() >= largest_answer;
    received = received.substr(0, largest_answer);
    const std::size_t head_end = received.find("\r\n\r\n");
    if (head_end == std::string_view::npos)
        return all ? std::optional(failed_check("the answer has no body")) : std::nullopt;
    const Body body = body_of(received.substr(0, head_end), received.substr(head_end + 4));
    if (body.text.find(how.body) != std::string::npos)
        return CheckResult{};
    if (body.broken)
        return failed_check("the answer is not HTTP: the length of its body is not right");
    if (!all && !body.complete)
        return std::nullopt;
    return failed_check(fmt::format("the body does not contain {}{}", quote(how.body),
        ended || body.complete ? "" : fmt::format(" within {} KiB", largest_answer / 1024)));
}

} // namespace

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
        return failed_check("the answer is not HTTP");
    // One byte more tells that the code is not longer.
    if (received.size() <= status_line_start && !(ended && received.size() == status_line_start)) {
        if (!ended)
            return std::nullopt;
        return failed_check(received.empty() ? "closed without an answer" : "the answer ends within its first line");
    }
    const auto code = parse_decimal(received.substr(http_version.size() + 2, 3));
    const char behind = received.size() > status_line_start ? received[status_line_start] : '\r';
    if (received[http_version.size() + 1] != ' ' || !code || (behind != ' ' && behind != '\r' && behind != '\n'))
        return failed_check("the answer is not HTTP");
    if (*code < how.expect_first || *code > how.expect_last)
        return failed_check(fmt::format("HTTP {}, expected {}", *code, expected(how)));
    return how.body.empty() ? CheckResult{} : judge_body(received, ended, how);
}

} // namespace featherlb
