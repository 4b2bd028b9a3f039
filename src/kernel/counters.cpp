// SPDX-License-Identifier: Apache-2.0
#include "kernel/counters.h"

namespace featherlb {

namespace {

// A program adds to the cell at the same moment; a plain load might be split or repeated.
std::uint64_t load(const __u64& cell)
{
    return __atomic_load_n(&cell, __ATOMIC_RELAXED);
}

} // namespace

DropReason drop_reason(std::uint32_t reason)
{
#define FLB_REASON_TEXT(name, text) {#name, text},
    static constexpr std::array<DropReason, FLB_DROP_REASON_COUNT> reasons = {
        {{"none", ""}, FLB_DROP_REASONS(FLB_REASON_TEXT)}};
#undef FLB_REASON_TEXT
    return reason < reasons.size() ? reasons[reason]
                                   : DropReason{"unknown", "a reason that this version does not know"};
}

DropReason event_words(std::uint32_t event)
{
#define FLB_EVENT_TEXT(name, text) {#name, text},
    static constexpr std::array<DropReason, FLB_EVENT_COUNT> events = {{FLB_EVENTS(FLB_EVENT_TEXT)}};
#undef FLB_EVENT_TEXT
    return event < events.size() ? events[event] : DropReason{"unknown", "an event that this version does not know"};
}

BackendCounts sum_backend(std::span<const flb_backend_counters> cells, std::uint32_t backends, std::uint32_t backend)
{
    BackendCounts sum;
    for (std::size_t i = backend; i < cells.size(); i += backends) {
        for (std::size_t direction = 0; direction < 2; direction++) {
            sum.packets[direction] += load(cells[i].packets[direction]);
            sum.bytes[direction] += load(cells[i].bytes[direction]);
        }
        sum.connections += load(cells[i].connections);
    }
    return sum;
}

EventCounts sum_events(std::span<const flb_event_counters> cells)
{
    EventCounts sum{};
    for (const auto& processor : cells)
        for (std::size_t event = 0; event < sum.size(); event++)
            sum[event] += load(processor.count[event]);
    return sum;
}

DropCounts sum_drops(std::span<const flb_drop_counters> cells)
{
    DropCounts sum{};
    for (const auto& processor : cells)
        for (std::size_t reason = 0; reason < sum.size(); reason++)
            sum[reason] += load(processor.packets[reason]);
    return sum;
}

std::uint64_t sum_evictions(std::span<const flb_drop_counters> cells)
{
    std::uint64_t sum = 0;
    for (const auto& processor : cells)
        sum += load(processor.evictions);
    return sum;
}

} // namespace featherlb
