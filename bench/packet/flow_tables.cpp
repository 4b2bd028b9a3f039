// SPDX-License-Identifier: Apache-2.0
#include "flow_tables.h"

#include <cerrno>
#include <cstring>

#include <sys/mman.h>

#include "die.h"
#include "kernel/flow_entry.h"

namespace featherlb::bench {
namespace {

template <typename Set>
std::span<Set> mapped(const DataPlane& plane, const char* map)
{
    const std::size_t count = plane.sizes().flows_max;
    void* memory = mmap(nullptr, sizeof(Set) * count, PROT_READ | PROT_WRITE, MAP_SHARED, plane.map_fd(map), 0);
    if (memory == MAP_FAILED)
        die(fmt::format("cannot map {}: {}", map, std::strerror(errno)));
    return {static_cast<Set*>(memory), count};
}

std::uint64_t proven(std::uint64_t control)
{
    const auto with = [control](flb_flow_state state) {
        return (control & ~FLB_CTL_STATE) | std::uint64_t(state) << FLB_CTL_STATE_SHIFT;
    };
    switch (flow_entry::state_of(control)) {
    case FLB_FLOW_SYN:
        return with(FLB_FLOW_ESTABLISHED);
    case FLB_FLOW_UDP_NEW:
        return with(FLB_FLOW_UDP_STREAM);
    case FLB_FLOW_REPLY_NEW:
        return with(FLB_FLOW_REPLY);
    default:
        return control;
    }
}

} // namespace

FlowTables::FlowTables(const DataPlane& plane)
    : sets4_(mapped<flb_set4>(plane, "flows4")), sets6_(mapped<flb_set6>(plane, "flows6"))
{
}

FlowTables::~FlowTables()
{
    munmap(sets4_.data(), sets4_.size_bytes());
    munmap(sets6_.data(), sets6_.size_bytes());
}

// Calls visit(control word) for every entry of both.
template <typename Visit>
void FlowTables::each(Visit visit) const
{
    for (flb_set4& set : sets4_)
        for (flb_flow4& way : set.way)
            visit(way.f.ctl);
    for (flb_set6& set : sets6_)
        for (flb_flow6& way : set.way)
            visit(way.f.ctl);
}

void FlowTables::establish()
{
    each([](__u64& control) {
        if (const std::uint64_t changed = proven(control); changed != control)
            control = changed;
    });
}

void FlowTables::clear(bool v6)
{
    if (v6)
        std::memset(static_cast<void*>(sets6_.data()), 0, sets6_.size_bytes());
    else
        std::memset(static_cast<void*>(sets4_.data()), 0, sets4_.size_bytes());
}

FlowTally FlowTables::tally() const
{
    FlowTally tally;
    each([&](__u64& control) {
        const std::uint32_t state = flow_entry::state_of(control);
        if (state == FLB_FLOW_EMPTY || flow_entry::is_reply(state))
            return;
        tally.owners++;
        tally.proven += state >= FLB_FLOW_ESTABLISHED;
    });
    return tally;
}

std::uint64_t FlowTables::bytes(bool v6) const
{
    return v6 ? sets6_.size_bytes() : sets4_.size_bytes();
}

} // namespace featherlb::bench
