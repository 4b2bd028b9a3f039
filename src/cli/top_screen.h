// SPDX-License-Identifier: Apache-2.0
// The terminal of `featherlb top`, by ncurses: lines with styles go in, keys come out.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <vector>

#include "observe/top_text.h"

namespace featherlb::cli {

enum class TopKey : std::uint8_t {
    none, // the time is over
    quit,
    up,
    down,
    page_up,
    page_down,
    home,
    end,
    turn,
    order,
    pause,
    resized,
    other
};

// One at a time. The terminal is as it was when it is gone.
class TopScreen {
public:
    // Null where the terminal cannot do it (TERM is unknown, or "dumb").
    [[nodiscard]] static std::unique_ptr<TopScreen> open();
    ~TopScreen();
    TopScreen(const TopScreen&) = delete;
    TopScreen& operator=(const TopScreen&) = delete;

    [[nodiscard]] std::size_t width() const;
    [[nodiscard]] std::size_t height() const;
    [[nodiscard]] bool unicode() const; // as the locale says
    void show(const std::vector<TopLine>& lines);
    // Waits so long for a key.
    [[nodiscard]] TopKey key(std::chrono::milliseconds wait);

private:
    TopScreen() = default;
};

} // namespace featherlb::cli
