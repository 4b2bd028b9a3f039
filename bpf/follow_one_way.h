/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * follow_one_way: the states of connections to `dsr` and `ipip` backends, of which only the client's packets are seen.
 */
#ifndef FEATHERLB_FOLLOW_ONE_WAY_H
#define FEATHERLB_FOLLOW_ONE_WAY_H

#include "kernel.h"
#include "packet.h"

/* `dsr`, `ipip`: after so many units of the clock below a packet was not sent together with the flow's first one. */
#define FOLLOW_ROUND_TRIP 16
#define FOLLOW_CLOCKS_DIFFER (1u << 22)

FLB_INLINE __u32 follow_one_way_clock(void)
{
    return (__u32)(bpf_ktime_get_ns() >> 10);
}

/* The next state after this segment of the client, where the backend's packets are not seen: what proves a client is a
 * packet that comes a while after the first one, and is no SYN. Its FIN closes the connection as far as we know; what
 * follows is still sent on. */
FLB_INLINE __u32 follow_client_one_way(__u32 state, const struct packet* p, __u32 made)
{
    const __u32 age = follow_one_way_clock() - made; /* another processor's clock may be behind */
    const int later = age >= FOLLOW_ROUND_TRIP && age < 0u - FOLLOW_CLOCKS_DIFFER;

    if (p->protocol == IPPROTO_UDP)
        return state == FLB_FLOW_UDP_NEW && later ? FLB_FLOW_UDP_STREAM : state;
    if (flow_is_closing(state) || (p->tcp_flags & TCP_SYN))
        return state;
    if (p->tcp_flags & TCP_RST)
        return flow_is_proven(state) ? FLB_FLOW_RESET : state;
    if (p->tcp_flags & TCP_FIN)
        return FLB_FLOW_CLOSED_ONE_WAY;
    return later ? FLB_FLOW_ESTABLISHED : state;
}

#endif
