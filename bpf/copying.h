/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * copying: for the moment in which connections are copied from another flow table into this one, a packet that belongs
 * to none may belong to one that has not come yet. It is not answered, not given to another backend and not left to
 * the stack: it is dropped, and TCP repeats it. A SYN begins something new and goes on. The moment ends by itself.
 */
#ifndef FEATHERLB_COPYING_H
#define FEATHERLB_COPYING_H

#include "kernel.h"

#include "packet.h"

/* Of numbers alone, for the sake of the callers' stack. `port`: the destination's, in host byte order; `listens`: a
 * service does, there. */
__attribute__((noinline)) int copying_holds(__u32 protocol, __u32 tcp_flags, __u32 port, __u32 listens)
{
    const struct flb_settings* settings = flow_settings();
    __u32 until;

    if (!settings)
        return STEP_NEXT;
    until = atomic_load(&settings->copying_until);
    if (!until || (__s32)(flow_now() - until) > 0)
        return STEP_NEXT;
    if (listens)
        return protocol == IPPROTO_TCP && (tcp_flags & (TCP_SYN | TCP_ACK | TCP_RST)) == TCP_SYN
                   ? STEP_NEXT
                   : (int)FLB_DROP_copying;
    /* an answer to one of our source ports? */
    return port - settings->snat_port_first < settings->snat_port_count ? (int)FLB_DROP_copying : STEP_NEXT;
}

#endif
