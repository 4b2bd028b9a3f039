// SPDX-License-Identifier: Apache-2.0
// Sweeper: walks the mapped flow table a few sets at a time, counts what lives there and frees what expired, each
// entry by one 64-bit compare-and-swap of its control word, so that it may die anywhere. Replacement in the kernel
// does not need it: it keeps the table thin, the counts true and the source ports free.
//
// It frees owners, and superseded replies, whose age exceeds the timeout of their state, and other replies whose owner
// is gone (orphans). It never touches a BUSY entry, nor a set in which an insertion is under way (lock bit), nor an
// orphan younger than two ticks, whose owner may be about to be published.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "featherlb/abi.h"
#include "kernel/load_audit.h"
#include "kernel/slot_bounds.h"

namespace featherlb {

// What one whole pass over both families saw.
struct FlowCounts {
    std::uint64_t pass = 0;                                // passes finished; 0: none yet, the rest is empty
    std::chrono::steady_clock::time_point started{};       // of the pass
    std::array<std::uint64_t, FLB_FLOW_STATES> by_state{}; // entries; owners and replies have their own states
    std::vector<std::uint32_t> by_backend;                 // owners (connections), by backend id
    std::vector<std::uint32_t> references;                 // all live entries that name the backend, replies too
    std::vector<std::uint32_t> open;                       // owners in a state of FLB_FLOW_LOAD, likewise
    std::uint64_t connections = 0;                         // owners
    std::vector<LoadCorrection> corrections;               // what the pass put right
};

struct SweepTotals {
    std::uint64_t expired = 0;   // owners freed
    std::uint64_t orphans = 0;   // replies freed
    std::uint64_t lost = 0;      // compare-and-swaps that came too late: the entry lives on or is somebody else's
    std::uint64_t corrected = 0; // counts of open connections that were wrong
};

// The counts of open connections that are kept in step (rule 8 of bpf/flow.h) and compared after each pass.
struct SweptLoads {
    std::span<flb_backend_load> loads;                         // by backend id; empty: none
    std::function<std::uint64_t(std::uint32_t backend)> begun; // connections that ever began
    SlotBounds bounds{};
};

class Sweeper {
public:
    // Called for an owner that was freed and carried FLB_CTL_COUNTED (rule 7 of bpf/flow.h), with its backend and the
    // first eight bytes of its client's address in memory order (IPv4: the address).
    using Uncount = std::function<void(std::uint32_t backend, std::uint64_t client)>;

    Sweeper(std::span<flb_set4> sets4, std::span<flb_set6> sets6, std::uint32_t backends, Uncount uncount = {},
        SweptLoads loads = {});

    // Looks at the next `sets` sets. `now`: jiffies >> tick_shift, 32 bits. `timeouts`: settings.timeout.
    // True when a pass ended with this call: counts() is new.
    bool step(std::uint32_t sets, std::uint32_t now, std::span<const std::uint32_t, FLB_FLOW_STATES> timeouts);

    [[nodiscard]] const FlowCounts& counts() const { return finished_; }
    // Nothing was in the table, as far as it has been looked at since the last whole pass began, and no backend has an
    // open connection now.
    [[nodiscard]] bool idle() const;
    [[nodiscard]] const SweepTotals& totals() const { return totals_; }
    [[nodiscard]] std::size_t sets() const { return sets4_.size() + sets6_.size(); }

private:
    std::span<flb_set4> sets4_;
    std::span<flb_set6> sets6_;
    Uncount uncount_;
    SweptLoads loads_;
    LoadAudit audit_;
    std::size_t position_ = 0; // in sets4_, then in sets6_
    FlowCounts running_;
    FlowCounts finished_;
    SweepTotals totals_;

    void begin_pass();
    void finish_pass();
    void count(std::uint32_t state, std::uint32_t backend);
    template <typename Set>
    void sweep_set(std::span<Set> sets, std::size_t index, std::uint32_t now,
        std::span<const std::uint32_t, FLB_FLOW_STATES> timeouts);
};

} // namespace featherlb
