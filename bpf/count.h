/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * count: every processor writes only its own lines, so plain additions are enough.
 */
#ifndef FEATHERLB_COUNT_H
#define FEATHERLB_COUNT_H

#include "maps.h"
#include "packet.h"

enum direction { FROM_CLIENT = 0, FROM_BACKEND = 1 };

FLB_INLINE struct flb_backend_counters* backend_counters_of(__u32 backend)
{
    __u32 index = bpf_get_smp_processor_id() * flb_load.max_backends + backend;

    return bpf_map_lookup_elem(&backend_counters, &index);
}

FLB_INLINE void count_in(struct flb_backend_counters* counters, __u32 direction, __u32 bytes)
{
    counters->packets[direction & 1]++;
    counters->bytes[direction & 1] += bytes;
}

FLB_INLINE void count_packet(__u32 backend, __u32 direction, __u32 bytes)
{
    struct flb_backend_counters* counters = backend_counters_of(backend);

    if (counters)
        count_in(counters, direction, bytes);
}

FLB_INLINE void count_connection(__u32 backend)
{
    struct flb_backend_counters* counters = backend_counters_of(backend);

    if (counters)
        counters->connections++;
}

FLB_INLINE void count_event(__u32 event)
{
    __u32 processor = bpf_get_smp_processor_id();
    struct flb_drop_counters* counters = bpf_map_lookup_elem(&drop_counters, &processor);

    if (counters)
        counters->events[event & (FLB_MAX_EVENTS - 1)]++;
}

FLB_INLINE void count_drop(__u32 reason)
{
    __u32 processor = bpf_get_smp_processor_id();
    struct flb_drop_counters* counters = bpf_map_lookup_elem(&drop_counters, &processor);

    if (counters)
        counters->packets[reason & (FLB_MAX_REASONS - 1)]++;
}

#endif
