// SPDX-License-Identifier: Apache-2.0
#include "base/text.h"

#include <algorithm>
#include <vector>

#include <fmt/format.h>

#include "base/utf8.h"

namespace featherlb {

namespace {

constexpr std::size_t longest_quote = 60;

// Lower case, '-' for '_': what people mix up without noticing.
std::string plain_form(std::string_view word)
{
    std::string plain(word);
    for (char& c : plain) {
        if (c >= 'A' && c <= 'Z')
            c = static_cast<char>(c - 'A' + 'a');
        else if (c == '_')
            c = '-';
    }
    return plain;
}

// Characters that do not show, or change how their neighbours show.
bool is_invisible(char32_t c)
{
    return c < 0x20 || (c >= 0x7f && c <= 0xa0) || c == 0xad || (c >= 0x200b && c <= 0x200f) ||
           (c >= 0x2028 && c <= 0x202f) || (c >= 0x2060 && c <= 0x206f) || c == 0xfeff || c >= 0xfff0;
}

std::string spell(char32_t c)
{
    switch (c) {
    case '"':
        return "\\\"";
    case '\\':
        return "\\\\";
    case '\n':
        return "\\n";
    case '\r':
        return "\\r";
    case '\t':
        return "\\t";
    default:
        return c < 0x80 ? fmt::format("\\x{:02x}", static_cast<unsigned>(c))
                        : fmt::format("\\u{{{:x}}}", static_cast<unsigned>(c));
    }
}

} // namespace

std::size_t edit_distance(std::string_view a, std::string_view b)
{
    // Three rows of the classic matrix: the swap looks two rows back.
    std::vector<std::size_t> before(b.size() + 1);
    std::vector<std::size_t> last(b.size() + 1);
    std::vector<std::size_t> row(b.size() + 1);
    for (std::size_t j = 0; j <= b.size(); ++j)
        row[j] = j;
    for (std::size_t i = 1; i <= a.size(); ++i) {
        std::swap(before, last);
        std::swap(last, row);
        row[0] = i;
        for (std::size_t j = 1; j <= b.size(); ++j) {
            const std::size_t replaced = last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
            row[j] = std::min({replaced, last[j] + 1, row[j - 1] + 1});
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                row[j] = std::min(row[j], before[j - 2] + 1);
        }
    }
    return row[b.size()];
}

std::optional<std::string_view> closest(std::string_view word, std::span<const std::string_view> candidates)
{
    const std::string plain = plain_form(word);
    std::optional<std::string_view> best;
    std::size_t best_distance = 0;
    for (const std::string_view candidate : candidates) {
        const std::size_t allowed = std::max<std::size_t>(1, candidate.size() / 3);
        // Also keeps the matrix small, whatever was written.
        if (plain.size() > candidate.size() + allowed || plain.size() + allowed < candidate.size())
            continue;
        const std::size_t distance = edit_distance(plain, plain_form(candidate));
        if (distance <= allowed && distance < candidate.size() && (!best || distance < best_distance)) {
            best = candidate;
            best_distance = distance;
        }
    }
    return best;
}

std::string quote(std::string_view text)
{
    std::string quoted = "\"";
    std::size_t shown = 0;
    for (std::size_t at = 0; at < text.size(); ++shown) {
        if (shown == longest_quote) {
            quoted += "...";
            break;
        }
        const auto character = decode_utf8(text, at);
        if (!character) {
            quoted += fmt::format("\\x{:02x}", static_cast<unsigned char>(text[at]));
            ++at;
            continue;
        }
        const bool spelled = is_invisible(character->value) || character->value == '"' || character->value == '\\';
        quoted += spelled ? spell(character->value) : std::string(text.substr(at, character->length));
        at += character->length;
    }
    return quoted + '"';
}

std::string meant(std::string_view word, const std::vector<std::string>& all)
{
    const std::vector<std::string_view> views(all.begin(), all.end());
    const auto close = closest(word, views);
    if (close)
        return fmt::format("did you mean {}?", quote(*close));
    return views.empty() ? "there is none" : fmt::format("there is {}", join(views));
}

std::string join(std::span<const std::string_view> words)
{
    return fmt::format("{}", fmt::join(words.begin(), words.end(), ", "));
}

} // namespace featherlb
