/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The hook that this program is compiled for. Both headers offer the same functions: hook_input, hook_frame, hook_pull,
 * hook_is_for_us, hook_segment, hook_correct_check, hook_encapsulate, hook_send, hook_send_straight, hook_cut,
 * hook_strip, hook_grow, hook_finish_reset, and hook_express_* for express.h; and say by HOOK_MAY_BE_PARTIAL whether a
 * checksum may be unfinished.
 */
#ifndef FEATHERLB_HOOK_H
#define FEATHERLB_HOOK_H

#ifdef FEATHERLB_XDP
#include "hook_xdp.h"
#else
#include "hook_tc.h"
#endif

/* Replays a recipe. */
FLB_INLINE int hook_rewrite(
    const int v6, hook_context* context, struct packet* p, const struct recipe* r, const struct flb_iface* out)
{
    int step = hook_set_tags(context, p, &r->to);
    const __u32 l4 = bounded(p->l4, L4_MASK);
    void *data, *end;
    __be16* ports;

    if (step)
        return step;
    step = hook_correct_check(context, l4, p->protocol, r->addresses_delta, r->ports_delta, &data);
    if (step)
        return step;
    end = hook_end(context);
    if (data + sizeof(struct ethhdr) > end)
        return FLB_DROP_rewrite_failed;
    replay_macs(data, &r->to, out);
    step = replay_network(v6, data + bounded(p->l3, L3_MASK), end, r);
    if (step)
        return step;
    ports = data + l4;
    if ((void*)(ports + 2) > end)
        return FLB_DROP_rewrite_failed;
    ports[0] = r->sport;
    ports[1] = r->dport;
    return STEP_NEXT;
}

/* Rewrites what is before the transport: for packets without ports. */
FLB_INLINE int hook_rewrite_network(
    const int v6, hook_context* context, struct packet* p, const struct recipe* r, const struct flb_iface* out)
{
    int step = hook_set_tags(context, p, &r->to);
    void* data = hook_data(context);
    void* end = hook_end(context);
    struct ethhdr* eth = data;

    if (step)
        return step;
    if ((void*)(eth + 1) > end)
        return FLB_DROP_rewrite_failed;
    replay_macs(eth, &r->to, out);
    return replay_network(v6, data + bounded(p->l3, L3_MASK), end, r);
}

#endif
