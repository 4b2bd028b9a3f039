// SPDX-License-Identifier: Apache-2.0
// What `featherlb top` shows, as lines of text: no terminal is needed for it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "observe/rates.h"

namespace featherlb {

struct TopLine {
    enum class Style : std::uint8_t { plain, heading, strong, good, warning, bad, selected };
    std::string text; // at most as wide as the view; UTF-8 where that was asked for
    Style style = Style::plain;
};

enum class TopOrder : std::uint8_t { configured, connections, open, packets, bits };
[[nodiscard]] const char* to_string(TopOrder order);

// How it is looked at; draw_top() keeps `selected` and `first` within what there is.
struct TopView {
    std::size_t width = 80; // columns, 60 at least
    std::size_t height = 0; // lines; 0: as many as it takes
    bool unicode = true;    // sparklines of block characters, else of ASCII
    bool keys = true;       // a line that explains them
    bool paused = false;
    TopOrder order = TopOrder::configured;
    std::size_t selected = 0; // row, from 0
    std::size_t first = 0;    // the first row that is seen
    std::set<std::string>
        turned;         // services of which the backends are hidden though they would be shown, or the other way
    std::string clock;  // what time it is
    std::string notice; // what is wrong with the daemon

    std::size_t rows = 0;         // that there are; set by draw_top()
    std::string selected_service; // of the selected row; likewise
};

[[nodiscard]] std::vector<TopLine> draw_top(const Rates& rates, TopView& view);

// The last `width` values, each as high as it is beside the largest of them; the newest to the right.
[[nodiscard]] std::string sparkline(const std::deque<double>& values, std::size_t width, bool unicode);

} // namespace featherlb
