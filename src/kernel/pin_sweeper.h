// SPDX-License-Identifier: Apache-2.0
// PinSweeper: walks the map `pins` a batch at a time, counts the pins and removes those that have expired or can never
// be followed again: their service is gone or has no affinity any more, or their backend is gone. The programs do not
// depend on it; without it the map fills with what is of no use.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "featherlb/abi.h"
#include "kernel/map.h"

namespace featherlb {

class PinSweeper {
public:
    // Looks at the next pins, a few thousand at most. `now`: ticks, as Sweeper::step.
    [[nodiscard]] Result<void> step(const Map& pins, std::span<const flb_service> services,
        std::span<const flb_backend> backends, std::uint32_t now);

    [[nodiscard]] std::uint64_t pins() const { return finished_; } // as the last whole pass left them

private:
    Map::Walk walk_ = {.batch = 1024, .cursor = {}};
    std::uint64_t running_ = 0;
    std::uint64_t finished_ = 0;
    std::vector<std::byte> keys_;
    std::vector<std::byte> values_;
};

// Whether nothing can come of a pin any more.
[[nodiscard]] bool is_pin_over(const flb_pin_key& key, std::uint64_t pin, std::span<const flb_service> services,
    std::span<const flb_backend> backends, std::uint32_t now);

} // namespace featherlb
