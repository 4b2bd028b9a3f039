/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * route: the kernel's routes, asked only where nothing else says where a client is.
 */
#ifndef FEATHERLB_ROUTE_H
#define FEATHERLB_ROUTE_H

#include "answer.h"

/* The way back to a client of whom no frame was ever seen: the kernel's routes. Nothing has been rewritten yet, so
 * the packet may still be left to the stack: the host may talk to its backends too. */
FLB_INLINE int route_back(const int v6, hook_context* context, const struct packet* p, struct recipe* r)
{
    struct bpf_fib_lookup fib = {};
    long result;

    fib.ifindex = context->ingress_ifindex;
    fib.tot_len = p->segment;
    if (v6) {
        fib.family = 10; /* AF_INET6 */
        *(__u64*)&fib.ipv6_src[0] = r->addresses[0];
        *(__u64*)&fib.ipv6_src[2] = r->addresses[1];
        *(__u64*)&fib.ipv6_dst[0] = r->addresses[2];
        *(__u64*)&fib.ipv6_dst[2] = r->addresses[3];
    } else {
        fib.family = 2; /* AF_INET */
        fib.ipv4_src = (__be32)r->addresses[0];
        fib.ipv4_dst = (__be32)(r->addresses[0] >> 32);
    }
    result = bpf_fib_lookup(context, &fib, sizeof(fib), 0);
    if (result == BPF_FIB_LKUP_RET_FRAG_NEEDED)
        return ANSWER_TOO_BIG(fib.mtu_result);
    if (result == BPF_FIB_LKUP_RET_NOT_FWDED || result == BPF_FIB_LKUP_RET_FWD_DISABLED)
        return STEP_PASS; /* to this host itself, or to nobody that it would forward to: the stack knows which */
    if (result != BPF_FIB_LKUP_RET_SUCCESS)
        return FLB_DROP_no_return_path;
    __builtin_memcpy(r->to.mac, fib.dmac, ETH_ALEN);
    r->to.link = (__u16)(fib.ifindex & FLB_LINK_SLOT);
    r->to.vlan[0] = 0;
    r->to.vlan[1] = 0;
    return STEP_NEXT;
}

static __attribute__((noinline)) int route_back4(hook_context* context, const struct packet* p, struct recipe* r)
{
    return route_back(0, context, p, r);
}

static __attribute__((noinline)) int route_back6(hook_context* context, const struct packet* p, struct recipe* r)
{
    return route_back(1, context, p, r);
}

#endif
