/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The hook that this program is compiled for. Both headers offer the same functions: hook_input, hook_frame, hook_pull,
 * hook_is_for_us, hook_segment, hook_rewrite, hook_send, hook_cut, hook_grow, hook_finish_reset; and say by
 * HOOK_MAY_BE_PARTIAL whether a checksum may be unfinished.
 */
#ifndef FEATHERLB_HOOK_H
#define FEATHERLB_HOOK_H

#ifdef FEATHERLB_XDP
#include "hook_xdp.h"
#else
#include "hook_tc.h"
#endif

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
