// SPDX-License-Identifier: Apache-2.0
// The text of the file as places: byte offsets to lines and columns in characters, and the checks that need only
// bytes and must come before YAML (to yaml-cpp a byte 4 is the end of the file, and a NUL makes it guess UTF-16).
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>
#include <vector>

#include "config/config.h"

namespace featherlb {

// Enough for ten thousand backends several times over, and memory stays bounded whatever the file says.
inline constexpr std::size_t most_values = 500'000;
[[nodiscard]] Problem too_many_values(Place place);

class Source {
public:
    // `text` must outlive it; a byte order mark at the beginning is skipped.
    explicit Source(std::string_view text);

    [[nodiscard]] std::string_view text() const { return text_; }
    // The place of the byte `offset` of text(); of the end if it lies behind it. Remembers the last answer, so that
    // going forward through a line costs its length once; not for several threads at once.
    [[nodiscard]] Place place(std::size_t offset) const;
    // The first thing wrong with the bytes: not UTF-8, control characters, a tab as indentation, more brackets and
    // commas than a file may have values (yaml-cpp keeps all of one bracket in memory).
    [[nodiscard]] std::optional<Problem> check() const;

private:
    [[nodiscard]] std::optional<Problem> check_character(std::size_t offset, char32_t character) const;
    [[nodiscard]] std::optional<Problem> check_indentation() const;
    [[nodiscard]] std::optional<Problem> check_values() const;

    struct Known {
        std::size_t offset = 0;
        Place place{1, 1};
    };

    std::string_view text_;
    std::vector<std::size_t> line_starts_;
    mutable Known last_;
};

} // namespace featherlb
