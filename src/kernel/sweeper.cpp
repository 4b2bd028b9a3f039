// SPDX-License-Identifier: Apache-2.0
#include "kernel/sweeper.h"

#include <algorithm>
#include <utility>

#include "kernel/flow_entry.h"

namespace featherlb {

using namespace flow_entry;

namespace {

constexpr std::int32_t orphan_grace = 2; // ticks

bool free_entry(__u64& control, std::uint64_t seen)
{
    return swap(control, seen, with_state(seen, FLB_FLOW_EMPTY, 0));
}

// A reply whose owner is another connection's entry by now, or nobody's. An owner that is BUSY under the right
// generation is about to be published.
template <typename Set>
bool is_orphan(std::span<Set> sets, std::uint32_t pair, std::uint32_t generation)
{
    if (pair / FLB_WAYS >= sets.size())
        return true;
    const std::uint64_t owner = load(sets[pair / FLB_WAYS].way[pair % FLB_WAYS].f.ctl);
    const std::uint32_t state = state_of(owner);
    return state == FLB_FLOW_EMPTY || is_reply(state) || generation_of(owner) != generation;
}

} // namespace

Sweeper::Sweeper(
    std::span<flb_set4> sets4, std::span<flb_set6> sets6, std::uint32_t backends, Uncount uncount, SweptLoads loads)
    : sets4_(sets4), sets6_(sets6), uncount_(std::move(uncount)), loads_(std::move(loads))
{
    finished_.by_backend.resize(backends);
    finished_.open.resize(backends);
    finished_.references.resize(backends);
    running_ = finished_;
}

void Sweeper::begin_pass()
{
    running_.pass = finished_.pass;
    running_.started = std::chrono::steady_clock::now();
    running_.by_state.fill(0);
    running_.connections = 0;
    std::ranges::fill(running_.by_backend, 0);
    std::ranges::fill(running_.open, 0);
    std::ranges::fill(running_.references, 0);
}

void Sweeper::finish_pass()
{
    running_.pass++;
    running_.corrections = audit_.compare(loads_.loads, running_.open, loads_.begun);
    totals_.corrected += running_.corrections.size();
    for (const LoadCorrection& correction : running_.corrections)
        loads_.bounds.lowered(correction.backend);
    std::swap(running_, finished_);
    position_ = 0;
}

void Sweeper::count(std::uint32_t state, std::uint32_t backend)
{
    running_.by_state[state % FLB_FLOW_STATES]++;
    if (!is_reply(state))
        running_.connections++;
    if (backend >= running_.references.size())
        return;
    running_.references[backend]++;
    if (!is_reply(state))
        running_.by_backend[backend]++;
    if (is_load(state))
        running_.open[backend]++;
}

template <typename Set>
void Sweeper::sweep_set(
    std::span<Set> sets, std::size_t index, std::uint32_t now, std::span<const std::uint32_t, FLB_FLOW_STATES> timeouts)
{
    Set& set = sets[index];
    const bool locked = load(set.way[0].f.ctl) & FLB_CTL_LOCK;
    for (auto& entry : set.way) {
        flb_flow& flow = entry.f;
        const std::uint64_t control = load(flow.ctl);
        const std::uint32_t state = state_of(control);
        if (state == FLB_FLOW_EMPTY)
            continue;
        const std::uint32_t backend = load(flow.backend);
        if (state == FLB_FLOW_BUSY || locked || (control & FLB_CTL_LOCK)) {
            count(state, backend);
            continue;
        }
        const std::uint64_t client = control & FLB_CTL_COUNTED ? client_of(entry) : 0; // before it is another's
        const bool reply = is_reply(state);
        const bool over =
            reply && state != FLB_FLOW_SUPERSEDED
                ? idle_of(control, now) >= orphan_grace && is_orphan(sets, load(flow.pair), load(flow.aux))
                : idle_of(control, now) > static_cast<std::int32_t>(timeouts[state % FLB_FLOW_STATES]);
        if (!over) {
            count(state, backend);
        } else if (free_entry(flow.ctl, control)) {
            (reply ? totals_.orphans : totals_.expired)++;
            close(loads_.loads, loads_.bounds, state, backend);
            if ((control & FLB_CTL_COUNTED) && uncount_)
                uncount_(backend, client);
        } else {
            totals_.lost++;
            count(state, backend);
        }
    }
}

bool Sweeper::idle() const
{
    const auto empty = [](const FlowCounts& counts) {
        return std::ranges::all_of(counts.by_state, [](std::uint64_t entries) { return entries == 0; });
    };
    return finished_.pass > 0 && empty(finished_) && (position_ == 0 || empty(running_)) &&
           std::ranges::all_of(loads_.loads, [](flb_backend_load& of) { return load(of.open) == 0; });
}

bool Sweeper::step(std::uint32_t sets, std::uint32_t now, std::span<const std::uint32_t, FLB_FLOW_STATES> timeouts)
{
    if (position_ == 0)
        begin_pass();
    for (std::uint32_t i = 0; i < sets && position_ < this->sets(); i++, position_++) {
        if (position_ < sets4_.size())
            sweep_set(sets4_, position_, now, timeouts);
        else
            sweep_set(sets6_, position_ - sets4_.size(), now, timeouts);
    }
    if (position_ < this->sets())
        return false;
    finish_pass();
    return true;
}

} // namespace featherlb
