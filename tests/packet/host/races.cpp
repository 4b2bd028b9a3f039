// SPDX-License-Identifier: Apache-2.0
// The operations on shared words at which another processor may come between (bpf_helpers.h leads them here), and what
// it does there.
#include <cstdint>

#include "featherlb/abi.h"
#include "run.h"

namespace {

using featherlb::packet::host::Interruption;
using featherlb::packet::host::Run;

bool is_reply(std::uint64_t state)
{
    return state < FLB_FLOW_STATES && (FLB_FLOW_REPLIES >> state & 1) != 0;
}

void change(std::uint64_t& ctl, Interruption how)
{
    const std::uint64_t state = (ctl & FLB_CTL_STATE) >> FLB_CTL_STATE_SHIFT;
    if (how == Interruption::replace)
        ctl += std::uint64_t{1} << FLB_CTL_GENERATION_SHIFT;
    else if (how == Interruption::end && state > FLB_FLOW_BUSY)
        ctl = (ctl & ~FLB_CTL_STATE) | std::uint64_t{is_reply(state) ? FLB_FLOW_SUPERSEDED : FLB_FLOW_RESET}
                                           << FLB_CTL_STATE_SHIFT;
}

template <typename Set>
void change_all(void* set, Interruption how)
{
    for (auto& way : static_cast<Set*>(set)->way)
        change(*reinterpret_cast<std::uint64_t*>(&way), how);
}

// All of the set that was looked up last, so that the flow that is being read is among them.
void change_flows(const Run& run, Interruption how)
{
    if (run.flows && run.flows_are_v6)
        change_all<flb_set6>(run.flows, how);
    else if (run.flows)
        change_all<flb_set4>(run.flows, how);
}

bool is_within_flows(const Run& run, const void* word)
{
    const auto* begin = static_cast<const std::uint8_t*>(run.flows);
    const auto* at = static_cast<const std::uint8_t*>(word);
    return begin && at >= begin && at < begin + (run.flows_are_v6 ? sizeof(flb_set6) : sizeof(flb_set4));
}

} // namespace

extern "C" {

std::uint64_t host_compare_and_swap64(std::uint64_t* word, std::uint64_t expected, std::uint64_t wanted)
{
    Run& run = Run::current();
    switch (const Interruption how = run.meets("swap")) {
    case Interruption::touch:
    case Interruption::crowd:
        return ~expected;
    case Interruption::replace:
    case Interruption::end:
        if (is_within_flows(run, word))
            change(*word, how);
        break;
    case Interruption::none:
        break;
    }
    const std::uint64_t seen = *word;
    if (seen == expected)
        *word = wanted;
    return seen;
}

// Of what is no control word of a flow.
std::uint32_t host_compare_and_swap32(std::uint32_t* word, std::uint32_t expected, std::uint32_t wanted)
{
    Run& run = Run::current();
    const Interruption how = run.meets("swap");
    if (how == Interruption::touch || how == Interruption::crowd)
        return ~expected;
    if (how != Interruption::none)
        change_flows(run, how);
    const std::uint32_t seen = *word;
    if (seen == expected)
        *word = wanted;
    return seen;
}

std::uint64_t host_exchange_xor(std::uint64_t* word, std::uint64_t bits)
{
    Run& run = Run::current();
    const std::uint64_t seen = *word;
    *word ^= bits;
    if (bits == 0) // a barrier between two reads
        change_flows(run, run.meets("barrier"));
    return seen;
}

} // extern "C"
