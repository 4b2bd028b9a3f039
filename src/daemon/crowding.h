// SPDX-License-Identifier: Apache-2.0
// Crowding: is the flow table large enough for the rate of new connections? Where a young entry of a connection that
// was not proven yet had to give way, it is not: its client may have been on its way back with the last ACK. The
// programs count such entries; this tells how many there were in the last minute, and warns in the log, at most once
// an hour. docs/operating.md has the sizing rule.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>

#include "base/log.h"
#include "base/loop.h"

namespace featherlb {

class Crowding {
public:
    explicit Crowding(Log& log) : log_(log) {}

    // To be called every few seconds with the programs' counter; the first call only says where it stands.
    void look(Loop::Clock::time_point now, std::uint64_t evictions);
    // Entries in the last minute, as of the last look.
    [[nodiscard]] std::uint64_t recent() const;

private:
    struct Look {
        Loop::Clock::time_point at;
        std::uint64_t evictions = 0;
    };
    Log& log_;
    std::deque<Look> looks_; // of the last minute, and the last one before it
    std::optional<Loop::Clock::time_point> warned_at_;
};

} // namespace featherlb
