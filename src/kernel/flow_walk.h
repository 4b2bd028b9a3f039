// SPDX-License-Identifier: Apache-2.0
// FlowWalk: walks the mapped flow table a few sets at a time, gives the connections that a filter lets through, and
// ends them: by compare-and-swaps of control words (rule 6 of bpf/flow.h), so it may die anywhere.
//
// A TCP connection that is ended becomes KILLED: the programs answer what either side sends with RST, and nothing of it
// is forwarded but an RST. The entries of any other go at once: what comes next begins anew. What is over already
// (closed, reset, killed) is left as it is: a source port of snat must rest.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "base/ip.h"
#include "base/network_prefix.h"
#include "featherlb/abi.h"
#include "kernel/sweeper.h"
#include "plan/tables.h"

namespace featherlb {

// A connection, as its owner's entry has it.
struct Flow {
    BackendId backend = 0;
    Protocol protocol = Protocol::tcp;
    Endpoint client;
    Endpoint listener;
    Endpoint source;      // as which the backend sees the client
    Endpoint destination; // at the backend; one way: the listener's
    std::uint32_t state = FLB_FLOW_EMPTY;
    std::uint32_t idle = 0; // ticks since the last packet, about
    bool one_way = false;
    flb_hop hop{}; // where the client's frames come from
};

using FlowStates = std::uint32_t; // bits, by enum flb_flow_state
inline constexpr FlowStates all_states = ~0u;
inline constexpr FlowStates states_over = 1u << FLB_FLOW_CLOSED_CLIENT | 1u << FLB_FLOW_CLOSED_BACKEND |
                                          1u << FLB_FLOW_CLOSED_ONE_WAY | 1u << FLB_FLOW_RESET | 1u << FLB_FLOW_KILLED;

// TCP, proven and not over: somebody may sit in a read.
inline constexpr FlowStates states_waiting = 1u << FLB_FLOW_ESTABLISHED | 1u << FLB_FLOW_FIN_CLIENT |
                                             1u << FLB_FLOW_FIN_BACKEND | 1u << FLB_FLOW_AWAITING |
                                             1u << FLB_FLOW_MEASURING;

struct FlowFilter {
    std::optional<std::vector<bool>> backends; // by id
    std::optional<NetworkPrefix> client;
    std::optional<Protocol> protocol;
    FlowStates states = all_states;
};

// As for Sweeper::step. What has expired is not there any more, though nobody may have freed it yet.
struct FlowClock {
    std::uint32_t now = 0;
    std::span<const std::uint32_t, FLB_FLOW_STATES> timeouts;
};

class FlowWalk {
public:
    // As the Sweeper's.
    FlowWalk(std::span<flb_set4> sets4, std::span<flb_set6> sets6, Sweeper::Uncount uncount,
        std::span<flb_backend_load> loads, const SlotBounds& bounds = {});

    // Appends to `found` from the next `sets` sets, from `position` on, which it moves; stops early, between two sets,
    // when it has `most` or more. True when that was the end of the table.
    bool list(std::size_t& position, std::uint32_t sets, std::size_t most, const FlowClock& clock,
        const FlowFilter& filter, std::vector<Flow>& found) const;
    // The same, and ends what it finds.
    bool kill(std::size_t& position, std::uint32_t sets, const FlowClock& clock, const FlowFilter& filter,
        std::size_t& killed);

private:
    std::span<flb_set4> sets4_;
    std::span<flb_set6> sets6_;
    Sweeper::Uncount uncount_;
    std::span<flb_backend_load> loads_;
    SlotBounds bounds_;

    template <typename Set>
    bool end(std::span<Set> sets, std::size_t set, std::size_t way, std::uint32_t generation, std::uint32_t now);
};

} // namespace featherlb
