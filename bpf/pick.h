/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * pick: service and packet -> backend, by the slot table that user space compiled. The hash is the same on every
 * balancer with the same seed; it has nothing to do with the flow table's.
 */
#ifndef FEATHERLB_PICK_H
#define FEATHERLB_PICK_H

#include "maps.h"
#include "packet.h"

/* Finaliser-style mixing of 64-bit words; constants are odd numbers without structure. */
FLB_INLINE __u64 pick_mix(__u64 h, __u64 word)
{
    h = (h ^ word) * 0xd6e8feb86659fd93ULL;
    return h ^ h >> 32;
}

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

/* A number below `length` from 32 even bits. */
FLB_INLINE __u32 pick_scale(__u32 bits, __u32 length)
{
    return (__u32)((__u64)bits * length >> 32);
}

/* The backend that takes this new connection; 0: none. */
FLB_INLINE __u32 pick(const int v6, const struct packet* p, __u32 service_index, struct flb_service* service)
{
    __u64 directory = atomic_load(&service->slots);
    __u32 length = (__u32)directory;
    __u32 slot;
    __u32 chunk_index;
    struct flb_slot_chunk* chunk;

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
    slot += (__u32)(directory >> 32);
    chunk_index = slot / FLB_SLOTS_PER_CHUNK;
    chunk = bpf_map_lookup_elem(&slots, &chunk_index);
    return chunk ? atomic_load(&chunk->backend[slot % FLB_SLOTS_PER_CHUNK]) : 0;
}

#endif
