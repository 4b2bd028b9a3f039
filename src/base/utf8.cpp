// SPDX-License-Identifier: Apache-2.0
#include "base/utf8.h"

#include <cstdint>

namespace featherlb {

namespace {

// What a first byte promises: how many bytes, which of its bits count, and the smallest value that needs so many.
struct Lead {
    std::size_t length = 0;
    std::uint8_t bits = 0;
    char32_t smallest = 0;
};

Lead lead_of(std::uint8_t byte)
{
    if (byte < 0x80)
        return {1, byte, 0};
    if ((byte & 0xe0) == 0xc0)
        return {2, static_cast<std::uint8_t>(byte & 0x1f), 0x80};
    if ((byte & 0xf0) == 0xe0)
        return {3, static_cast<std::uint8_t>(byte & 0x0f), 0x800};
    if ((byte & 0xf8) == 0xf0)
        return {4, static_cast<std::uint8_t>(byte & 0x07), 0x10000};
    return {};
}

} // namespace

std::optional<CodePoint> decode_utf8(std::string_view text, std::size_t at)
{
    if (at >= text.size())
        return std::nullopt;
    const Lead lead = lead_of(static_cast<std::uint8_t>(text[at]));
    if (lead.length == 0 || text.size() - at < lead.length)
        return std::nullopt;
    char32_t value = lead.bits;
    for (std::size_t i = 1; i < lead.length; ++i) {
        const auto byte = static_cast<std::uint8_t>(text[at + i]);
        if ((byte & 0xc0) != 0x80)
            return std::nullopt;
        value = value << 6 | (byte & 0x3f);
    }
    const bool surrogate = value >= 0xd800 && value <= 0xdfff;
    if (value < lead.smallest || surrogate || value > 0x10ffff)
        return std::nullopt;
    return CodePoint{value, lead.length};
}

std::size_t count_characters(std::string_view text)
{
    std::size_t count = 0;
    for (std::size_t at = 0; at < text.size(); ++count) {
        const auto character = decode_utf8(text, at);
        at += character ? character->length : 1;
    }
    return count;
}

} // namespace featherlb
