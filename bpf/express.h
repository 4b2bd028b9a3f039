/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * express: the shortest way for the packets of which there are most: a whole IP packet without options or tags, of a
 * connection that is established, goes on and was seen in this tick, between hosts that are where they were. It
 * does what parse, follow, replay and tunnel do for such a packet, from registers: nothing between the first look and
 * the last store moves the packet, so that offsets are constants and no bound is checked twice. Whatever is not as
 * expected takes the long way (EXPRESS_OFF), which decides, tells and counts; nothing has changed by then.
 */
#ifndef FEATHERLB_EXPRESS_H
#define FEATHERLB_EXPRESS_H

#include "failover.h"
#include "follow.h"
#include "hook.h"
#include "parse.h"
#include "tunnel.h"

#define EXPRESS_OFF (-100) /* no verdict of a hook */
#define EXPRESS_L3 sizeof(struct ethhdr)
#define EXPRESS_L4(v6) (EXPRESS_L3 + ((v6) ? sizeof(struct ipv6hdr) : sizeof(struct iphdr)))
#define EXPRESS_FLAGS (TCP_SYN | TCP_FIN | TCP_RST)

#define HOP_MAC 0xffffffffffffULL /* of a hop's first word */
#define HOP_LINK_SHIFT 48

struct express {
    struct flow_key key;
    __u32 length;  /* of the IP packet */
    __u32 segment; /* largest that it becomes on the wire */
    __u8 protocol;
};

/* A hop without tags: where the frame came from. */
FLB_INLINE __u64 express_from(const void* data, __u32 ifindex)
{
    return (replay_word(data + ETH_ALEN) & HOP_MAC) | (__u64)(ifindex & FLB_LINK_SLOT) << HOP_LINK_SHIFT;
}

FLB_INLINE int express_is_tagged(__u64 hop)
{
    return (hop >> HOP_LINK_SHIFT & FLB_LINK_TAGS) != 0;
}

/* TCP or UDP at `l4`, of which eight bytes are there; `payload`: bytes of the IP packet from there on. */
FLB_INLINE int express_transport(const void* l4, const void* end, __u32 payload, struct express* x, __u32* header)
{
    if (x->protocol == IPPROTO_TCP) {
        const __u8* tcp = l4;

        if ((const void*)(tcp + sizeof(struct tcphdr)) > end)
            return EXPRESS_OFF;
        *header = (tcp[12] >> 4) * 4;
        return *header < sizeof(struct tcphdr) || *header > payload || (tcp[13] & EXPRESS_FLAGS) ? EXPRESS_OFF : 0;
    }
    *header = sizeof(struct udphdr);
    return swap16(((const __be16*)l4)[2]) < *header || swap16(((const __be16*)l4)[2]) > payload ? EXPRESS_OFF : 0;
}

/* The key, or STEP_PASS for what is not ours, as in parse.h. The headers are there, up to eight bytes of the
 * transport's. */
FLB_INLINE int express_parse(const int v6, hook_context* context, const void* data, const void* end, struct express* x)
{
    const void* l3 = data + EXPRESS_L3;
    const void* l4 = data + EXPRESS_L4(v6);
    __u32 header;
    int step;

    if (v6) {
        const struct ipv6hdr* ip = l3;
        const __u32* words = (const __u32*)&ip->saddr;

        x->protocol = ip->nexthdr;
        if (x->protocol != IPPROTO_TCP && x->protocol != IPPROTO_UDP)
            return EXPRESS_OFF;
        if (!may_be_ours(flb_fold_ipv6(words[0], words[1], words[2], words[3]),
                flb_fold_ipv6(words[4], words[5], words[6], words[7])))
            return STEP_PASS;
        if ((((const __u8*)ip)[0] >> 4) != 6 || ip->hop_limit <= 1 || !ip->payload_len)
            return EXPRESS_OFF;
        x->length = swap16(ip->payload_len) + sizeof(*ip);
        for (int i = 0; i < 4; i++)
            x->key.w[i + 1] = replay_word((const char*)&ip->saddr + i * 8);
    } else {
        const struct iphdr* ip = l3;

        x->protocol = ip->protocol;
        if (x->protocol != IPPROTO_TCP && x->protocol != IPPROTO_UDP)
            return EXPRESS_OFF;
        if (!may_be_ours(ip->saddr, ip->daddr))
            return STEP_PASS;
        if (((const __u8*)ip)[0] != 0x45 || ip->ttl <= 1 || (ip->frag_off & IP_FRAGMENT_BITS))
            return EXPRESS_OFF;
        x->length = swap16(ip->tot_len);
        x->key.w[0] = replay_word(&ip->saddr);
    }
    if (x->length < EXPRESS_L4(v6) - EXPRESS_L3 || x->length > hook_express_frame(context, data, end) - EXPRESS_L3)
        return EXPRESS_OFF;
    step = express_transport(l4, end, x->length - (EXPRESS_L4(v6) - EXPRESS_L3), x, &header);
    if (step)
        return step;
    x->key.w[v6 ? 0 : 1] = parse_ports_word(*(const __be32*)l4, x->protocol);
    x->segment = hook_express_segment(context, x->length, EXPRESS_L4(v6) - EXPRESS_L3 + header);
    return STEP_NEXT;
}

FLB_INLINE int express_drop(__u32 reason)
{
    count_drop(reason);
    return HOOK_DROP;
}

/* By a recipe, as hook_rewrite does it. `ports`: new ports and both deltas, as in struct flb_flow. */
FLB_INLINE int express_rewrite(const int v6, hook_context* context, const struct express* x, const __u64* addresses,
    __u64 ports, __u64 to, const struct flb_iface* out)
{
    const __u32 addresses_delta = ports >> 32 & 0xffff, ports_delta = (__u32)(ports >> 48);
    void* data;

    if (hook_correct_check(context, EXPRESS_L4(v6), x->protocol, addresses_delta, ports_delta, &data))
        return express_drop(FLB_DROP_rewrite_failed);
    replay_macs_of(data, to, out);
    replay_network_at(v6, data + EXPRESS_L3, addresses, addresses_delta);
    *(__u32*)(data + EXPRESS_L4(v6)) = (__u32)ports;
    return hook_send_straight(context, out);
}

/* To an `ipip` backend whose address is IPv6 if `outer6`, as tunnel.h does it. */
FLB_INLINE int express_tunnel(const int v6, const int outer6, hook_context* context, const struct express* x,
    __u64 hash, __u32 number, const struct flb_backend* backend, __u64 to, const struct flb_iface* out)
{
    const __u32 outer = outer6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);
    const __u8 protocol = v6 ? IPPROTO_IPV6 : IPPROTO_IPIP;
    struct ethhdr* eth = hook_data(context);
    __u64 source[2];
    __u32 service;

    if (tunnel_source(outer6, backend, hash, source))
        return EXPRESS_OFF;
    if ((void*)eth + EXPRESS_L4(0) > hook_end(context))
        return EXPRESS_OFF;
    service = v6 ? swap32(*(__be32*)(eth + 1)) >> 20 & 0xff : ((__u8*)(eth + 1))[1];
    if (hook_express_grow(context, outer))
        return EXPRESS_OFF;
    count_packet(number, FROM_CLIENT, x->length);
    eth = hook_data(context);
    if ((void*)eth + EXPRESS_L4(v6) + outer > hook_end(context))
        return express_drop(FLB_DROP_rewrite_failed);
    replay_macs_of(eth, to, out);
    eth->h_proto = outer6 ? swap16(ETH_P_IPV6) : swap16(ETH_P_IP);
    replay_ttl_at(v6, (void*)(eth + 1) + outer);
    if (outer6)
        tunnel_header6(eth + 1, x->length, service, protocol, source, hash, &backend->address);
    else
        tunnel_header4(eth + 1, x->length, service, protocol, (__be32)source[0], *(const __be32*)&backend->address);
    return hook_send(context, out);
}

/* To a `dsr` or `ipip` backend, as one_way.h does it. */
FLB_INLINE int express_one_way(const int v6, hook_context* context, const struct express* x, __u64 hash, __u32 number,
    const struct flb_backend* backend, __u64 to, const struct flb_iface* out)
{
    void* data = hook_data(context);

    if (x->segment + tunnel_bytes(backend->flags) > backend->mtu ||
        x->segment + tunnel_bytes(backend->flags) > out->mtu)
        return EXPRESS_OFF;
    if (backend->flags & FLB_BACKEND_IPIP)
        return backend->flags & FLB_BACKEND_IPV6 ? express_tunnel(v6, 1, context, x, hash, number, backend, to, out)
                                                 : express_tunnel(v6, 0, context, x, hash, number, backend, to, out);
    if (data + EXPRESS_L4(v6) > hook_end(context))
        return EXPRESS_OFF;
    count_packet(number, FROM_CLIENT, x->length);
    replay_macs_of(data, to, out);
    replay_ttl_at(v6, data + EXPRESS_L3);
    return hook_send_straight(context, out);
}

/* From a host at `from`, by the interface `out`. */
FLB_INLINE int express_flow(
    const int v6, hook_context* context, const struct express* x, __u64 from, struct flb_iface* out)
{
    const __u64 hash = flow_hash(v6, &x->key);
    struct flb_backend* backend;
    __u64 addresses[4], ports, to;
    struct flow_ref ref;
    __u32 state, number, slot, direction = FROM_BACKEND;
    int one_way = 0;

    if (!flow_find_hashed(v6, &x->key, hash, &ref) || (__u32)ref.ctl != flow_now())
        return EXPRESS_OFF;
    for (int i = 0; i < FLOW_ADDRESS_WORDS(v6); i++)
        addresses[i] = atomic_load(&flow_words(ref.f)[FLOW_KEY_WORDS(v6) + i]);
    ports = atomic_load_word(&ref.f->sport);
    number = atomic_load(&ref.f->backend);
    to = atomic_load_word(&ref.f->hop);
    atomic_order_loads(flow_load()->weak_memory);
    if (atomic_load(&ref.f->ctl) != ref.ctl) /* torn, perhaps: see flow_is_whole */
        return EXPRESS_OFF;
    state = flow_state(ref.ctl);
    if (state == FLB_FLOW_ESTABLISHED || state == FLB_FLOW_UDP_STREAM) {
        direction = FROM_CLIENT;
        if (to != from)
            return EXPRESS_OFF;
        slot = number; /* on the stack: Linux 6.1 takes no key from other memory */
        backend = bpf_map_lookup_elem(&backends, &slot);
        if (!backend || (backend->flags & FAILOVER_FLAGS) != FLB_BACKEND_VALID)
            return EXPRESS_OFF;
        to = atomic_load_word(&backend->hop);
        one_way = (backend->flags & FLB_BACKEND_ONE_WAY) != 0;
        if (!to || (!one_way && x->segment > backend->mtu))
            return EXPRESS_OFF;
    } else if (state != FLB_FLOW_REPLY) {
        return EXPRESS_OFF;
    }
    if ((to ^ from) >> HOP_LINK_SHIFT) { /* one-armed, it leaves by where it came in */
        slot = to >> HOP_LINK_SHIFT & FLB_LINK_SLOT;
        out = bpf_map_lookup_elem(&ifaces, &slot);
        if (!out || express_is_tagged(to))
            return EXPRESS_OFF;
    }
    if (!out->ifindex)
        return EXPRESS_OFF;
    if (one_way)
        return express_one_way(v6, context, x, hash, number, backend, to, out);
    if (x->segment > out->mtu)
        return EXPRESS_OFF;
    count_packet(number, direction, x->length);
    return express_rewrite(v6, context, x, addresses, ports, to, out);
}

FLB_INLINE int express_ip(const int v6, hook_context* context, const void* data, const void* end)
{
    const __u32 ifindex = context->ingress_ifindex;
    struct flb_iface* in;
    struct express x;
    __u32 slot;
    int step;

    if (data + EXPRESS_L4(v6) + sizeof(struct udphdr) > end)
        return EXPRESS_OFF;
    step = express_parse(v6, context, data, end, &x);
    if (step)
        return step == STEP_PASS ? HOOK_PASS : EXPRESS_OFF;
    slot = ifindex & FLB_LINK_SLOT;
    in = bpf_map_lookup_elem(&ifaces, &slot);
    if (!in || !hook_express_is_for_us(context, data, in))
        return EXPRESS_OFF;
    return express_flow(v6, context, &x, express_from(data, ifindex), in);
}

/* A verdict, or EXPRESS_OFF: nothing has happened yet. */
static __attribute__((noinline)) int express(hook_context* context)
{
    const struct ethhdr* eth = hook_data(context);
    const void* end = hook_end(context);

    if ((const void*)(eth + 1) > end || !hook_express_ready(context))
        return EXPRESS_OFF;
    if (eth->h_proto == swap16(ETH_P_IP))
        return express_ip(0, context, eth, end);
    return eth->h_proto == swap16(ETH_P_IPV6) ? express_ip(1, context, eth, end) : EXPRESS_OFF;
}

#endif
