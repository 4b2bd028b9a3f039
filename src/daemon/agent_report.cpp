// SPDX-License-Identifier: Apache-2.0
#include "daemon/agent_report.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/text.h"

namespace featherlb {

namespace {

constexpr std::string_view separators = " \t,";
constexpr std::string_view line_ends = "\r\n";
constexpr std::string_view decimal_digits = "0123456789";
constexpr std::string_view maxconn = "maxconn:";

std::string lower(std::string_view text)
{
    std::string result(text);
    std::ranges::transform(
        result, result.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c; });
    return result;
}

bool all_digits(std::string_view text)
{
    return !text.empty() && text.find_first_not_of(decimal_digits) == std::string_view::npos;
}

// However many digits there are.
std::uint64_t capped_number(std::string_view text, std::uint64_t most)
{
    std::uint64_t value = 0;
    for (const char c : text)
        value = std::min(value * 10 + static_cast<std::uint64_t>(c - '0'), most);
    return value;
}

bool take_word(const std::string& word, AgentReport& report)
{
    using Admin = AgentReport::Admin;
    if (word.ends_with('%') && all_digits(std::string_view(word).substr(0, word.size() - 1))) {
        const std::uint64_t value = capped_number(word.substr(0, word.size() - 1), most_agent_percent + 1);
        report.above_most = value > most_agent_percent;
        report.percent = static_cast<std::uint32_t>(std::min<std::uint64_t>(value, most_agent_percent));
    } else if (word == "up" || word == "down" || word == "fail" || word == "failed" || word == "stopped") {
        report.up = word == "up";
        report.word = word;
    } else if (word == "ready" || word == "drain" || word == "maint") {
        report.admin = word == "ready" ? Admin::ready : word == "drain" ? Admin::drain : Admin::maint;
    } else if (word.starts_with(maxconn) && all_digits(std::string_view(word).substr(maxconn.size()))) {
        report.has_maxconn = true;
    } else {
        return false;
    }
    return true;
}

} // namespace

AgentLine parse_agent_line(std::string_view line)
{
    if (line.size() > longest_agent_line)
        return tl::unexpected(fmt::format("a line of more than {} bytes", longest_agent_line));
    AgentReport report;
    bool any = false;
    for (std::size_t at = line.find_first_not_of(separators); at != std::string_view::npos;
         at = line.find_first_not_of(separators, at)) {
        if (line[at] == '#') {
            const std::size_t begin = line.find_first_not_of(" \t", at + 1);
            report.reason = begin == std::string_view::npos ? "" : line.substr(begin);
            break;
        }
        const std::size_t end = std::min(line.find_first_of(separators, at), line.size());
        const std::string_view written = line.substr(at, end - at);
        // "down#reason", as HAProxy's manual allows
        const std::string_view word = written.substr(0, written.find('#'));
        if (!take_word(lower(word), report))
            return tl::unexpected(fmt::format("a word that is not known: {}", quote(written)));
        any = true;
        at += word.size();
    }
    if (!any)
        return tl::unexpected(std::string("a line without a word"));
    return report;
}

std::optional<AgentLine> judge_agent(std::string_view received, bool ended)
{
    const std::size_t end = received.find_first_of(line_ends);
    if (end == std::string_view::npos && !ended && received.size() <= longest_agent_line)
        return std::nullopt;
    if (end == std::string_view::npos && ended && received.empty())
        return tl::unexpected(std::string("nothing: the connection was closed"));
    return parse_agent_line(received.substr(0, end));
}

} // namespace featherlb
