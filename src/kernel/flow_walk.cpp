// SPDX-License-Identifier: Apache-2.0
#include "kernel/flow_walk.h"

#include <algorithm>
#include <utility>

#include <arpa/inet.h>
#include <netinet/in.h>

#include "kernel/flow_entry.h"

namespace featherlb {

using namespace flow_entry;

namespace {

bool lets_through(const FlowFilter& filter, const Flow& flow)
{
    if (filter.protocol && *filter.protocol != flow.protocol)
        return false;
    return !filter.client || filter.client->contains(flow.client.address);
}

// What can be told without reading more than the first half of the line.
bool may_be_meant(const FlowFilter& filter, std::uint32_t state, std::uint32_t backend)
{
    if (state <= FLB_FLOW_BUSY || state >= FLB_FLOW_STATES || is_reply(state) || !(filter.states >> state & 1))
        return false;
    return !filter.backends || (backend < filter.backends->size() && (*filter.backends)[backend]);
}

template <typename Entry>
Flow read(Entry& entry)
{
    return {.backend = load(entry.f.backend),
        .protocol = static_cast<Protocol>(entry.key.protocol),
        .client = {address_of(entry.key.saddr), ntohs(entry.key.sport)},
        .listener = {address_of(entry.key.daddr), ntohs(entry.key.dport)},
        .source = {address_of(entry.saddr), ntohs(entry.f.sport)},
        .destination = {address_of(entry.daddr), ntohs(entry.f.dport)},
        .one_way = load(entry.f.pair) == FLB_NO_PAIR,
        .hop = entry.f.hop};
}

// The connection of an entry, if the filter lets it through; one that changes into another meanwhile is left out.
template <typename Entry>
std::optional<Flow> look_at(Entry& entry, const FlowFilter& filter, const FlowClock& clock)
{
    const std::uint64_t before = load(entry.f.ctl);
    if (!may_be_meant(filter, state_of(before), load(entry.f.backend)))
        return std::nullopt;
    Flow flow = read(entry);
    std::atomic_thread_fence(std::memory_order_acquire);
    const std::uint64_t after = load(entry.f.ctl);
    if (generation_of(before) != generation_of(after) || !may_be_meant(filter, state_of(after), flow.backend) ||
        !lets_through(filter, flow))
        return std::nullopt;
    flow.state = state_of(after);
    const std::int32_t idle = idle_of(after, clock.now);
    if (idle > static_cast<std::int32_t>(clock.timeouts[flow.state]))
        return std::nullopt;
    flow.idle = static_cast<std::uint32_t>(std::max(idle, 0));
    return flow;
}

bool is_over(std::uint32_t state)
{
    return state <= FLB_FLOW_BUSY || is_reply(state) || (states_over >> state & 1) != 0;
}

// The entry of the other direction, which names the place and the generation of its owner. UDP: its key is free. TCP:
// it is made older, so that its next packet asks the owner. One that is another's by now is left alone: its control
// word is read before it is asked whose it is, and has to be of the same generation when it is swapped.
template <typename Set>
void end_reply(std::span<Set> sets, std::uint32_t pair, std::uint32_t place, std::uint32_t generation,
    flb_flow_state owner, std::uint32_t now)
{
    if (pair / FLB_WAYS >= sets.size())
        return;
    flb_flow& reply = sets[pair / FLB_WAYS].way[pair % FLB_WAYS].f;
    std::uint64_t seen = load(reply.ctl);
    if (load(reply.pair) != place || load(reply.aux) != generation)
        return;
    while (is_reply(state_of(seen))) {
        const std::uint64_t wanted = owner == FLB_FLOW_EMPTY
                                         ? with_state(seen, FLB_FLOW_EMPTY, 0)
                                         : (seen & ~0xffffffffULL) | static_cast<std::uint32_t>(now - 1);
        if (owner != FLB_FLOW_EMPTY && idle_of(seen, now) > 0)
            return;
        if (swap(reply.ctl, seen, wanted))
            return;
        const std::uint64_t next = load(reply.ctl);
        if (generation_of(next) != generation_of(seen))
            return;
        seen = next;
    }
}

} // namespace

FlowWalk::FlowWalk(std::span<flb_set4> sets4, std::span<flb_set6> sets6, Sweeper::Uncount uncount,
    std::span<flb_backend_load> loads, const SlotBounds& bounds)
    : sets4_(sets4), sets6_(sets6), uncount_(std::move(uncount)), loads_(loads), bounds_(bounds)
{
}

bool FlowWalk::list(std::size_t& position, std::uint32_t sets, std::size_t most, const FlowClock& clock,
    const FlowFilter& filter, std::vector<Flow>& found) const
{
    const auto look = [&](auto& set) {
        for (auto& entry : set.way)
            if (auto flow = look_at(entry, filter, clock))
                found.push_back(*flow);
    };
    const std::size_t all = sets4_.size() + sets6_.size();
    for (std::uint32_t i = 0; i < sets && position < all && found.size() < most; i++, position++) {
        if (position < sets4_.size())
            look(sets4_[position]);
        else
            look(sets6_[position - sets4_.size()]);
    }
    return position >= all;
}

bool FlowWalk::kill(
    std::size_t& position, std::uint32_t sets, const FlowClock& clock, const FlowFilter& filter, std::size_t& killed)
{
    FlowFilter alive = filter;
    alive.states &= ~states_over;
    const auto look = [&](auto all, std::size_t set) {
        for (std::size_t way = 0; way < FLB_WAYS; way++) {
            auto& entry = all[set].way[way];
            const std::uint32_t generation = generation_of(load(entry.f.ctl));
            if (look_at(entry, alive, clock) && end(all, set, way, generation, clock.now))
                killed++;
        }
    };
    const std::size_t all = sets4_.size() + sets6_.size();
    for (std::uint32_t i = 0; i < sets && position < all; i++, position++) {
        if (position < sets4_.size())
            look(sets4_, position);
        else
            look(sets6_, position - sets4_.size());
    }
    return position >= all;
}

// The entry that had `generation` when it was looked at. What its counts need is read before the swap (rules 7, 8).
template <typename Set>
bool FlowWalk::end(std::span<Set> sets, std::size_t set, std::size_t way, std::uint32_t generation, std::uint32_t now)
{
    auto& entry = sets[set].way[way];
    const flb_flow_state next = entry.key.protocol == IPPROTO_TCP ? FLB_FLOW_KILLED : FLB_FLOW_EMPTY;
    const std::uint64_t client = client_of(entry);
    const std::uint32_t backend = load(entry.f.backend);
    const std::uint32_t pair = load(entry.f.pair);
    std::uint64_t seen = load(entry.f.ctl);
    for (;;) {
        if (generation_of(seen) != generation || is_over(state_of(seen)))
            return false;
        if (swap(entry.f.ctl, seen, with_state(seen, next, next == FLB_FLOW_EMPTY ? 0 : now)))
            break;
        seen = load(entry.f.ctl); // a packet, a mark or a lock came between
    }
    close(loads_, bounds_, state_of(seen), backend);
    if ((seen & FLB_CTL_COUNTED) && uncount_)
        uncount_(backend, client);
    end_reply(sets, pair, static_cast<std::uint32_t>(set * FLB_WAYS + way), generation, next, now);
    return true;
}

} // namespace featherlb
