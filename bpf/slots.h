/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * slots: the slot table of a service, and random numbers that fall into it.
 */
#ifndef FEATHERLB_SLOTS_H
#define FEATHERLB_SLOTS_H

#include "kernel.h"

/* Finaliser-style mixing of 64-bit words; constants are odd numbers without structure. */
FLB_INLINE __u64 pick_mix(__u64 h, __u64 word)
{
    h = (h ^ word) * 0xd6e8feb86659fd93ULL;
    return h ^ h >> 32;
}

/* A number below `length` from 32 even bits. */
FLB_INLINE __u32 pick_scale(__u32 bits, __u32 length)
{
    return (__u32)((__u64)bits * length >> 32);
}

FLB_INLINE __u32 pick_slot(__u64 directory, __u32 slot)
{
    __u32 number = (__u32)(directory >> 32) + slot;
    __u32 chunk_index = number / FLB_SLOTS_PER_CHUNK;
    struct flb_slot_chunk* chunk = bpf_map_lookup_elem(&slots, &chunk_index);

    return chunk ? atomic_load(&chunk->backend[number % FLB_SLOTS_PER_CHUNK]) : 0;
}

#endif
