// SPDX-License-Identifier: Apache-2.0
// Small things about text for messages: "did you mean", and quoting what somebody else wrote so that it shows
// on a terminal as it is, cannot move the cursor, and does not fill the screen.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace featherlb {

// Insertions, removals, replacements and swaps of neighbours that lead from `a` to `b` (optimal string alignment).
[[nodiscard]] std::size_t edit_distance(std::string_view a, std::string_view b);

// The candidate that `word` was probably meant to be: equal but for case, '-' and '_', or at most a third of its
// letters away. Nothing if none is near; the first of equally near ones.
[[nodiscard]] std::optional<std::string_view> closest(
    std::string_view word, std::span<const std::string_view> candidates);

// In double quotes; control and invisible characters and bytes that are not UTF-8 are spelled out; cut after
// 60 characters.
[[nodiscard]] std::string quote(std::string_view text);

// What to do about a word that is none of these: "did you mean \"web\"?", else "there is web, dns".
[[nodiscard]] std::string meant(std::string_view word, const std::vector<std::string>& all);

// "a, b, c"
[[nodiscard]] std::string join(std::span<const std::string_view> words);

} // namespace featherlb
