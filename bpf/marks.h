/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * marks: backends that refuse connections. One that answers a SYN with RST is avoided for new connections for a short
 * time (flb_service.refused_ticks) and counted. Written only then, read only when a new connection is picked for.
 */
#ifndef FEATHERLB_MARKS_H
#define FEATHERLB_MARKS_H

#include "kernel.h"

/* Ticks since boot, in 64 bits: a mark may be read long after it was made. */
FLB_INLINE __u64 marks_now(void)
{
    return bpf_jiffies64() >> flb_load.tick_shift;
}

__attribute__((noinline)) int mark_refused(__u32 backend_index)
{
    struct flb_backend_mark* mark = bpf_map_lookup_elem(&backend_marks, &backend_index);
    struct flb_backend* backend = bpf_map_lookup_elem(&backends, &backend_index);
    struct flb_service* service;
    __u32 service_index;

    if (!mark || !backend)
        return 0;
    __sync_fetch_and_add(&mark->refused, 1);
    service_index = backend->service;
    service = bpf_map_lookup_elem(&services, &service_index);
    if (service && service->refused_ticks)
        atomic_store(&mark->avoid_until, marks_now() + service->refused_ticks);
    return 0;
}

FLB_INLINE int mark_is_avoided(__u32 backend_index, __u64 now)
{
    struct flb_backend_mark* mark = bpf_map_lookup_elem(&backend_marks, &backend_index);

    return mark && atomic_load(&mark->avoid_until) > now;
}

#endif
