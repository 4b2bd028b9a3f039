/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * express: the shortest way for the packets of which there are most: a whole IP packet without options or tags, of a
 * connection that is established and goes on, between hosts that are where they were; a backend's only if the
 * connection was seen in this tick. It does what parse, follow, replay and tunnel do for such a packet: nothing between
 * the first look and the last store moves the packet, so that offsets are constants and no bound is checked twice.
 * Whatever is not as expected takes the long way, which decides, tells and counts; nothing but the flow's age has
 * changed by then. Steps answer 1 if the packet has its verdict (finders: a pointer), 0 for the long way.
 */
#ifndef FEATHERLB_EXPRESS_H
#define FEATHERLB_EXPRESS_H

#include "failover.h"
#include "follow.h"
#include "hook.h"
#include "parse.h"
#include "tunnel.h"

#define EXPRESS_L3 sizeof(struct ethhdr)
#define EXPRESS_L4(v6) (EXPRESS_L3 + ((v6) ? sizeof(struct ipv6hdr) : sizeof(struct iphdr)))
#define EXPRESS_FLAGS (TCP_SYN | TCP_FIN | TCP_RST)

/* Neighbouring fields judged as one word of the packet, written here in the order in which they stand there. */
#define EXPRESS_LINK swap32(0xffffff00u) /* at 12: EtherType, version and length of the header */
#define EXPRESS_LINK_IPV4 swap32(0x08004500u)
#define EXPRESS_LINK6 swap32(0xfffff000u)
#define EXPRESS_LINK_IPV6 swap32(0x86dd6000u)
#define EXPRESS_WHOLE swap32(0x3fff00ffu) /* at 20: no fragment, TTL, protocol */
#define EXPRESS_TTL swap32(0x0000fe00u)   /* at least two */
#define EXPRESS_NEXT6 swap32(0x0000ff00u) /* at 18: length, next header, hop limit */
#define EXPRESS_TTL6 swap32(0x000000feu)

/* The benchmark's programs end behind a step, to say what each costs: bench/packet/steps.bpf.c. */
#ifndef EXPRESS_STEP
#define EXPRESS_STEP(step)
#define EXPRESS_MORE
#endif

#define HOP_LINK_SHIFT 48 /* of a hop's first word */

/* What stays the same from step to step. `v6` and `protocol` are known to the compiler wherever they are asked. */
struct express {
    hook_context* context;
    void* data;
    const void* end;
    __u64 ports;   /* the key's word of ports and protocol */
    __u64 link;    /* where it came in, as in struct flb_hop */
    __u32 now;     /* tick */
    __u32 length;  /* of the IP packet */
    __u32 segment; /* largest that it becomes on the wire */
    int verdict;
    EXPRESS_MORE
};

FLB_INLINE __u32 express_word(const void* p)
{
    return *(const __u32*)p;
}

FLB_INLINE const void* express_addresses(const int v6, const struct express* x)
{
    return x->data + EXPRESS_L3 + (v6 ? offsetof(struct ipv6hdr, saddr) : offsetof(struct iphdr, saddr));
}

/* A hop without tags: where the frame came from. */
FLB_INLINE __u64 express_from(const struct express* x)
{
    return replay_word(x->data + ETH_ALEN - 2) >> 16 | x->link << HOP_LINK_SHIFT;
}

FLB_INLINE int express_is_tagged(__u64 hop)
{
    return (hop >> HOP_LINK_SHIFT & FLB_LINK_TAGS) != 0;
}

FLB_INLINE __u64 express_hash(const int v6, const struct express* x)
{
    struct flow_key key;

    key.w[v6 ? 0 : 1] = x->ports;
    for (int i = 0; i < FLOW_ADDRESS_WORDS(v6); i++)
        key.w[v6 ? i + 1 : i] = replay_word(express_addresses(v6, x) + i * 8);
    return flow_hash(v6, &key);
}

/* The key is compared where it lies in the packet: kept from the hash it would have to be kept on the stack. */
FLB_INLINE int express_is_key(const int v6, const struct express* x, struct flb_flow* f)
{
    if (atomic_load(&flow_words(f)[v6 ? 0 : 1]) != x->ports)
        return 0;
    for (int i = 0; i < FLOW_ADDRESS_WORDS(v6); i++)
        if (atomic_load(&flow_words(f)[v6 ? i + 1 : i]) != atomic_load_word(express_addresses(v6, x) + i * 8))
            return 0;
    return 1;
}

/* A live entry of this key, or one that died in this tick; its control word. */
FLB_INLINE struct flb_flow* express_find_in_set(
    const int v6, const struct express* x, struct flb_flow* first, __u32 start, __u64* ctl)
{
    FLOW_UNROLLED
    for (__u32 i = 0; i < FLB_WAYS; i++) {
        struct flb_flow* f = flow_way(v6, first, start + i);

        *ctl = atomic_load(&f->ctl);
        atomic_order_loads();
        if (express_is_key(v6, x, f) && ((__u32)*ctl == x->now || flow_is_live(*ctl)))
            return f;
    }
    return 0;
}

/* As flow_find_hashed; the set that it lies in, too. */
FLB_INLINE struct flb_flow* express_find(const int v6, struct express* x, __u64 hash, __u64* ctl, __u32* set)
{
    struct flb_flow *f, *first;

    *set = flow_first_set(v6, hash);
    first = flow_first_way(v6, *set);
    if (!first)
        return 0;
    x->now = flow_now();
    f = express_find_in_set(v6, x, first, (__u32)hash, ctl);
    if (f || !(atomic_load(&first->ctl) & FLB_CTL_MARK))
        return f;
    *set = flow_second_set(v6, hash);
    first = flow_first_way(v6, *set);
    return first ? express_find_in_set(v6, x, first, (__u32)hash, ctl) : 0;
}

/* The client's first packet in a tick: what follow_age does. */
FLB_INLINE int express_tick(const int v6, const struct express* x, struct flb_flow* f, __u32 set, __u64* ctl)
{
    const char* first = (const char*)flow_first_way(v6, set);
    const __u32 way = (__u32)((const char*)f - first) / FLOW_ENTRY_SIZE(v6);
    const __u64 before = *ctl;

    if (!first || follow_tick(v6, set * FLB_WAYS + way, before, x->now))
        return 0;
    *ctl = atomic_load(&f->ctl);
    return flow_generation(*ctl) == flow_generation(before) && flow_state(*ctl) == flow_state(before);
}

FLB_INLINE int express_drop(struct express* x, __u32 reason)
{
    count_drop(reason);
    x->verdict = HOOK_DROP;
    return 1;
}

/* By a recipe, as hook_rewrite does it. The entry is read behind all that could let the packet take the long way. */
FLB_INLINE int express_rewrite(const int v6, const __u8 protocol, struct express* x, struct flb_flow* f, __u64 ctl,
    __u32 direction, __u64 to, const struct flb_iface* out)
{
    struct flb_backend_counters* counters = backend_counters_of(atomic_load(&f->backend));
    __u64 addresses[4], ports;

    for (int i = 0; i < FLOW_ADDRESS_WORDS(v6); i++)
        addresses[i] = atomic_load(&flow_words(f)[FLOW_KEY_WORDS(v6) + i]);
    ports = atomic_load_word(&f->sport); /* both deltas are in it */
    atomic_order_loads();
    if (!counters || atomic_load(&f->ctl) != ctl) /* torn, perhaps: see flow_is_whole */
        return 0;
    count_in(counters, direction, x->length);
    EXPRESS_STEP(counted)
    if (hook_express_check(x->context, EXPRESS_L4(v6), protocol, ports >> 32 & 0xffff, (__u32)(ports >> 48), &x->data))
        return express_drop(x, FLB_DROP_rewrite_failed);
    replay_macs_of(x->data, to, out);
    replay_network_at(v6, x->data + EXPRESS_L3, addresses, ports >> 32 & 0xffff);
    *(__u32*)(x->data + EXPRESS_L4(v6)) = (__u32)ports;
    x->verdict = hook_send_straight(x->context, out);
    return 1;
}

/* To an `ipip` backend whose address is IPv6 if `outer6`, as tunnel.h does it. */
FLB_INLINE int express_tunnel(const int v6, const int outer6, struct express* x, __u64 hash, __u32 number,
    const struct flb_backend* backend, __u64 to, const struct flb_iface* out)
{
    const __u32 outer = outer6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);
    const __u8 protocol = v6 ? IPPROTO_IPV6 : IPPROTO_IPIP;
    struct ethhdr* eth = x->data;
    __u64 source[2];
    __u32 service;

    if (tunnel_source(outer6, backend, hash, source))
        return 0;
    service = v6 ? swap32(*(__be32*)(eth + 1)) >> 20 & 0xff : ((__u8*)(eth + 1))[1];
    if (hook_grow(x->context, outer))
        return 0;
    count_packet(number, FROM_CLIENT, x->length);
    EXPRESS_STEP(counted)
    eth = hook_data(x->context);
    if ((void*)eth + EXPRESS_L4(v6) + outer > hook_end(x->context))
        return express_drop(x, FLB_DROP_rewrite_failed);
    replay_macs_of(eth, to, out);
    eth->h_proto = outer6 ? swap16(ETH_P_IPV6) : swap16(ETH_P_IP);
    replay_ttl_at(v6, (void*)(eth + 1) + outer);
    if (outer6)
        tunnel_header6(eth + 1, x->length, service, protocol, source, hash, &backend->address);
    else
        tunnel_header4(eth + 1, x->length, service, protocol, (__be32)source[0], *(const __be32*)&backend->address);
    x->verdict = hook_send(x->context, out);
    return 1;
}

/* Keys live in functions of their own: in one with several ways out they keep the compiler from joining these. They are
 * on the stack because Linux 6.1 takes them from no other memory. */
FLB_INLINE struct flb_iface* express_iface(__u32 slot)
{
    return bpf_map_lookup_elem(&ifaces, &slot);
}

FLB_INLINE struct flb_backend* express_backend(__u32 number)
{
    return bpf_map_lookup_elem(&backends, &number);
}

/* The interface that a hop is behind, `in` at first; one-armed, packets leave by where they came in. False: the packet
 * does not fit through it. Of an interface that is gone the MTU is 0. */
FLB_INLINE int express_leaves(const struct express* x, __u64 to, __u32 more, struct flb_iface** out)
{
    if (to >> HOP_LINK_SHIFT != x->link) {
        *out = express_iface(to >> HOP_LINK_SHIFT & FLB_LINK_SLOT);
        if (!*out || express_is_tagged(to))
            return 0;
    }
    return x->segment + more <= (*out)->mtu;
}

/* To a `dsr` or `ipip` backend, as one_way.h does it. */
FLB_INLINE int express_one_way(const int v6, struct express* x, struct flb_flow* f, __u64 ctl, __u64 hash,
    const struct flb_backend* backend, struct flb_iface* out)
{
    const __u32 number = atomic_load(&f->backend);
    const __u32 flags = backend->flags;
    const __u64 to = atomic_load_word(&backend->hop);

    atomic_order_loads();
    if (atomic_load(&f->ctl) != ctl || !(flags & FLB_BACKEND_ONE_WAY) ||
        (flags & FAILOVER_FLAGS) != FLB_BACKEND_VALID || !to || x->segment + tunnel_bytes(flags) > backend->mtu ||
        !express_leaves(x, to, tunnel_bytes(flags), &out))
        return 0;
    if (flags & FLB_BACKEND_IPIP && !HOOK_EXPRESS_GROWS)
        return 0;
    EXPRESS_STEP(backend)
    if (flags & FLB_BACKEND_IPIP)
        return flags & FLB_BACKEND_IPV6 ? express_tunnel(v6, 1, x, hash, number, backend, to, out)
                                        : express_tunnel(v6, 0, x, hash, number, backend, to, out);
    count_packet(number, FROM_CLIENT, x->length);
    EXPRESS_STEP(counted)
    replay_macs_of(x->data, to, out);
    replay_ttl_at(v6, x->data + EXPRESS_L3);
    x->verdict = hook_send_straight(x->context, out);
    return 1;
}

/* From a client to its backend. */
FLB_INLINE int express_to_backend(const int v6, const __u8 protocol, struct express* x, struct flb_flow* f, __u64 ctl,
    __u64 hash, struct flb_iface* out)
{
    struct flb_backend* backend;
    __u64 to;

    if (atomic_load_word(&f->hop) != express_from(x))
        return 0;
    backend = express_backend(atomic_load(&f->backend));
    if (!backend)
        return 0;
    if ((backend->flags & (FAILOVER_FLAGS | FLB_BACKEND_ONE_WAY)) != FLB_BACKEND_VALID)
        return express_one_way(v6, x, f, ctl, hash, backend, out);
    to = atomic_load_word(&backend->hop);
    if (!to || x->segment > backend->mtu || !express_leaves(x, to, 0, &out))
        return 0;
    EXPRESS_STEP(backend)
    return express_rewrite(v6, protocol, x, f, ctl, FROM_CLIENT, to, out);
}

FLB_INLINE int express_to_client(
    const int v6, const __u8 protocol, struct express* x, struct flb_flow* f, __u64 ctl, struct flb_iface* out)
{
    const __u64 to = atomic_load_word(&f->hop);

    return express_leaves(x, to, 0, &out) && express_rewrite(v6, protocol, x, f, ctl, FROM_BACKEND, to, out);
}

FLB_INLINE int express_flow(const int v6, const __u8 protocol, struct express* x)
{
    struct flb_flow* f;
    struct flb_iface* in;
    __u64 hash, ctl;
    __u32 set;

    EXPRESS_STEP(headers)
    x->link = x->context->ingress_ifindex & FLB_LINK_SLOT;
    in = express_iface((__u32)x->link);
    if (!in || !hook_express_is_for_us(x->context, x->data, in))
        return 0;
    EXPRESS_STEP(interface)
    x->ports = parse_ports_word(express_word(x->data + EXPRESS_L4(v6)), protocol);
    hash = express_hash(v6, x);
    f = express_find(v6, x, hash, &ctl, &set);
    if (!f)
        return 0;
    EXPRESS_STEP(flow)
    if (flow_state(ctl) == FLB_FLOW_REPLY) /* the first one in a tick looks after the owner, too: the long way */
        return (__u32)ctl == x->now && express_to_client(v6, protocol, x, f, ctl, in);
    if (flow_state(ctl) != (protocol == IPPROTO_TCP ? FLB_FLOW_ESTABLISHED : FLB_FLOW_UDP_STREAM))
        return 0;
    if ((__u32)ctl != x->now && !express_tick(v6, x, f, set, &ctl))
        return 0;
    return express_to_backend(v6, protocol, x, f, ctl, hash, in);
}

FLB_INLINE int express_tcp(const int v6, struct express* x)
{
    const __u8* tcp = x->data + EXPRESS_L4(v6);
    __u32 header;

    if ((const void*)(tcp + sizeof(struct tcphdr)) > x->end)
        return 0;
    header = tcp[12] >> 2 & 0x3c;
    if (header < sizeof(struct tcphdr) || header + (EXPRESS_L4(v6) - EXPRESS_L3) > x->length ||
        (tcp[13] & EXPRESS_FLAGS))
        return 0;
    x->segment = hook_express_segment(x->context, x->length, EXPRESS_L4(v6) - EXPRESS_L3 + header);
    return express_flow(v6, IPPROTO_TCP, x);
}

FLB_INLINE int express_udp(const int v6, struct express* x)
{
    const __u32 length = swap16(((const __be16*)(x->data + EXPRESS_L4(v6)))[2]);

    if (length < sizeof(struct udphdr) || length + (EXPRESS_L4(v6) - EXPRESS_L3) > x->length)
        return 0;
    x->segment =
        hook_express_segment(x->context, x->length, EXPRESS_L4(v6) - EXPRESS_L3 + (__u32)sizeof(struct udphdr));
    return express_flow(v6, IPPROTO_UDP, x);
}

FLB_INLINE int express_pass(struct express* x)
{
    x->verdict = HOOK_PASS;
    return 1;
}

FLB_INLINE int express_ipv4(struct express* x)
{
    const __u32 whole = express_word(x->data + 20);

    if ((whole & EXPRESS_WHOLE) != swap32(IPPROTO_TCP) && (whole & EXPRESS_WHOLE) != swap32(IPPROTO_UDP))
        return 0;
    if (!may_be_ours(express_word(x->data + 26), express_word(x->data + 30)))
        return express_pass(x);
    x->length = swap16(*(const __be16*)(x->data + 16));
    if (!(whole & EXPRESS_TTL) || !hook_express_holds(x->context, x->data, x->end, EXPRESS_L3 + x->length))
        return 0;
    return (whole & EXPRESS_WHOLE) == swap32(IPPROTO_TCP) ? express_tcp(0, x) : express_udp(0, x);
}

FLB_INLINE int express_ipv6(struct express* x)
{
    const __u32 next = express_word(x->data + 18);
    const __u32* words = x->data + 22;

    if ((next & EXPRESS_NEXT6) != swap32(IPPROTO_TCP << 8) && (next & EXPRESS_NEXT6) != swap32(IPPROTO_UDP << 8))
        return 0;
    if (!may_be_ours(flb_fold_ipv6(words[0], words[1], words[2], words[3]),
            flb_fold_ipv6(words[4], words[5], words[6], words[7])))
        return express_pass(x);
    x->length = swap16((__u16)next) + sizeof(struct ipv6hdr);
    if (!(next & EXPRESS_TTL6) || !(__u16)next ||
        !hook_express_holds(x->context, x->data, x->end, EXPRESS_L3 + x->length))
        return 0;
    return (next & EXPRESS_NEXT6) == swap32(IPPROTO_TCP << 8) ? express_tcp(1, x) : express_udp(1, x);
}

/* True: the packet has its verdict. Otherwise nothing has happened but that a known flow was touched. */
FLB_INLINE int express_packet(struct express* x)
{
    if (x->data + EXPRESS_L4(0) + sizeof(struct udphdr) > x->end || !hook_express_ready(x->context))
        return 0;
    if ((express_word(x->data + 12) & EXPRESS_LINK) == EXPRESS_LINK_IPV4)
        return express_ipv4(x);
    return (express_word(x->data + 12) & EXPRESS_LINK6) == EXPRESS_LINK_IPV6 &&
           x->data + EXPRESS_L4(1) + sizeof(struct udphdr) <= x->end && express_ipv6(x);
}

FLB_INLINE int express(hook_context* context, int* verdict)
{
    struct express x = {.context = context, .data = hook_data(context), .end = hook_end(context)};
    int done = express_packet(&x);

    *verdict = x.verdict;
    return done;
}

#endif
