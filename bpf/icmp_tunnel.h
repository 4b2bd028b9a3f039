/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * icmp_tunnel: an ICMP error from the way to an `ipip` backend, which quotes an outer header of ours and what was in
 * it. The client is told in our words, about its own packet (RFC 2003, 4; RFC 2473, 8): too big, with an MTU that
 * leaves room for the outer header, or host unreachable, which is all that the rest means to it. Only a packet that was
 * sent to the very backend that its flow has, or the tables name, is believed.
 */
#ifndef FEATHERLB_ICMP_TUNNEL_H
#define FEATHERLB_ICMP_TUNNEL_H

#include "route.h"

#define ICMP_LEAST_MTU4 68
#define ICMP_LEAST_MTU6 1280
#define ICMP_NO_MTU 576 /* of a router that does not tell: before RFC 1191 */

/* The outer header that is quoted: fills s->inner_at and s->inner_mtu, and leaves the address that it was sent to in
 * s->request.key.w[3] and w[4]. Gives the protocol inside, or a step. */
FLB_INLINE int icmp_tunnel_outer(const int v6, hook_context* context, struct slow* s)
{
    struct packet* p = &s->packet;
    void* data = hook_data(context);
    void* end = hook_end(context);
    struct icmp_message* message = data + bounded(p->l4, L4_MASK);
    void* header = data + bounded(p->l4 + sizeof(*message), L4_MASK);
    __u32 outer = v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);
    __u32 mtu;
    int protocol, too_big;

    if ((void*)(message + 1) > end || header + outer > end)
        return STEP_PASS;
    s->inner_at = p->l4 + sizeof(*message) + outer;
    if (v6) {
        struct ipv6hdr* ip = header;
        __u32* words = (__u32*)&ip->daddr;

        protocol = ip->nexthdr;
        s->request.key.w[3] = (__u64)words[0] | (__u64)words[1] << 32;
        s->request.key.w[4] = (__u64)words[2] | (__u64)words[3] << 32;
        too_big = message->type == 2;
        mtu = swap32(message->rest);
    } else {
        struct iphdr* ip = header;

        if ((*(__u8*)ip & 15) != 5)
            return STEP_PASS; /* we send no options */
        protocol = ip->protocol;
        s->request.key.w[0] = (__u64)ip->daddr << 32;
        s->request.key.w[3] = ip->daddr;
        s->request.key.w[4] = 0;
        too_big = message->type == ICMP4_UNREACHABLE && message->code == 4;
        mtu = swap32(message->rest) & 0xffff;
        if (!mtu)
            mtu = ICMP_NO_MTU;
    }
    if (!fragment_is_ours(v6, &s->request.key, IPPROTO_IPIP))
        return STEP_PASS;
    s->inner_mtu = 0;
    if (too_big) {
        __u32 least = protocol == IPPROTO_IPV6 ? ICMP_LEAST_MTU6 : ICMP_LEAST_MTU4;

        s->inner_mtu = mtu < least + outer ? least : mtu - outer;
    }
    return protocol;
}

/* The client's packet that was in the tunnel: p gets its key, protocol, length (as far as it is quoted), and offsets.
 */
FLB_INLINE int icmp_tunnel_inner(const int v6, hook_context* context, struct slow* s)
{
    struct packet* p = &s->packet;
    void* data = hook_data(context);
    void* end = hook_end(context);
    void* header = data + bounded(s->inner_at, L4_MASK);
    struct icmp_quote q = {.l3 = s->inner_at, .end = p->l3 + p->length};
    __be32* ports;

    if (v6) {
        struct ipv6hdr* ip = header;
        __u32* words = (__u32*)&ip->saddr;

        q.l4 = q.l3 + sizeof(*ip);
        if ((void*)(ip + 1) > end || q.l4 > q.end || (*(__u8*)ip >> 4) != 6)
            return FLB_DROP_icmp_broken;
        for (int i = 0; i < 4; i++)
            p->key.w[i + 1] = (__u64)words[2 * i] | (__u64)words[2 * i + 1] << 32;
        q.protocol = ip->nexthdr;
        if (icmp_quoted_extensions(data, end, &q))
            return FLB_DROP_icmp_broken;
    } else {
        struct iphdr* ip = header;

        if ((void*)(ip + 1) > end || q.l3 + sizeof(*ip) > q.end || (*(__u8*)ip >> 4) != 4 || (*(__u8*)ip & 15) < 5 ||
            (ip->frag_off & IP_OFFSET_BITS) || (ip->protocol != IPPROTO_TCP && ip->protocol != IPPROTO_UDP))
            return FLB_DROP_icmp_broken;
        q.protocol = ip->protocol;
        q.l4 = q.l3 + (*(__u8*)ip & 15) * 4;
        p->key.w[0] = (__u64)ip->saddr | (__u64)ip->daddr << 32;
    }
    ports = data + bounded(q.l4, L4_MASK);
    if (q.l4 + replay_check_offset(q.protocol) + sizeof(__u16) > q.end || (void*)(ports + 1) > end ||
        q.l4 - q.l3 + replay_check_offset(q.protocol) + sizeof(__u16) > ANSWER_QUOTE)
        return FLB_DROP_icmp_broken;
    p->key.w[v6 ? 0 : 1] = parse_ports_word(*ports, q.protocol);
    p->protocol = q.protocol;
    p->segment = 0; /* of what is asked of the routes */
    s->state = q.l4 - q.l3;
    return STEP_NEXT;
}

/* Was the packet sent to the backend that it belongs to? Then s->recipe.to becomes the way to its client. */
FLB_INLINE int icmp_tunnel_client(const int v6, hook_context* context, struct slow* s)
{
    struct packet* p = &s->packet;
    struct recipe* r = &s->recipe;
    struct flb_backend* backend;
    struct flow_ref ref;
    __u32 number;
    int step, known = flow_find(v6, &p->key, &ref);

    if (known && flow_is_reply(flow_state(ref.ctl)))
        return STEP_PASS;
    if (known)
        step = flow_load_recipe(v6, &ref, r) ? STEP_NEXT : FLB_DROP_table_contended;
    else
        step = v6 ? icmp_by_tables6(s) : icmp_by_tables4(s);
    if (step)
        return step;
    number = r->backend;
    backend = bpf_map_lookup_elem(&backends, &number);
    if (s->way.orphan || !backend || !(backend->flags & FLB_BACKEND_IPIP) ||
        ((__u64*)&backend->address)[0] != s->request.key.w[3] || ((__u64*)&backend->address)[1] != s->request.key.w[4])
        return STEP_PASS;
    if (known && *(__u64*)&r->to)
        return STEP_NEXT;
    if (v6) {
        r->addresses[0] = p->key.w[3];
        r->addresses[1] = p->key.w[4];
        r->addresses[2] = p->key.w[1];
        r->addresses[3] = p->key.w[2];
        return route_back(1, context, p, r);
    }
    r->addresses[0] = p->key.w[0] >> 32 | p->key.w[0] << 32;
    return route_back(0, context, p, r);
}

/* Makes the frame the client's packet, of which s->state are the bytes before the transport, and answers that. */
FLB_INLINE int icmp_tunnel_tell(const int v6, hook_context* context, struct slow* s)
{
    const struct flb_hop untagged __attribute__((aligned(8))) = {};
    const __u32 reason = s->inner_mtu ? FLB_DROP_too_big : FLB_DROP_icmp_broken;
    struct packet* p = &s->packet;
    __u32 at = s->inner_at, l3 = p->l3;
    int step = hook_set_tags(context, p, &untagged);

    if (step)
        return step;
    p->from.link &= (__u16)~FLB_LINK_TAGS;
    step = hook_strip(context, at - (l3 - p->l3) - (__u32)sizeof(struct ethhdr));
    if (step)
        return step;
    p->length = l3 + p->length - at;
    p->l3 = sizeof(struct ethhdr);
    p->l4 = (__u16)(sizeof(struct ethhdr) + s->state);
    s->way.direction = FROM_CLIENT;
    s->way.elsewhere = 1;
    step = v6 ? answer6(context, reason, s->inner_mtu) : answer4(context, reason, s->inner_mtu);
    return step ? step : SENT | s->verdict;
}

/* In steps of their own, each verified once, by itself. */
__attribute__((noinline)) int icmp_tunnel_outer4(hook_context* context, struct slow* s)
{
    return s ? icmp_tunnel_outer(0, context, s) : STEP_PASS;
}

__attribute__((noinline)) int icmp_tunnel_outer6(hook_context* context, struct slow* s)
{
    return s ? icmp_tunnel_outer(1, context, s) : STEP_PASS;
}

__attribute__((noinline)) int icmp_tunnel_inner4(hook_context* context, struct slow* s)
{
    return s ? icmp_tunnel_inner(0, context, s) : STEP_PASS;
}

__attribute__((noinline)) int icmp_tunnel_inner6(hook_context* context, struct slow* s)
{
    return s ? icmp_tunnel_inner(1, context, s) : STEP_PASS;
}

__attribute__((noinline)) int icmp_tunnel_client4(hook_context* context, struct slow* s)
{
    return s ? icmp_tunnel_client(0, context, s) : STEP_PASS;
}

__attribute__((noinline)) int icmp_tunnel_client6(hook_context* context, struct slow* s)
{
    return s ? icmp_tunnel_client(1, context, s) : STEP_PASS;
}

__attribute__((noinline)) int icmp_tunnel_tell4(hook_context* context, struct slow* s)
{
    return s ? icmp_tunnel_tell(0, context, s) : STEP_PASS;
}

__attribute__((noinline)) int icmp_tunnel_tell6(hook_context* context, struct slow* s)
{
    return s ? icmp_tunnel_tell(1, context, s) : STEP_PASS;
}

/* SENT, or what to do with the message. `protocol`: icmp_tunnel_outer's answer. */
FLB_INLINE int icmp_tunnel(hook_context* context, struct slow* s, int protocol)
{
    const int v6 = protocol == IPPROTO_IPV6;
    int step;

    if (protocol < 0)
        return protocol;
    step = v6 ? icmp_tunnel_inner6(context, s) : icmp_tunnel_inner4(context, s);
    if (!step)
        step = v6 ? icmp_tunnel_client6(context, s) : icmp_tunnel_client4(context, s);
    if (!step)
        step = v6 ? icmp_tunnel_tell6(context, s) : icmp_tunnel_tell4(context, s);
    return step;
}

__attribute__((noinline)) int icmp_tunnel4(hook_context* context, struct slow* s)
{
    return s ? icmp_tunnel(context, s, icmp_tunnel_outer4(context, s)) : STEP_PASS;
}

__attribute__((noinline)) int icmp_tunnel6(hook_context* context, struct slow* s)
{
    return s ? icmp_tunnel(context, s, icmp_tunnel_outer6(context, s)) : STEP_PASS;
}

#endif
