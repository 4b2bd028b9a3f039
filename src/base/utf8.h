// SPDX-License-Identifier: Apache-2.0
// One step of a strict UTF-8 decoder: no overlong forms, no surrogates, nothing above U+10FFFF.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

namespace featherlb {

struct CodePoint {
    char32_t value = 0;
    std::size_t length = 0; // bytes, 1 to 4
};

// The character that begins at text[at]; nothing if there is none or the bytes are not UTF-8.
[[nodiscard]] std::optional<CodePoint> decode_utf8(std::string_view text, std::size_t at);

// Characters in `text`; a byte that belongs to none counts as one.
[[nodiscard]] std::size_t count_characters(std::string_view text);

} // namespace featherlb
