/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * load: the open connections of each backend, as rule 8 of flow.h counts them. One line is written for each connection
 * that begins or ends, never by a packet of one that goes on.
 */
#ifndef FEATHERLB_LOAD_H
#define FEATHERLB_LOAD_H

#include "bounds.h"
#include "flow_word.h"

/* Open connections and weight, as read by one load: see abi.h. A count that was corrected at a bad moment may lie below
 * zero; a weight that nobody has written is one. */
FLB_INLINE __u32 load_open(__u64 word)
{
    return (__s32)word < 0 ? 0 : (__u32)word;
}

FLB_INLINE __u32 load_weight(__u64 word)
{
    return word >> 32 ? (__u32)(word >> 32) : 100;
}

/* An owner of this backend has gone from one state to another. Of numbers alone, and the states are compared here, so
 * that those who call it have no branches for the verifier to follow. */
__attribute__((noinline)) int load_moved(__u32 backend, __u32 before, __u32 after)
{
    const int change = flow_is_load(after) - flow_is_load(before);
    struct flb_backend_load* load;
    __u64* chunk;
    __u64 word;

    if (!change)
        return 0;
    load = bpf_map_lookup_elem(&backend_loads, &backend);
    if (!load)
        return 0;
    /* Its result is not used: clang 19 makes the form without one of this, also where somebody asks for it. */
    __sync_fetch_and_add(&load->open, (__u32)change);
    if (change > 0)
        return 0;
    atomic_order_loads();
    word = atomic_load((__u64*)&load->open);
    chunk = bpf_map_lookup_elem(&backend_chunks, &backend);
    if (chunk && *chunk)
        bound_lower((__u32)*chunk - 1, load_open(word), load_weight(word));
    return 0;
}

FLB_INLINE __u64 load_word(__u32 backend)
{
    struct flb_backend_load* load = bpf_map_lookup_elem(&backend_loads, &backend);

    return load ? atomic_load((__u64*)&load->open) : 0;
}

#endif
