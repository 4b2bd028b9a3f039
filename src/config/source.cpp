// SPDX-License-Identifier: Apache-2.0
#include "config/source.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/utf8.h"

namespace featherlb {

namespace {

constexpr std::string_view byte_order_mark = "\xef\xbb\xbf";
constexpr std::string_view save_as_utf8 = "save the file as UTF-8";

bool begins_like_utf16(std::string_view text)
{
    return text.starts_with("\xff\xfe") || text.starts_with("\xfe\xff") ||
           (text.size() >= 2 && (text[0] == '\0') != (text[1] == '\0'));
}

} // namespace

Source::Source(std::string_view text)
    : text_(text.starts_with(byte_order_mark) ? text.substr(byte_order_mark.size()) : text)
{
    line_starts_.push_back(0);
    for (std::size_t i = 0; i < text_.size(); ++i) {
        if (text_[i] == '\n')
            line_starts_.push_back(i + 1);
    }
}

Place Source::place(std::size_t offset) const
{
    offset = std::min(offset, text_.size());
    const auto next = std::upper_bound(line_starts_.begin(), line_starts_.end(), offset);
    const auto line = static_cast<std::size_t>(next - line_starts_.begin());
    if (line != last_.place.line || offset < last_.offset)
        last_ = {line_starts_[line - 1], {line, 1}};
    last_.place.column += count_characters(text_.substr(last_.offset, offset - last_.offset));
    last_.offset = offset;
    return last_.place;
}

std::optional<Problem> Source::check() const
{
    if (begins_like_utf16(text_))
        return Problem{{1, 1}, "the file is UTF-16, not UTF-8", std::string(save_as_utf8)};
    for (std::size_t at = 0; at < text_.size();) {
        const auto character = decode_utf8(text_, at);
        if (!character) {
            const auto byte = static_cast<unsigned char>(text_[at]);
            return Problem{place(at), fmt::format("the byte 0x{:02x} is not UTF-8", byte), std::string(save_as_utf8)};
        }
        if (auto problem = check_character(at, character->value))
            return problem;
        at += character->length;
    }
    if (auto problem = check_indentation())
        return problem;
    return check_values();
}

std::optional<Problem> Source::check_character(std::size_t offset, char32_t character) const
{
    const bool line_end = character == '\n' || (character == '\r' && text_.substr(offset, 2) == "\r\n");
    if (line_end || character == '\t')
        return std::nullopt;
    if (character == '\r')
        return Problem{place(offset), "a carriage return without a line feed", "end lines with LF or CR LF"};
    if (character == 0)
        return Problem{place(offset), "a NUL byte; this is not a text file", "remove it, or name the right file"};
    if (character < 0x20 || (character >= 0x7f && character < 0xa0) || character == 0xfeff || character == 0xfffe ||
        character == 0xffff)
        return Problem{place(offset), fmt::format("the control character U+{:04X}", static_cast<unsigned>(character)),
            "remove it; it does not show in most editors"};
    return std::nullopt;
}

std::optional<Problem> Source::check_indentation() const
{
    for (const std::size_t start : line_starts_) {
        const std::size_t tab = text_.find_first_not_of(' ', start);
        if (tab == std::string_view::npos || text_[tab] != '\t')
            continue;
        const std::size_t first = text_.find_first_not_of(" \t", tab);
        const bool blank =
            first == std::string_view::npos || std::string_view("\r\n#").find(text_[first]) != std::string_view::npos;
        if (!blank)
            return Problem{place(tab), "a tab in the indentation", "indent with spaces only"};
    }
    return std::nullopt;
}

std::optional<Problem> Source::check_values() const
{
    std::size_t count = 0;
    for (std::size_t at = text_.find_first_of("[{,"); at != std::string_view::npos;
         at = text_.find_first_of("[{,", at + 1)) {
        if (++count > most_values)
            return too_many_values(place(at));
    }
    return std::nullopt;
}

Problem too_many_values(Place place)
{
    return {place, fmt::format("more than {} values", most_values),
        "split the load over several balancers, or check how this file was made"};
}

} // namespace featherlb
