// SPDX-License-Identifier: Apache-2.0
#include "kernel/counters.h"

namespace featherlb {

namespace {

// A program adds to the cell at the same moment; a plain load might be split or repeated.
std::uint64_t load(const __u64& cell)
{
    return __atomic_load_n(&cell, __ATOMIC_RELAXED);
}

// Of one array of the cells, entry by entry.
template <typename Sums, std::size_t size>
Sums sum_over(std::span<const flb_drop_counters> cells, __u64 (flb_drop_counters::*counts)[size])
{
    Sums sums{};
    for (const auto& processor : cells)
        for (std::size_t i = 0; i < sums.size(); i++)
            sums[i] += load((processor.*counts)[i]);
    return sums;
}

} // namespace

CounterWords drop_reason(std::uint32_t reason)
{
#define FLB_REASON_TEXT(name, text) {#name, text},
    static constexpr std::array<CounterWords, FLB_DROP_REASON_COUNT> reasons = {
        {{"none", ""}, FLB_DROP_REASONS(FLB_REASON_TEXT)}};
#undef FLB_REASON_TEXT
    return reason < reasons.size() ? reasons[reason]
                                   : CounterWords{"unknown", "a reason that this version does not know"};
}

CounterWords event_words(std::uint32_t event)
{
#define FLB_EVENT_TEXT(name, text) {#name, text},
    static constexpr std::array<CounterWords, FLB_EVENT_COUNT> events = {{FLB_EVENTS(FLB_EVENT_TEXT)}};
#undef FLB_EVENT_TEXT
    return event < events.size() ? events[event] : CounterWords{"unknown", "an event that this version does not know"};
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

DropCounts sum_drops(std::span<const flb_drop_counters> cells)
{
    return sum_over<DropCounts>(cells, &flb_drop_counters::packets);
}

EventCounts sum_events(std::span<const flb_drop_counters> cells)
{
    return sum_over<EventCounts>(cells, &flb_drop_counters::events);
}

} // namespace featherlb
