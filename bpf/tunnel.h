/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * tunnel: `ipip`: the client's packet, unchanged but for its TTL, goes to the backend behind an outer IP header of the
 * backend's IP version (RFC 2003, RFC 2473, RFC 4213). The outer header has the inner one's type of service or traffic
 * class, ECN included (RFC 6040, normal mode), a TTL of its own, and is never fragmented. Its source, and the
 * flow label of IPv6, vary with the flow, so that the backend's network card spreads flows over its queues.
 */
#ifndef FEATHERLB_TUNNEL_H
#define FEATHERLB_TUNNEL_H

#include "affinity.h"
#include "hook.h"
#include "reset.h"

#define TUNNEL_TTL 64
#define TUNNEL_LABEL 0xfffff

/* Bytes of the outer header of packets to a backend with these flags. */
FLB_INLINE __u32 tunnel_bytes(__u32 flags)
{
    if (!(flags & FLB_BACKEND_IPIP))
        return 0;
    return flags & FLB_BACKEND_IPV6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);
}

/* The inner header on its way into the tunnel, as through a router: one TTL less. Gives its class of service. */
FLB_INLINE int tunnel_inner(__u32 v6, void* header, void* end, __u32* service)
{
    if (v6) {
        struct ipv6hdr* ip = header;

        if ((void*)(ip + 1) > end)
            return FLB_DROP_rewrite_failed;
        *service = swap32(*(__be32*)ip) >> 20 & 0xff;
        return replay_ttl(1, header, end);
    } else {
        struct iphdr* ip = header;

        if ((void*)(ip + 1) > end)
            return FLB_DROP_rewrite_failed;
        *service = ip->tos;
        return replay_ttl(0, header, end);
    }
}

/* The outer source: one of the backend's pool, by the flow's hash, its free bits filled from it. */
FLB_INLINE int tunnel_source(const int outer6, const struct flb_backend* backend, __u64 hash, __u64* source)
{
    __u64 pool = atomic_load_word(&backend->snat_first); /* first and count, written by one store */
    __u32 index = (__u32)pool + (__u32)((hash & 0xffffffff) * (pool >> 32) >> 32);
    const struct flb_snat_address* from = bpf_map_lookup_elem(&snat_addresses, &index);
    const __u64* words;
    __u32 bits;
    __u64 fixed;

    if (!from || !(pool >> 32))
        return FLB_DROP_backend_unresolved;
    words = (const __u64*)&from->address;
    bits = from->bits ? from->bits : 128;
    source[0] = words[0];
    source[1] = words[1];
    if (outer6) { /* at most the last 64 bits */
        fixed = affinity_mask(bits > 64 ? bits - 64 : 0);
        source[1] = (source[1] & fixed) | (hash & ~fixed);
    } else {
        fixed = affinity_mask(bits);
        source[0] = (source[0] & fixed) | (hash >> 32 & ~fixed & 0xffffffff);
    }
    return STEP_NEXT;
}

/* An outer header of IPv4 before `bytes` of packet, 64 KiB and more are a GSO packet; its segments get their lengths
 * when they are cut. Its checksum is summed up from what goes in. */
FLB_INLINE void tunnel_header4(void* header, __u32 bytes, __u32 service, __u8 protocol, __be32 source, __be32 to)
{
    const __u32 total = bytes + sizeof(struct iphdr);
    const __be16 first = swap16((__u16)(0x4500 | service));
    const __be16 length = total > 0xffff ? 0 : swap16((__u16)total);
    const __be16 fragment = swap16(0x4000); /* don't fragment */
    const __u16 life = (__u16)(TUNNEL_TTL | protocol << 8);
    __u64 sum = (__u64)first + length + fragment + life + source + to;
    struct iphdr* ip = header;

    *(__be16*)ip = first;
    ip->tot_len = length;
    ip->id = 0;
    ip->frag_off = fragment;
    *(__u16*)&ip->ttl = life;
    ip->check = (__u16)~fold16(sum);
    ip->saddr = source;
    ip->daddr = to;
}

FLB_INLINE void tunnel_header6(void* header, __u32 bytes, __u32 service, __u8 protocol, const __u64* source, __u64 hash,
    const struct flb_addr* address)
{
    const __u32* to = (const __u32*)address;
    struct ipv6hdr* ip = header;
    __u32* words = (__u32*)&ip->saddr;

    *(__be32*)ip = swap32(6u << 28 | service << 20 | ((__u32)(hash >> 12) & TUNNEL_LABEL));
    ip->payload_len = bytes > 0xffff ? 0 : swap16((__u16)bytes);
    ip->nexthdr = protocol;
    ip->hop_limit = TUNNEL_TTL;
    words[0] = (__u32)source[0];
    words[1] = (__u32)(source[0] >> 32);
    words[2] = (__u32)source[1];
    words[3] = (__u32)(source[1] >> 32);
    for (int i = 0; i < 4; i++)
        words[4 + i] = to[i];
}

/* The outer header. */
FLB_INLINE int tunnel_outer(const int outer6, hook_context* context, const struct packet* p,
    const struct flb_backend* backend, const __u64* source, __u64 hash, __u32 service, __u32 v6)
{
    void* header = hook_data(context) + bounded(p->l3, L3_MASK);
    void* end = hook_end(context);
    const __u32* to = (const __u32*)&backend->address;
    __u8 protocol = v6 ? IPPROTO_IPV6 : IPPROTO_IPIP;

    if (outer6) {
        if (header + sizeof(struct ipv6hdr) > end)
            return FLB_DROP_rewrite_failed;
        tunnel_header6(header, p->length, service, protocol, source, hash, &backend->address);
    } else {
        if (header + sizeof(struct iphdr) > end)
            return FLB_DROP_rewrite_failed;
        tunnel_header4(header, p->length, service, protocol, (__be32)source[0], to[0]);
    }
    return STEP_NEXT;
}

/* Encapsulates p, of IP version 6 if `v6`, for a backend whose address is IPv6 if `outer6`. */
FLB_INLINE int tunnel(const int outer6, hook_context* context, struct packet* p, __u32 number, __u32 v6)
{
    struct flb_backend* backend = bpf_map_lookup_elem(&backends, &number);
    struct flb_hop to __attribute__((aligned(8)));
    struct flb_iface* out;
    __u64 hash, source[2];
    __u32 slot, service = 0;
    int step;

    if (!backend)
        return FLB_DROP_not_configured;
    *(__u64*)&to = atomic_load_word(&backend->hop);
    *(__u32*)to.vlan = atomic_load((__u32*)backend->hop.vlan);
    slot = to.link & FLB_LINK_SLOT;
    out = bpf_map_lookup_elem(&ifaces, &slot);
    if (!out || !*(__u64*)&to || !out->ifindex) /* it has changed since one_way.h looked */
        return FLB_DROP_backend_unresolved;
    hash = v6 ? flow_hash(1, &p->key) : flow_hash(0, &p->key);
    step = tunnel_source(outer6, backend, hash, source);
    if (step)
        return step;
    step = tunnel_inner(v6, hook_data(context) + bounded(p->l3, L3_MASK), hook_end(context), &service);
    if (step)
        return step;
    step = hook_encapsulate(context, p, &to, out, outer6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr),
        outer6 ? swap16(ETH_P_IPV6) : swap16(ETH_P_IP));
    if (step)
        return step;
    return tunnel_outer(outer6, context, p, backend, source, hash, service, v6);
}

__attribute__((noinline)) int tunnel4(hook_context* context, struct packet* p, __u32 number, __u32 v6)
{
    return p ? tunnel(0, context, p, number, v6) : FLB_DROP_not_configured;
}

__attribute__((noinline)) int tunnel6(hook_context* context, struct packet* p, __u32 number, __u32 v6)
{
    return p ? tunnel(1, context, p, number, v6) : FLB_DROP_not_configured;
}

#endif
