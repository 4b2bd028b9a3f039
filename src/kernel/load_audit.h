// SPDX-License-Identifier: Apache-2.0
// LoadAudit: compares the counts of open connections (`backend_loads`) with what a walk over the flow table found. They
// cannot drift while everybody keeps to rule 8 of bpf/flow.h; a daemon that dies between freeing an owner and counting
// it may leave one behind.
//
// A walk takes a while, and connections come and go meanwhile: a difference alone says nothing. One that is the same
// after two walks, while no connection of that backend began (`begun` stands still) and the count did not change, is an
// error: what ends counts down and what begins is counted in `begun`, so nothing happened in the second walk.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <vector>

#include "featherlb/abi.h"

namespace featherlb {

struct LoadCorrection {
    std::uint32_t backend = 0;
    std::uint32_t counted = 0; // before
    std::uint32_t found = 0;   // in the flow table, and the count from now on
    friend bool operator==(const LoadCorrection&, const LoadCorrection&) = default;
};

class LoadAudit {
public:
    // After a whole walk that found `open` connections by backend. `begun`: connections of a backend that ever began.
    // Returns what was put right, by a compare-and-swap each. Does nothing where `loads` is empty.
    std::vector<LoadCorrection> compare(std::span<flb_backend_load> loads, std::span<const std::uint32_t> open,
        const std::function<std::uint64_t(std::uint32_t backend)>& begun);

private:
    struct Suspect {
        std::uint32_t counted = 0;
        std::uint32_t found = 0;
        std::uint64_t begun = 0;
        friend bool operator==(const Suspect&, const Suspect&) = default;
    };
    std::map<std::uint32_t, Suspect> suspects_; // by backend, after the last walk
};

} // namespace featherlb
