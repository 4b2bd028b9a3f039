// SPDX-License-Identifier: Apache-2.0
// The daemon's side of bpf/limit.h: it gives back the open connections of flows that expired. Everything else is done
// by the programs.
#pragma once

#include <cstdint>
#include <span>

#include "featherlb/abi.h"

namespace featherlb {

// The map `limit_counts` as memory, and the seed of the flow table.
struct SourceCounts {
    std::span<flb_limit_set> sets;
    std::uint64_t seed[2] = {};

    // `client`: the first eight bytes of its address in memory order; IPv4: the address.
    // One open connection less; false where none is counted.
    bool give_back(std::uint32_t service, std::uint64_t client) const;
    [[nodiscard]] std::uint32_t open(std::uint32_t service, std::uint64_t client) const;
};

} // namespace featherlb
