// SPDX-License-Identifier: Apache-2.0
// The text of the file as places: byte offsets to lines and columns in characters, and the checks that need only
// bytes and must come before YAML (to yaml-cpp a byte 4 is the end of the file, and a NUL makes it guess UTF-16).
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "config/config.h"

namespace featherlb {

class Source {
public:
    // `text` must outlive it; a byte order mark at the beginning is skipped.
    explicit Source(std::string_view text);

    [[nodiscard]] std::string_view text() const { return text_; }
    // The place of the byte `offset` of text(); of the end if it lies behind it.
    [[nodiscard]] Place place(std::size_t offset) const;
    // The first thing wrong with the bytes: not UTF-8, control characters, a tab as indentation.
    [[nodiscard]] std::optional<Problem> check() const;

private:
    [[nodiscard]] std::optional<Problem> check_character(std::size_t offset, char32_t character) const;
    [[nodiscard]] std::optional<Problem> check_indentation() const;

    std::string_view text_;
    std::vector<std::size_t> line_starts_;
};

} // namespace featherlb
