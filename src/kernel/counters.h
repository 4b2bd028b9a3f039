// SPDX-License-Identifier: Apache-2.0
// What the programs counted: sums over processors, read from mapped memory without a system call. Each processor
// writes its own cells; a sum may be a few packets behind but never goes back while an identifier is in use.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

#include "featherlb/abi.h"

namespace featherlb {

// Response times by powers of two, as in flb_response_histogram.
struct ResponseCounts {
    std::array<std::uint64_t, FLB_RESPONSE_BUCKETS> buckets{};
    std::uint64_t sum_us = 0;
    double smoothed_us = 0; // as picks see it at this moment; 0: nothing is known
};

struct BackendCounts {
    std::array<std::uint64_t, 2> packets{}; // [0] from clients, [1] from the backend
    std::array<std::uint64_t, 2> bytes{};
    std::uint64_t connections = 0;
    std::uint64_t refused = 0; // connections that the backend answered with RST
    std::uint32_t open = 0;    // connections at this moment
    ResponseCounts responses;
};

struct CounterWords {
    std::string_view name; // metric label
    std::string_view text; // for people
};
// Of a value of enum flb_drop_reason; {"none", ""} for 0, {"unknown", ...} past the end.
[[nodiscard]] CounterWords drop_reason(std::uint32_t reason);

using DropCounts = std::array<std::uint64_t, FLB_DROP_REASON_COUNT>; // by enum flb_drop_reason; [0] is unused

// Of a value of enum flb_event; {"unknown", ...} past the end.
[[nodiscard]] CounterWords event_words(std::uint32_t event);

using EventCounts = std::array<std::uint64_t, FLB_EVENT_COUNT>; // by enum flb_event

// `cells`: the map backend_counters, index processor * backends + backend.
[[nodiscard]] BackendCounts sum_backend(
    std::span<const flb_backend_counters> cells, std::uint32_t backends, std::uint32_t backend);
// `cells`: one for each processor.
[[nodiscard]] DropCounts sum_drops(std::span<const flb_drop_counters> cells);
[[nodiscard]] EventCounts sum_events(std::span<const flb_drop_counters> cells);

} // namespace featherlb
