/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * icmp: an ICMP error that quotes a packet of ours goes on to who sent it: to the client, as from the service, or to
 * the backend. The quoted packet, turned round, has the key of what would answer it, so one look-up finds the entry;
 * its recipe, read backwards, says what the quoted packet looked like before we rewrote it. The flow is not touched.
 * Echo and everything else is left to the host, which owns the service address. Towards a `dsr` or `ipip` backend the
 * message stays as it is: there is nothing to rewrite. What quotes an outer header of ours is icmp_tunnel.h's.
 *
 * MTUs pass unchanged, because snat and dnat do not change sizes.
 */
#ifndef FEATHERLB_ICMP_H
#define FEATHERLB_ICMP_H

#include "fragment.h"

struct icmp_message {
    __u8 type;
    __u8 code;
    __u16 check;
    __be32 rest; /* "too big": the MTU */
};

/* The quoted packet: offsets in the frame. */
struct icmp_quote {
    __u32 l3;
    __u32 l4;
    __u32 end; /* of what is quoted */
    __u8 protocol;
};

#define ICMP4_UNREACHABLE 3
#define ICMP4_TIME_EXCEEDED 11
#define ICMP4_PARAMETER 12
#define ICMP6_LAST_PASSED 4 /* unreachable, too big, time exceeded, parameter problem */

#define QUOTE_BYTES_NEEDED 8 /* of the transport header: RFC 792 */

FLB_INLINE int icmp_is_error(const int v6, __u8 type)
{
    if (v6)
        return type >= 1 && type <= ICMP6_LAST_PASSED;
    return type == ICMP4_UNREACHABLE || type == ICMP4_TIME_EXCEEDED || type == ICMP4_PARAMETER;
}

FLB_INLINE int icmp_is_tunnel(__u8 protocol)
{
    return protocol == IPPROTO_IPIP || protocol == IPPROTO_IPV6;
}

FLB_INLINE int icmp_is_one_way(__u32 number)
{
    const struct flb_backend* backend = bpf_map_lookup_elem(&backends, &number);

    return backend && (backend->flags & FLB_BACKEND_ONE_WAY);
}

/* The outer headers. Fills length, l4 and ttl of p. What is broken here is the stack's to judge. */
FLB_INLINE int icmp_outer(const int v6, hook_context* context, struct packet* p)
{
    void* data = hook_data(context);
    void* end = hook_end(context);
    struct icmp_message* message;

    if (v6) {
        struct ipv6hdr* ip = data + bounded(p->l3, L3_MASK);

        if ((void*)(ip + 1) > end || (*(__u8*)ip >> 4) != 6 || p->fragment)
            return STEP_PASS;
        p->length = swap16(ip->payload_len) + sizeof(*ip);
        p->ttl = ip->hop_limit;
    } else {
        struct iphdr* ip = data + bounded(p->l3, L3_MASK);

        if ((void*)(ip + 1) > end || (*(__u8*)ip >> 4) != 4 || (ip->frag_off & IP_FRAGMENT_BITS))
            return STEP_PASS;
        p->length = swap16(ip->tot_len);
        p->ttl = ip->ttl;
        p->l4 = p->l3 + (*(__u8*)ip & 15) * 4;
    }
    if (p->length > hook_frame(context) - p->l3 || p->l4 + sizeof(*message) > p->l3 + p->length ||
        p->l4 < p->l3 + (v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr)))
        return STEP_PASS;
    p->segment = (__u16)p->length;
    message = data + bounded(p->l4, L4_MASK);
    if ((void*)(message + 1) > end || !icmp_is_error(v6, message->type))
        return STEP_PASS;
    return STEP_NEXT;
}

/* Walks the quoted extension headers; STEP_PASS where no transport is found. */
FLB_INLINE int icmp_quoted_extensions(void* data, void* end, struct icmp_quote* q)
{
    for (int i = 0; i < PARSE_MAX_EXTENSIONS; i++) {
        struct parse_extension* header;

        if (q->protocol == IPPROTO_TCP || q->protocol == IPPROTO_UDP)
            return STEP_NEXT;
        if (q->protocol != IPPROTO_HOPOPTS && q->protocol != IPPROTO_ROUTING && q->protocol != IPPROTO_DSTOPTS &&
            q->protocol != IPPROTO_FRAGMENT)
            return STEP_PASS;
        if (q->l4 + 8 > q->end || q->l4 > L4_MASK)
            return STEP_PASS;
        header = data + bounded(q->l4, L4_MASK);
        if ((void*)header + 8 > end || (q->protocol == IPPROTO_FRAGMENT && (header->offset & swap16(0xfff8))))
            return STEP_PASS;
        q->l4 += q->protocol == IPPROTO_FRAGMENT ? 8 : (header->length + 1) * 8;
        q->protocol = header->next;
    }
    return q->protocol == IPPROTO_TCP || q->protocol == IPPROTO_UDP ? STEP_NEXT : STEP_PASS;
}

/* The quoted packet: q, and in p->key the key of what would answer it. */
FLB_INLINE int icmp_quoted(const int v6, hook_context* context, struct packet* p, struct icmp_quote* q)
{
    void* data = hook_data(context);
    void* end = hook_end(context);
    __be32* ports;

    q->l3 = p->l4 + sizeof(struct icmp_message);
    q->end = p->l3 + p->length;
    if (v6) {
        struct ipv6hdr* ip = data + bounded(q->l3, L4_MASK);
        __u32* words = (__u32*)&ip->saddr;

        q->l4 = q->l3 + sizeof(*ip);
        if ((void*)(ip + 1) > end || q->l4 > q->end || (*(__u8*)ip >> 4) != 6)
            return STEP_PASS;
        if (icmp_is_tunnel(ip->nexthdr) && may_be_tunnel(flb_fold_ipv6(words[4], words[5], words[6], words[7])))
            return STEP_TUNNEL;
        if (!may_be_ours(flb_fold_ipv6(words[4], words[5], words[6], words[7]),
                flb_fold_ipv6(words[0], words[1], words[2], words[3])))
            return STEP_PASS;
        p->key.w[1] = (__u64)words[4] | (__u64)words[5] << 32;
        p->key.w[2] = (__u64)words[6] | (__u64)words[7] << 32;
        p->key.w[3] = (__u64)words[0] | (__u64)words[1] << 32;
        p->key.w[4] = (__u64)words[2] | (__u64)words[3] << 32;
        q->protocol = ip->nexthdr;
        if (icmp_quoted_extensions(data, end, q))
            return STEP_PASS;
    } else {
        struct iphdr* ip = data + bounded(q->l3, L4_MASK);

        if ((void*)(ip + 1) > end || q->l3 + sizeof(*ip) > q->end || (*(__u8*)ip >> 4) != 4 || (*(__u8*)ip & 15) < 5 ||
            (ip->frag_off & IP_OFFSET_BITS))
            return STEP_PASS;
        if (icmp_is_tunnel(ip->protocol) && may_be_tunnel(ip->daddr))
            return STEP_TUNNEL;
        if (!may_be_ours(ip->daddr, ip->saddr))
            return STEP_PASS;
        q->protocol = ip->protocol;
        if (q->protocol != IPPROTO_TCP && q->protocol != IPPROTO_UDP)
            return STEP_PASS;
        q->l4 = q->l3 + (*(__u8*)ip & 15) * 4;
        p->key.w[0] = (__u64)ip->daddr | (__u64)ip->saddr << 32;
    }
    ports = data + bounded(q->l4, L4_MASK);
    if (q->l4 + QUOTE_BYTES_NEEDED > q->end || (void*)ports + QUOTE_BYTES_NEEDED > end)
        return fragment_is_ours(v6, &p->key, q->protocol) ? (int)FLB_DROP_icmp_broken : STEP_PASS;
    p->key.w[v6 ? 0 : 1] = parse_ports_word(*ports >> 16 | *ports << 16, q->protocol);
    return STEP_NEXT;
}

/* The entry that p->key names; STEP_PASS: there is none. */
FLB_INLINE int icmp_known(const int v6, const struct packet* p, struct recipe* r, struct way* way)
{
    struct flow_ref ref, owner;

    if (!flow_find(v6, &p->key, &ref))
        return STEP_PASS;
    if (flow_state(ref.ctl) == FLB_FLOW_SUPERSEDED)
        return FLB_DROP_superseded;
    if (flow_is_reply(flow_state(ref.ctl))) {
        if (!flow_owner(v6, ref.f, &owner))
            return STEP_PASS;
        way->direction = FROM_BACKEND;
    }
    return flow_load_recipe(v6, &ref, r) ? STEP_NEXT : FLB_DROP_table_contended;
}

/* No flow: `dnat` answers by the tables, as for any other packet, where every balancer would do the same. */
FLB_INLINE int icmp_by_tables(const int v6, struct slow* s)
{
    struct flb_listener_key key;
    struct flb_listener* listener;
    struct flb_service* service;
    struct flb_backend* backend;
    __u32 index;

    s->way.direction = FROM_CLIENT;
    s->way.orphan = 0;
    decide_listener_key(v6, &s->packet, 0, &key);
    listener = bpf_map_lookup_elem(&listeners, &key);
    if (!listener)
        return decide_orphan_reply(v6, s);
    index = listener->service;
    service = bpf_map_lookup_elem(&services, &index);
    if (!service || !(service->flags & FLB_SERVICE_VALID) || service->forward == FLB_SNAT ||
        (service->pick != FLB_PICK_HASH_5TUPLE && service->pick != FLB_PICK_HASH_ADDRESSES))
        return STEP_PASS;
    index = pick(v6, &s->packet, index, service);
    backend = bpf_map_lookup_elem(&backends, &index);
    if (!index || !backend || !(backend->flags & FLB_BACKEND_VALID))
        return STEP_PASS;
    decide_from_key(v6, &s->out, &s->packet.key);
    decide_set_destination(v6, &s->out, &backend->address);
    decide_set_port(&s->out, backend->port);
    decide_recipe(v6, &s->recipe, &s->packet, &s->out, index);
    return STEP_NEXT;
}

__attribute__((noinline)) int icmp_by_tables4(struct slow* s)
{
    return s ? icmp_by_tables(0, s) : FLB_DROP_not_configured;
}

__attribute__((noinline)) int icmp_by_tables6(struct slow* s)
{
    return s ? icmp_by_tables(1, s) : FLB_DROP_not_configured;
}

/* What a 16-bit field adds to the sum of a message that contains it. */
FLB_INLINE __u32 icmp_change(__u16 before, __u16 after)
{
    return (__u32)after + (__u16)~before;
}

/* The quoted transport header becomes that of the packet before we rewrote it. Adds to *delta. */
FLB_INLINE int icmp_rewrite_transport(
    hook_context* context, const struct icmp_quote* q, const struct recipe* r, __u32* delta)
{
    void* end = hook_end(context);
    __be16* ports = hook_data(context) + bounded(q->l4, L4_MASK);
    __u16* check = (void*)ports + replay_check_offset(IPPROTO_UDP);
    __u16 before;

    if ((void*)(ports + 4) > end)
        return FLB_DROP_rewrite_failed;
    ports[0] = r->dport;
    ports[1] = r->sport;
    *delta += r->ports_delta;
    if (q->protocol == IPPROTO_TCP)
        check = (void*)ports + replay_check_offset(IPPROTO_TCP);
    else if (!*check)
        return STEP_NEXT;
    if (q->l4 + replay_check_offset(q->protocol) + sizeof(*check) > q->end || (void*)(check + 1) > end)
        return STEP_NEXT; /* not quoted */
    before = *check;
    *check = checksum_add(before, (__u32)r->addresses_delta + r->ports_delta);
    *delta += icmp_change(before, *check);
    return STEP_NEXT;
}

/* The quoted addresses. Adds to *delta. */
FLB_INLINE int icmp_rewrite_network(
    const int v6, hook_context* context, const struct icmp_quote* q, const struct recipe* r, __u32* delta)
{
    void* header = hook_data(context) + bounded(q->l3, L4_MASK);
    void* end = hook_end(context);

    *delta += r->addresses_delta;
    if (v6) {
        struct ipv6hdr* ip = header;
        __u32* words = (__u32*)&ip->saddr;

        if ((void*)(ip + 1) > end)
            return FLB_DROP_rewrite_failed;
        for (int i = 0; i < 4; i++) {
            __u64 word = r->addresses[i ^ 2];

            words[2 * i] = (__u32)word;
            words[2 * i + 1] = (__u32)(word >> 32);
        }
    } else {
        struct iphdr* ip = header;
        __u16 before;

        if ((void*)(ip + 1) > end)
            return FLB_DROP_rewrite_failed;
        before = ip->check;
        ip->check = checksum_add(before, r->addresses_delta);
        *delta += icmp_change(before, ip->check);
        ip->saddr = (__be32)(r->addresses[0] >> 32);
        ip->daddr = (__be32)r->addresses[0];
    }
    return STEP_NEXT;
}

/* The outer addresses, as a recipe that replay_network takes. The destination is who sent the quoted packet. The
 * source is what that one sent it to, where it knows no better: the service, or in `snat` our own address. A `dnat`
 * backend knows its client, and is told by the same router that would have told it without us. */
FLB_INLINE int icmp_outer_recipe(
    const int v6, hook_context* context, const struct packet* p, struct recipe* r, const struct way* way)
{
    void* header = hook_data(context) + bounded(p->l3, L3_MASK);
    void* end = hook_end(context);
    struct flow_key before;

    if (v6) {
        struct ipv6hdr* ip = header;
        __u32* words = (__u32*)&ip->saddr;

        if ((void*)(ip + 1) > end)
            return FLB_DROP_rewrite_failed;
        for (int i = 0; i < 4; i++)
            before.w[i + 1] = (__u64)words[2 * i] | (__u64)words[2 * i + 1] << 32;
        if (way->direction == FROM_CLIENT && r->addresses[0] == p->key.w[1] && r->addresses[1] == p->key.w[2]) {
            r->addresses[0] = before.w[1];
            r->addresses[1] = before.w[2];
        }
    } else {
        struct iphdr* ip = header;

        if ((void*)(ip + 1) > end)
            return FLB_DROP_rewrite_failed;
        before.w[0] = (__u64)ip->saddr | (__u64)ip->daddr << 32;
        if (way->direction == FROM_CLIENT && (__u32)r->addresses[0] == (__u32)p->key.w[0])
            r->addresses[0] = (r->addresses[0] & 0xffffffff00000000ULL) | (__u32)before.w[0];
    }
    r->addresses_delta = decide_delta(v6, r->addresses, &before);
    return STEP_NEXT;
}

/* STEP_NEXT: the message s->packet is rewritten but for its outer header, which s->recipe and s->way are for. */
FLB_INLINE int icmp(const int v6, hook_context* context, struct slow* s)
{
    struct packet* p = &s->packet;
    struct icmp_quote q = {};
    struct icmp_message* message;
    __u32 delta = 0;
    int step;

    hook_pull(context);
    step = icmp_outer(v6, context, p);
    if (!step)
        step = icmp_quoted(v6, context, p, &q);
    if (step)
        return step;
    step = icmp_known(v6, p, &s->recipe, &s->way);
    if (step == STEP_PASS) {
        p->protocol = q.protocol;
        step = v6 ? icmp_by_tables6(s) : icmp_by_tables4(s);
    }
    if (!step && icmp_is_one_way(s->recipe.backend))
        return STEP_NEXT;
    if (!step)
        step = icmp_rewrite_transport(context, &q, &s->recipe, &delta);
    if (!step)
        step = icmp_rewrite_network(v6, context, &q, &s->recipe, &delta);
    if (!step)
        step = icmp_outer_recipe(v6, context, p, &s->recipe, &s->way);
    if (step)
        return step;
    if (v6)
        delta += s->recipe.addresses_delta; /* the pseudo header */
    message = hook_data(context) + bounded(p->l4, L4_MASK);
    if ((void*)(message + 1) > hook_end(context))
        return FLB_DROP_rewrite_failed;
    message->check = checksum_add(message->check, fold16(delta));
    return STEP_NEXT;
}

__attribute__((noinline)) int icmp4(hook_context* context, struct slow* s)
{
    return s ? icmp(0, context, s) : FLB_DROP_not_configured;
}

__attribute__((noinline)) int icmp6(hook_context* context, struct slow* s)
{
    return s ? icmp(1, context, s) : FLB_DROP_not_configured;
}

#endif
