/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * bounds: what keeps a pick of the least loaded backend (FLB_PICK_LEAST) from looking at all of them. For each chunk of
 * slots a word says: none of these backends has less to do for its weight than this. A pick looks at the backends of
 * those chunks only whose bound lets them have a better one than it has found.
 *
 * Rules. 1. A bound that is too low costs time; one that is too high, for longer than a pick takes, is wrong. All bits
 * of a bound 0 is always right.
 * 2. Only a pick raises a bound, to the least that it found in the whole chunk: by a compare-and-swap against the word
 * that it read before it looked at the first backend.
 * 3. Who has lowered what a backend has to do for its weight counts the version of its chunk up, then lowers the bound,
 * or sets it to 0. So a pick that looked before sees its compare-and-swap fail, and one that begins after it sees what
 * was lowered.
 * 4. Services of one chunk have no bounds. For others the daemon says in `backend_chunks` where a backend's slot is,
 * before it publishes the slots. Who has lowered something asks that after it: where it still finds the old place, the
 * picks by the new slots see it.
 */
#ifndef FEATHERLB_BOUNDS_H
#define FEATHERLB_BOUNDS_H

#include "kernel.h"

/* Connections and weight as in `backend_loads`: their quotient is the bound. */
FLB_INLINE __u64 bound_open(__u64 word)
{
    return word & FLB_BOUND_OPEN;
}

FLB_INLINE __u64 bound_weight(__u64 word)
{
    return (word >> FLB_BOUND_WEIGHT_SHIFT & FLB_BOUND_WEIGHT) + 1;
}

/* Without a version. More connections than there are bits for are taken for fewer, more weight for no bound. */
FLB_INLINE __u64 bound_of(__u64 open, __u64 weight)
{
    if (weight - 1 > FLB_BOUND_WEIGHT)
        return 0;
    return (open < FLB_BOUND_OPEN ? open : FLB_BOUND_OPEN) | (weight - 1) << FLB_BOUND_WEIGHT_SHIFT;
}

/* The word of a chunk; null: there is none. */
FLB_INLINE __u64* bound_at(__u32 chunk)
{
    const __u32 index = chunk / FLB_CHUNKS_BOUNDED;
    struct flb_slot_bounds* bounds = bpf_map_lookup_elem(&slot_bounds, &index);

    return bounds ? &bounds->chunk[chunk % FLB_CHUNKS_BOUNDED] : 0;
}

/* Rule 3, for a backend of this chunk that has so much to do now. */
FLB_INLINE void bound_lower(__u32 chunk, __u64 open, __u64 weight)
{
    __u64* word = bound_at(chunk);
    __u64 seen;

    if (!word)
        return;
    seen = __sync_fetch_and_add(word, FLB_BOUND_VERSION) + FLB_BOUND_VERSION;
    if (bound_open(seen) * weight <= open * bound_weight(seen))
        return;
    if (!atomic_swap_if(word, seen, (seen & FLB_BOUND_VERSIONS) | bound_of(open, weight)))
        atomic_and(word, FLB_BOUND_VERSIONS);
}

#endif
