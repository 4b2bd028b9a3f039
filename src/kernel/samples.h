// SPDX-License-Identifier: Apache-2.0
// Samples: what the packet programs tell of single packets while they are asked to (featherlb/samples.h). What is not
// read in time is left out and counted; nothing here waits.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/result.h"
#include "featherlb/samples.h"

struct ring_buffer;

namespace featherlb {

struct MapSet;

using SampleCounts = std::array<std::uint64_t, FLB_MAX_REASONS>; // by reason; FLB_DROP_none: decisions

class Samples {
public:
    // The programs are asked for nothing, whatever an earlier daemon has left.
    [[nodiscard]] static Result<Samples> open(const MapSet& maps);
    ~Samples();
    Samples(Samples&&) noexcept;
    Samples& operator=(Samples&&) noexcept;

    // Bits as of flb_settings.sampled, until the tick `until`.
    void ask(std::uint64_t which, std::uint32_t until);
    // Appends what has come since the last call.
    void read(std::vector<flb_sample>& into);
    // Since the maps were made.
    [[nodiscard]] SampleCounts left_out() const;

private:
    Samples() = default;
    ring_buffer* ring_ = nullptr;
    // Where the ring's records go to: not moved with this, as libbpf keeps its address.
    std::unique_ptr<std::vector<flb_sample>*> into_;
    flb_settings* settings_ = nullptr;
    std::span<flb_sample_budget> budgets_;
};

} // namespace featherlb
