// SPDX-License-Identifier: Apache-2.0
#include "config/yaml_error.h"

#include <algorithm>
#include <array>
#include <optional>

#include <fmt/format.h>

#include "base/text.h"
#include "base/utf8.h"

namespace featherlb {

namespace {

struct Explanation {
    std::string_view message; // how yaml-cpp's text begins
    std::string_view what;
    std::string_view remedy;
};

constexpr auto explanations = std::to_array<Explanation>({
    {"illegal map value", "a key and value are not allowed here",
        R"(give keys of one mapping the same indentation, and put text with ": " in it in quotes)"},
    {"end of map not found", "this does not continue the settings before it",
        "check the indentation here, and quotes and brackets just before"},
    {"end of sequence not found", "this fits neither the list before it nor the list's last entry",
        "give all entries, and all keys of one entry, the same indentation"},
    {"end of map flow not found", "a { is not closed before this", "add } or the missing comma"},
    {"end of sequence flow not found", "a [ is not closed before this", "add ] or the missing comma"},
    {"illegal block entry", "a list entry (- ) is not allowed here",
        "begin each entry on a line of its own, all with the same indentation"},
    {"illegal flow end", "a closing bracket that does not fit what was opened",
        "remove it, or close the inner one first"},
    {"illegal EOF in scalar", "a quote is opened and never closed", "close it on the same line"},
    {"illegal document indicator in scalar", "a quote is still open when a new document begins",
        "close the quote on its own line"},
    {"unknown escape character", "an unknown \\ escape in double quotes",
        "use single quotes, or write \\\\ for one \\"},
    {"invalid unicode", "a \\ escape that is no character", "use single quotes, or write the character itself"},
    {"bad character found while scanning hex number", "a \\ escape that is no character",
        "use single quotes, or write the character itself"},
    {"illegal tab", "a tab in the indentation", "indent with spaces only"},
    {"YAML major version too large", "a YAML version that is not known", "remove the %YAML line"},
});

// The word that begins at `text`: up to white space or what separates values.
std::string_view word_at(std::string_view text)
{
    return text.substr(0, text.find_first_of(" \t\r\n,]}#"));
}

// yaml-cpp joins "flows:max" to the next line, as text that goes on, and complains there. The line before the one of
// `offset`, if it is a word, a colon and something else without a space between.
std::optional<Problem> missing_space(const Source& source, std::size_t offset)
{
    const std::string_view text = source.text();
    const std::size_t line_start = text.substr(0, offset).rfind('\n');
    if (line_start == std::string_view::npos || line_start == 0)
        return std::nullopt;
    const std::size_t previous = text.substr(0, line_start).rfind('\n');
    const std::size_t from = text.find_first_not_of(" -", previous == std::string_view::npos ? 0 : previous + 1);
    const std::size_t colon = text.find_first_not_of("abcdefghijklmnopqrstuvwxyz_", from);
    if (colon >= line_start || colon == from || text[colon] != ':' || text[colon + 1] == ' ' ||
        text[colon + 1] == '\r' || text[colon + 1] == '\n')
        return std::nullopt;
    const std::string_view key = text.substr(from, std::min<std::size_t>(colon - from, 40));
    return Problem{source.place(from), fmt::format("no space behind the colon of {}", quote(key)),
        fmt::format("write {}: and a space", key)};
}

} // namespace

Problem explain_yaml_error(const Source& source, int position, const std::string& message)
{
    const std::size_t offset = position < 0 ? 0 : std::min(static_cast<std::size_t>(position), source.text().size());
    const Place place = source.place(offset);
    const std::string_view rest = source.text().substr(offset);
    if (message == "the referenced anchor is not defined")
        return {place, "* begins a YAML alias when it is not in quotes", fmt::format("write {}", quote(word_at(rest)))};
    if (rest.starts_with(':') && offset > 0 && source.text()[offset - 1] == ']')
        return {place, "[...] without quotes is a list, and text behind it has no meaning",
            R"(put addresses in quotes: "[2001:db8::1]:80/tcp")"};
    if (message == "unknown token" && !rest.empty()) {
        const auto character = decode_utf8(rest, 0);
        return {place,
            fmt::format("a value cannot begin with {}", quote(rest.substr(0, character ? character->length : 1))),
            "put the text in quotes"};
    }
    if (message == "illegal map value") {
        if (auto problem = missing_space(source, offset))
            return *std::move(problem);
    }
    const auto* known = std::find_if(explanations.begin(), explanations.end(),
        [&](const Explanation& explanation) { return message.starts_with(explanation.message); });
    if (known != explanations.end())
        return {place, std::string(known->what), std::string(known->remedy)};
    return {place, "not valid YAML: " + message, "check indentation, quotes and brackets here"};
}

} // namespace featherlb
