/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * sample: tells the daemon of drops and decisions while somebody listens (samples.h). Only where a packet is dropped or
 * a connection gets its backend, so the fast path knows nothing of it; and where nobody listens it is one load and a
 * branch. Of each reason a processor tells so many in a while, however many there are; the rest it counts.
 */
#ifndef FEATHERLB_SAMPLE_H
#define FEATHERLB_SAMPLE_H

#include "kernel.h"

#include "packet.h"

FLB_INLINE int sample_is_wanted(__u32 reason)
{
    const struct flb_settings* settings = flow_settings();

    return settings && (atomic_load(&settings->sampled) >> (reason & (FLB_MAX_REASONS - 1)) & 1);
}

/* May this processor tell one more? Counts it either way. */
FLB_INLINE struct flb_sample* sample_take(__u32 reason)
{
    const struct flb_settings* settings = flow_settings();
    __u32 index = bpf_get_smp_processor_id() * FLB_MAX_REASONS + (reason & (FLB_MAX_REASONS - 1));
    struct flb_sample_budget* budget = bpf_map_lookup_elem(&sample_budgets, &index);
    __u32 window = (__u32)(bpf_jiffies64() >> (flb_load.tick_shift - FLB_SAMPLE_WINDOW_SHIFT));
    struct flb_sample* sample = 0;

    if (!settings || !budget || (__s32)(flow_now() - atomic_load(&settings->sampled_until)) > 0)
        return 0;
    if (budget->window != window) {
        budget->window = window;
        budget->taken = 0;
    }
    if (budget->taken < FLB_SAMPLES_IN_WINDOW)
        sample = bpf_ringbuf_reserve(&samples, sizeof(*sample), 0);
    if (!sample) {
        budget->left_out++;
        return 0;
    }
    budget->taken++;
    return sample;
}

/* What is known of every packet. The daemon reads the ring now and then, so nobody is woken. */
FLB_INLINE void sample_fill(struct flb_sample* sample, __u32 v6, const struct packet* p, __u32 reason)
{
    const struct flow_key* key = &p->key;

    sample->time_ns = bpf_ktime_get_ns();
    address_from(&sample->source, v6 ? key->w[1] : (__u32)key->w[0], v6 ? key->w[2] : 0);
    address_from(&sample->destination, v6 ? key->w[3] : key->w[0] >> 32, v6 ? key->w[4] : 0);
    sample->slot = p->from.link & FLB_LINK_SLOT;
    sample->reason = (__u8)reason;
    sample->family = v6 ? FLB_IPV6 : FLB_IPV4;
    sample->protocol = p->protocol;
    sample->pad = 0;
}

/* Global, so that it is verified once, by itself. */
__attribute__((noinline)) int sample_write(const struct packet* p, __u32 v6, __u32 kind, __u32 reason, __u32 backend)
{
    struct flb_sample* sample = p ? sample_take(reason) : 0;
    __u32 ports;

    if (!sample)
        return 0;
    sample_fill(sample, v6, p, reason);
    ports = (__u32)(v6 ? p->key.w[0] : p->key.w[1]);
    sample->sport = (__be16)ports;
    sample->dport = (__be16)(ports >> 16);
    sample->backend = backend;
    sample->kind = (__u8)kind;
    sample->tcp_flags = p->protocol == IPPROTO_TCP ? p->tcp_flags : 0;
    bpf_ringbuf_submit(sample, BPF_RB_NO_WAKEUP);
    return 0;
}

/* `backend`: that it was on its way to or from; 0: none. */
FLB_INLINE void sample_drop(__u32 v6, const struct packet* p, __u32 reason, __u32 backend)
{
    if (sample_is_wanted(reason))
        sample_write(p, v6, FLB_SAMPLE_DROP, reason, backend);
}

FLB_INLINE void sample_decision(__u32 v6, const struct packet* p, __u32 kind, __u32 backend)
{
    if (sample_is_wanted(FLB_DROP_none))
        sample_write(p, v6, kind, FLB_DROP_none, backend);
}

/* Of a packet that parse gave up, which has no more than addresses. Not global: the rest of p has never been written,
 * and Linux 6.1 does not let that be handed on. */
static __attribute__((noinline)) int sample_broken(const struct packet* p, __u32 v6, __u32 reason)
{
    struct flb_sample* sample = sample_take(reason);

    if (!sample)
        return 0;
    sample_fill(sample, v6, p, reason);
    sample->sport = 0;
    sample->dport = 0;
    sample->backend = 0;
    sample->kind = FLB_SAMPLE_DROP;
    sample->tcp_flags = 0;
    bpf_ringbuf_submit(sample, BPF_RB_NO_WAKEUP);
    return 0;
}

FLB_INLINE void sample_unparsed(__u32 v6, const struct packet* p, __u32 reason)
{
    if (sample_is_wanted(reason))
        sample_broken(p, v6, reason);
}

#endif
