// SPDX-License-Identifier: Apache-2.0
// Clock: the time by which flows age. The programs count in ticks of 2^tick_shift jiffies; user space has no
// jiffies of its own and asks a tiny program for them (about a microsecond). Below it, the pure arithmetic between
// seconds and ticks.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>

#include "base/result.h"
#include "featherlb/abi.h"
#include "plan/tables.h"

namespace featherlb {

class Clock {
public:
    [[nodiscard]] static Result<Clock> open();
    ~Clock();
    Clock(Clock&&) noexcept;
    Clock& operator=(Clock&&) noexcept;

    [[nodiscard]] Result<std::uint64_t> jiffies() const;
    // Jiffies in a second. Linux does not tell it as such; the coarse clock's resolution is one jiffy.
    [[nodiscard]] std::uint32_t hz() const { return hz_; }

private:
    struct Program;
    explicit Clock(std::unique_ptr<Program> program, std::uint32_t hz);
    std::unique_ptr<Program> program_;
    std::uint32_t hz_ = 0;
};

// The nearest of 100, 250, 300, 1000 where it is within 2 %, else `measured` itself.
[[nodiscard]] std::uint32_t usual_hz(std::uint32_t measured);
// The power of two of jiffies that is as near as possible to one second.
[[nodiscard]] std::uint32_t tick_shift_for(std::uint32_t hz);
// Rounded up, and at least one.
[[nodiscard]] std::uint32_t to_ticks(std::chrono::seconds time, std::uint32_t hz, std::uint32_t tick_shift);
// The longest time in whole seconds that to_ticks turns into `ticks`.
[[nodiscard]] std::chrono::seconds from_ticks(std::uint32_t ticks, std::uint32_t hz, std::uint32_t tick_shift);

// settings.timeout from the configured times, and back.
void fill_timeouts(flb_settings& settings, const Timeouts& timeouts);
[[nodiscard]] Timeouts timeouts_of(const flb_settings& settings);

// A step through `pairs` (address, port) pairs that visits each of them once, for all the sizes in use: a prime
// that divides none.
[[nodiscard]] std::uint32_t stride_for(std::span<const std::uint64_t> pairs);

} // namespace featherlb
