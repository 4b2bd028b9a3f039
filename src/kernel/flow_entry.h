// SPDX-License-Identifier: Apache-2.0
// Entries of the mapped flow table as user space reads and swaps them, by the rules of bpf/flow.h: the words of an
// entry are shared with the programs, so each is loaded once, and the control word before and after the others.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>

#include "base/ip.h"
#include "featherlb/abi.h"
#include "kernel/slot_bounds.h"

namespace featherlb::flow_entry {

inline std::uint64_t load(__u64& word)
{
    return std::atomic_ref(word).load(std::memory_order_acquire);
}

inline std::uint32_t load(__u32& word)
{
    return std::atomic_ref(word).load(std::memory_order_relaxed);
}

inline std::uint32_t state_of(std::uint64_t control)
{
    return static_cast<std::uint32_t>(control >> FLB_CTL_STATE_SHIFT) & 0x7f;
}

inline std::uint32_t generation_of(std::uint64_t control)
{
    return static_cast<std::uint32_t>(control >> FLB_CTL_GENERATION_SHIFT);
}

inline bool is_reply(std::uint32_t state)
{
    return state < FLB_FLOW_STATES && (FLB_FLOW_REPLIES >> state & 1) != 0;
}

inline bool is_load(std::uint32_t state)
{
    return state < FLB_FLOW_STATES && (FLB_FLOW_LOAD >> state & 1) != 0;
}

// Ticks since the entry was last seen; another processor may be a tick ahead of us, which is negative.
inline std::int32_t idle_of(std::uint64_t control, std::uint32_t now)
{
    return static_cast<std::int32_t>(now - static_cast<std::uint32_t>(control));
}

// Another state and age; no longer counted as an open connection.
inline std::uint64_t with_state(std::uint64_t control, flb_flow_state state, std::uint32_t age)
{
    return (control & ~(FLB_CTL_STATE | FLB_CTL_COUNTED | 0xffffffffULL)) |
           std::uint64_t(state) << FLB_CTL_STATE_SHIFT | age;
}

inline bool swap(__u64& control, std::uint64_t seen, std::uint64_t wanted)
{
    __u64 expected = seen;
    return std::atomic_ref(control).compare_exchange_strong(expected, wanted, std::memory_order_acq_rel);
}

// The client of an owner's entry, as its source's count of open connections knows it.
inline std::uint64_t client_of(flb_flow4& entry)
{
    return load(entry.key.saddr);
}

inline std::uint64_t client_of(flb_flow6& entry)
{
    return load(*reinterpret_cast<__u64*>(entry.key.saddr.bytes));
}

inline IpAddress address_of(__be32 address)
{
    flb_addr bytes{};
    __builtin_memcpy(bytes.bytes, &address, sizeof(address));
    return IpAddress::from_abi(bytes, Family::ipv4);
}

inline IpAddress address_of(const flb_addr& address)
{
    return IpAddress::from_abi(address, Family::ipv6);
}

// One open connection of the backend less (rule 8), where `state` was one.
inline void close(
    std::span<flb_backend_load> loads, const SlotBounds& bounds, std::uint32_t state, std::uint32_t backend)
{
    if (!is_load(state) || backend >= loads.size())
        return;
    std::atomic_ref(loads[backend].open).fetch_sub(1);
    bounds.lowered(backend);
}

} // namespace featherlb::flow_entry
