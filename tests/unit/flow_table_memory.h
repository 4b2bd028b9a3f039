// SPDX-License-Identifier: Apache-2.0
// bpf/flow.h on the host: the flow table in plain memory, with sizes that a test chooses. Include it once.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <vector>

#include "featherlb/abi.h"

struct FlowTableMemory {
    flb_load load{};
    flb_settings settings{};
    flb_set4* sets4 = nullptr;
    flb_set6* sets6 = nullptr;
};
inline FlowTableMemory flow_memory;

static inline const flb_load* flow_load()
{
    return &flow_memory.load;
}

static inline const flb_settings* flow_settings()
{
    return &flow_memory.settings;
}

static inline flb_flow* flow_first_way(const int v6, __u32 set)
{
    if (v6)
        return set < flow_memory.load.flow6_sets ? &flow_memory.sets6[set].way[0].f : nullptr;
    return set < flow_memory.load.flow4_sets ? &flow_memory.sets4[set].way[0].f : nullptr;
}

// Connections that were counted down, as {backend, client}.
struct Uncounted {
    __u32 backend;
    __u64 client;
};
inline std::vector<Uncounted> flow_uncounted;
inline std::mutex flow_uncounted_lock;
static inline void flow_uncount(__u32 backend, __u64 client)
{
    const std::lock_guard guard(flow_uncounted_lock);
    flow_uncounted.push_back({backend, client});
}

// Open connections of each backend (rule 8).
constexpr __u32 flow_most_backends = 16;
inline flb_backend_load flow_loads[flow_most_backends];
static inline void flow_moved(__u32 backend, __u32 before, __u32 after);

#include "flow_reserve.h"

static inline void flow_moved(__u32 backend, __u32 before, __u32 after)
{
    const int change = flow_is_load(after) - flow_is_load(before);
    if (change != 0)
        __sync_fetch_and_add(&flow_loads[backend % flow_most_backends].open, static_cast<__u32>(change));
}

// Makes an empty table of `sets` sets for each family, with timeouts of 10 ticks for closed, 30 for unproven and
// 1,000 for proven flows.
class FlowTable {
public:
    explicit FlowTable(__u32 sets)
        : sets4_(allocate<flb_set4>(sets), std::free), sets6_(allocate<flb_set6>(sets), std::free)
    {
        flow_memory = {};
        flow_uncounted.clear();
        for (flb_backend_load& load : flow_loads)
            load = {};
        flow_memory.load.flow4_sets = sets;
        flow_memory.load.flow6_sets = sets;
        flow_memory.load.flow_seed[0] = 0x1234567890abcdefULL;
        flow_memory.load.flow_seed[1] = 0xfedcba0987654321ULL;
        for (int state = 0; state < FLB_FLOW_STATES; state++)
            flow_memory.settings.timeout[state] = state < FLB_FLOW_ESTABLISHED ? 30 : 1000;
        flow_memory.settings.timeout[FLB_FLOW_CLOSED_CLIENT] = 10;
        flow_memory.settings.timeout[FLB_FLOW_CLOSED_BACKEND] = 10;
        flow_memory.settings.timeout[FLB_FLOW_RESET] = 2;
        flow_memory.sets4 = sets4_.get();
        flow_memory.sets6 = sets6_.get();
    }

private:
    template <typename Set>
    static Set* allocate(__u32 sets)
    {
        void* memory = std::aligned_alloc(128, sizeof(Set) * sets);
        return static_cast<Set*>(std::memset(memory, 0, sizeof(Set) * sets));
    }
    std::unique_ptr<flb_set4, decltype(&std::free)> sets4_;
    std::unique_ptr<flb_set6, decltype(&std::free)> sets6_;
};
