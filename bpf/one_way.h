/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * one_way: packets to `dsr` and `ipip` backends, which have the service's address and answer the client directly, so
 * that nothing comes back by here. `dsr`: new link addresses and tags, one TTL less; `ipip`: tunnel.h. The flow has an
 * owner's entry alone (FLB_NO_PAIR, follow.h), with a recipe that changes nothing: what happens to a packet is the
 * backend's own, not the flow's.
 */
#ifndef FEATHERLB_ONE_WAY_H
#define FEATHERLB_ONE_WAY_H

#include "fragment.h"
#include "tunnel.h"

__attribute__((noinline)) int fragment_first_one_way4(hook_context* context, const struct packet* p, __u32 backend)
{
    return p ? fragment_first_one_way(0, context, p, backend) : FLB_DROP_not_configured;
}

__attribute__((noinline)) int fragment_first_one_way6(hook_context* context, const struct packet* p, __u32 backend)
{
    return p ? fragment_first_one_way(1, context, p, backend) : FLB_DROP_not_configured;
}

FLB_INLINE int one_way_dsr(
    const int v6, hook_context* context, struct packet* p, const struct flb_hop* to, const struct flb_iface* out)
{
    int step = hook_set_tags(context, p, to);
    struct ethhdr* eth = hook_data(context);
    void* end = hook_end(context);

    if (step)
        return step;
    if ((void*)(eth + 1) > end)
        return FLB_DROP_rewrite_failed;
    replay_macs(eth, to, out);
    return replay_ttl(v6, (void*)eth + bounded(p->l3, L3_MASK), end);
}

/* Sends p to its backend: SENT with the verdict, or why not; then it is as it was. `first`: of several fragments. */
FLB_INLINE int one_way(const int v6, hook_context* context, struct packet* p, __u32 number, __u32 first)
{
    struct flb_backend* backend = bpf_map_lookup_elem(&backends, &number);
    struct flb_hop to __attribute__((aligned(8)));
    struct flb_iface* out;
    __u32 slot, flags, segment;
    int step = STEP_NEXT;

    if (!backend)
        return FLB_DROP_not_configured;
    flags = backend->flags;
    *(__u64*)&to = atomic_load_word(&backend->hop);
    *(__u32*)to.vlan = atomic_load((__u32*)backend->hop.vlan);
    if (!*(__u64*)&to || ((flags & FLB_BACKEND_IPIP) && !backend->snat_count))
        return FLB_DROP_backend_unresolved;
    slot = to.link & FLB_LINK_SLOT;
    out = bpf_map_lookup_elem(&ifaces, &slot);
    if (!out || !out->ifindex)
        return FLB_DROP_not_configured;
    segment = p->segment + tunnel_bytes(flags);
    if (segment > backend->mtu || segment > out->mtu)
        return FLB_DROP_too_big;
    if (first)
        step = v6 ? fragment_first_one_way6(context, p, number) : fragment_first_one_way4(context, p, number);
    if (step)
        return step;
    if (first)
        p->key.w[v6 ? 0 : 1] = 0; /* all parts of a datagram have the same outer source and label */
    count_packet(number, FROM_CLIENT, p->length);
    if (!(flags & FLB_BACKEND_IPIP))
        step = one_way_dsr(v6, context, p, &to, out);
    else if (flags & FLB_BACKEND_IPV6)
        step = tunnel6(context, p, number, v6);
    else
        step = tunnel4(context, p, number, v6);
    return step ? step : SENT | hook_send(context, out);
}

__attribute__((noinline)) int one_way4(hook_context* context, struct packet* p, __u32 number, __u32 first)
{
    return p ? one_way(0, context, p, number, first) : FLB_DROP_not_configured;
}

__attribute__((noinline)) int one_way6(hook_context* context, struct packet* p, __u32 number, __u32 first)
{
    return p ? one_way(1, context, p, number, first) : FLB_DROP_not_configured;
}

#endif
