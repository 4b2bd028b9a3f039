/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * pick: service and packet -> backend, by the slot table that user space compiled; pick_load.h has the picks that
 * compare backends. The hash is the same on every balancer with the same seed; it has nothing to do with the flow
 * table's.
 */
#ifndef FEATHERLB_PICK_H
#define FEATHERLB_PICK_H

#include "marks.h"
#include "packet.h"
#include "pick_load.h"

#define PICK_OTHER_TRIES 16 /* slots that are looked at for a backend in another one's place */

FLB_INLINE __u32 pick_hash(const int v6, const struct flow_key* key, __u64 seed, int with_ports)
{
    __u64 h = pick_mix(seed, 0x2545f4914f6cdd1dULL);

    if (v6) {
#pragma unroll
        for (int i = 1; i < 5; i++)
            h = pick_mix(h, key->w[i]);
        h = pick_mix(h, with_ports ? key->w[0] : 0);
    } else {
        h = pick_mix(h, key->w[0]);
        h = pick_mix(h, with_ports ? key->w[1] : 0);
    }
    h = pick_mix(h, 0);
    return (__u32)(h >> 32);
}

/* Another backend of the service than `but`, at random and not one that is avoided, or the lighter of two such; 0: none
 * was found. */
__attribute__((noinline)) __u32 pick_other(__u32 service_index, __u32 but)
{
    struct flb_service* service = bpf_map_lookup_elem(&services, &service_index);
    __u64 random = bpf_get_prandom_u32();
    __u64 now = marks_now();
    __u32 found = 0;
    __u64 directory;

    if (!service)
        return 0;
    directory = atomic_load(&service->slots);
    if (!(__u32)directory)
        return 0;
    FLOW_ROLLED
    for (int i = 0; i < PICK_OTHER_TRIES; i++) {
        __u32 backend;

        random = pick_mix(random, (__u32)i);
        backend = pick_slot(directory, pick_scale((__u32)(random >> 32), (__u32)directory));
        if (!backend || backend == but || backend == found || (service->refused_ticks && mark_is_avoided(backend, now)))
            continue;
        if (service->pick != FLB_PICK_TWO)
            return backend;
        if (found)
            return pick_lighter(found, backend);
        found = backend;
    }
    return found;
}

/* The backend of this packet by the slot table alone; 0: none. */
FLB_INLINE __u32 pick(const int v6, const struct packet* p, __u32 service_index, struct flb_service* service)
{
    __u64 directory = atomic_load(&service->slots);
    __u32 length = (__u32)directory;
    __u32 slot;

    if (!length)
        return 0;
    if (service->pick == FLB_PICK_TURN) {
        __u64* turn = bpf_map_lookup_elem(&service_turns, &service_index);

        if (!turn)
            return 0;
        slot = (__u32)(__sync_fetch_and_add(turn, 1) % length);
    } else if (service->pick == FLB_PICK_RANDOM) {
        slot = pick_scale(bpf_get_prandom_u32(), length);
    } else {
        slot = pick_scale(pick_hash(v6, &p->key, service->pick_seed, service->pick == FLB_PICK_HASH_5TUPLE), length);
    }
    return pick_slot(directory, slot);
}

/* Another one than `but` for a new connection; 0: none. */
FLB_INLINE __u32 pick_another(__u32 service_index, const struct flb_service* service, __u32 but)
{
    return pick_compares(service->pick) ? pick_least(service_index, but) : pick_other(service_index, but);
}

/* The backend that takes this new connection; 0: none. */
FLB_INLINE __u32 pick_any(const int v6, const struct packet* p, __u32 service_index, struct flb_service* service)
{
    return service->pick >= FLB_PICK_LEAST ? pick_least(service_index, PICK_ANY) : pick(v6, p, service_index, service);
}

/* The same, but for a backend that refused a connection a moment ago, if there is another one. */
FLB_INLINE __u32 pick_fresh(const int v6, const struct packet* p, __u32 service_index, struct flb_service* service)
{
    __u32 backend = pick_any(v6, p, service_index, service);
    __u32 other;

    if (!backend || !service->refused_ticks || !mark_is_avoided(backend, marks_now()))
        return backend;
    other = pick_another(service_index, service, backend);
    return other ? other : backend;
}

#endif
