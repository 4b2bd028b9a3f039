/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * affinity: a client, or its network, stays with the backend that it had last. A pin is written when a connection is
 * proven, so nobody can fill the table with forged packets (but of `dsr` and `ipip`, where a second packet a moment
 * later proves a connection: THREAT_MODEL.md); where it is full, those that are there stay, and the new
 * one is counted and left out. A pin lives for affinity_ticks after its last use: a connection that is proven or
 * closes, or, to within 2^AFFINITY_GRAIN_SHIFT ticks, a packet of an open one. Where its backend takes no connections,
 * it is as if there were none, until the next proven connection rewrites it.
 *
 * User space removes what has expired. Both sides write a pin's value by one store.
 */
#ifndef FEATHERLB_AFFINITY_H
#define FEATHERLB_AFFINITY_H

#include "count.h"
#include "marks.h"

#define AFFINITY_GRAIN_SHIFT 4 /* an open connection refreshes its pin when 2^4 ticks begin */
#define AFFINITY_SHORT 64      /* or, if pins live for less than this, with every tick */

/* The first `bits` of eight bytes in memory order. */
FLB_INLINE __u64 affinity_mask(__u32 bits)
{
    return bits >= 64 ? ~0ULL : bits ? __builtin_bswap64(~0ULL << (64 - (bits & 63))) : 0;
}

FLB_INLINE __u64* affinity_pin(
    struct flb_pin_key* key, __u32 service, const struct flb_service* record, __u64 high, __u64 low)
{
    const __u32 prefix = record->affinity_prefix;

    high &= affinity_mask(prefix);
    low &= affinity_mask(prefix > 64 ? prefix - 64 : 0);
    key->service = service;
    address_from(&key->address, high, low);
    return bpf_map_lookup_elem(&pins, key);
}

FLB_INLINE int affinity_takes_connections(__u32 backend, __u32 service, const struct flb_service* record)
{
    struct flb_backend* b = bpf_map_lookup_elem(&backends, &backend);
    const __u32 wanted = FLB_BACKEND_VALID | FLB_BACKEND_UP;

    if (!b || !*(__u64*)&b->hop || ((record->forward == FLB_SNAT || record->forward == FLB_IPIP) && !b->snat_count))
        return 0; /* it cannot be reached */
    if (record->refused_ticks && mark_is_avoided(backend, marks_now()))
        return 0;
    return (b->flags & (wanted | FLB_BACKEND_DRAINING)) == wanted && b->service == service;
}

/* The backend that the client is pinned to and that takes connections; 0: none. */
__attribute__((noinline)) __u32 affinity_find(__u32 service, __u64 high, __u64 low)
{
    struct flb_service* record = bpf_map_lookup_elem(&services, &service);
    struct flb_pin_key key = {};
    __u64 *found, pin;

    if (!record)
        return 0;
    found = affinity_pin(&key, service, record, high, low);
    if (!found)
        return 0;
    pin = atomic_load(found);
    if ((__s32)(flow_now() - (__u32)pin) > (__s32)record->affinity_ticks)
        return 0;
    return affinity_takes_connections((__u32)(pin >> 32), service, record) ? (__u32)(pin >> 32) : 0;
}

enum affinity_use { AFFINITY_TOUCH = 0, AFFINITY_PROVEN = 1, AFFINITY_TICK = 2 };

FLB_INLINE int affinity_write(__u32 backend, __u64 high, __u64 low, int use)
{
    struct flb_backend* b = bpf_map_lookup_elem(&backends, &backend);
    struct flb_pin_key key = {};
    struct flb_service* record;
    __u64 *found, pin;
    __u32 service;

    if (!b)
        return 0;
    service = b->service;
    record = bpf_map_lookup_elem(&services, &service);
    if (!record || !record->affinity_ticks || (use == AFFINITY_TICK && record->affinity_ticks >= AFFINITY_SHORT))
        return 0;
    found = affinity_pin(&key, service, record, high, low);
    pin = (__u64)backend << 32 | flow_now();
    if (found) {
        if (use == AFFINITY_PROVEN || (__u32)(atomic_load(found) >> 32) == backend)
            atomic_store(found, pin);
    } else if (use == AFFINITY_PROVEN && bpf_map_update_elem(&pins, &key, &pin, BPF_ANY)) {
        count_event(FLB_EVENT_pin_refused);
    }
    return 0;
}

/* A connection to this backend is in use. AFFINITY_PROVEN: it has just been proven, so the client is pinned there;
 * else only a pin that leads there is refreshed. */
__attribute__((noinline)) int affinity_use(__u32 backend, __u64 high, __u64 low, int use)
{
    return affinity_write(backend, high, low, use);
}

/* The open connection of this owner is in use. Of numbers alone, so that the fast path keeps its stack; and it calls
 * nothing, for the sake of the slow path's. */
__attribute__((noinline)) int affinity_touch(__u32 v6, __u32 index, int use)
{
    struct flb_flow* owner = v6 ? flow_at(1, index) : flow_at(0, index);
    __u64 high, low;

    if (!owner)
        return 0;
    high = v6 ? flow_client_high(1, owner) : flow_client_high(0, owner);
    low = v6 ? flow_client_low(1, owner) : 0;
    return affinity_write(atomic_load(&owner->backend), high, low, use);
}

#endif
