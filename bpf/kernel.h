/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What flow.h, limit.h and parse.h ask of their surroundings, given by maps and helpers. Tests on the host give the
 * same from plain memory.
 */
#ifndef FEATHERLB_KERNEL_H
#define FEATHERLB_KERNEL_H

#include "atomic.h"
#include "maps.h"

FLB_INLINE const volatile struct flb_load* flow_load(void)
{
    return &flb_load;
}

FLB_INLINE const struct flb_settings* flow_settings(void)
{
    __u32 zero = 0;

    return bpf_map_lookup_elem(&settings, &zero);
}

FLB_INLINE struct flb_flow* flow_first_way(const int v6, __u32 set)
{
    if (v6)
        return bpf_map_lookup_elem(&flows6, &set);
    return bpf_map_lookup_elem(&flows4, &set);
}

FLB_INLINE struct flb_limit_set* limit_set_at(__u32 index)
{
    return bpf_map_lookup_elem(&limit_counts, &index);
}

FLB_INLINE struct flb_rate_set* limit_rate_at(__u32 index)
{
    return bpf_map_lookup_elem(&limit_rates, &index);
}

/* Of admit.h; what flow.h calls is declared before. */
int admit_uncount(__u32 backend, __u64 client);

FLB_INLINE void flow_uncount(__u32 backend, __u64 client)
{
    admit_uncount(backend, client);
}

/* Of load.h, likewise. */
int load_moved(__u32 backend, __u32 before, __u32 after);

FLB_INLINE void flow_moved(__u32 backend, __u32 before, __u32 after)
{
    load_moved(backend, before, after);
}

/* Ticks since boot; see flb_settings.tick_shift. */
FLB_INLINE __u32 flow_now(void)
{
    return (__u32)(bpf_jiffies64() >> flb_load.tick_shift);
}

/* An address from its two halves in memory order; of IPv4 the first four bytes of `high`. */
FLB_INLINE void address_from(struct flb_addr* address, __u64 high, __u64 low)
{
    __u32* words = (__u32*)address; /* a key's may lie at any multiple of four */

    words[0] = (__u32)high;
    words[1] = (__u32)(high >> 32);
    words[2] = (__u32)low;
    words[3] = (__u32)(low >> 32);
}

/* The prefilter, addressed without a look-up: libbpf makes a map of one value of the section, and who loads the program
 * puts map `prefilter` in its place. */
#ifndef FEATHERLB_HOST
struct flb_prefilter prefilter_value SEC(FLB_DIRECT_SECTION "prefilter");
#endif

FLB_INLINE __u8 prefilter_kinds(__u32 folded)
{
    const __u32 index = flb_prefilter_index(folded) & (FLB_PREFILTER_SIZE - 1);
#ifndef FEATHERLB_HOST
    return prefilter_value.kinds[index];
#else
    __u32 zero = 0;
    const struct flb_prefilter* filter = bpf_map_lookup_elem(&prefilter, &zero);

    return filter ? filter->kinds[index] : 0;
#endif
}

/* Of folded addresses (flb_prefilter_index). */
FLB_INLINE int may_be_ours(__u32 source, __u32 destination)
{
    return (prefilter_kinds(destination) & (FLB_KIND_LISTENER | FLB_KIND_SNAT)) ||
           (prefilter_kinds(source) & FLB_KIND_BACKEND);
}

/* May a packet to this address have been an outer header of ours? */
FLB_INLINE int may_be_tunnel(__u32 destination)
{
    return (prefilter_kinds(destination) & FLB_KIND_TUNNEL) != 0;
}

#endif
