/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Health checks of `dsr` and `ipip` services take the way that the clients' packets take. The daemon's socket talks to
 * the backend's own address, so that the kernel routes it and finds its MAC; on TC egress a packet with the mark of
 * such a check is readdressed to the service address, and in `ipip` gets an outer header. The backend answers from the
 * service address; on TC ingress, behind the balancer's own program, that becomes its own again, before the stack would
 * find one of its own addresses as the source. Where service and backend differ in IP version (`ipip`), the header is
 * made anew in between, so that the packet in the tunnel is what a client's would be.
 */
#include <stddef.h>

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "featherlb/probe.h"

#define PROBE_INLINE static __attribute__((always_inline)) inline

#define PROBE_L3 ((__u32)sizeof(struct ethhdr))
#define PROBE_TTL 64 /* of the outer header; the daemon's sockets set that of the packet inside */

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 65536);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __type(key, __u32);
    __type(value, struct flb_probe);
} probes SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_LRU_HASH);
    __uint(max_entries, 65536);
    __type(key, struct flb_probe_way);
    __type(value, struct flb_probe_origin);
} probe_ways SEC(".maps");

/* Both addresses of a packet. */
struct probe_pair {
    struct flb_addr source;
    struct flb_addr destination;
};

struct probe_packet {
    struct probe_pair addresses;
    __be16 ports[2];
    __u32 l4;
    int v6;
};

PROBE_INLINE int probe_parse(struct __sk_buff* skb, struct probe_packet* p)
{
    if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
        struct ipv6hdr ip;

        if (bpf_skb_load_bytes(skb, PROBE_L3, &ip, sizeof(ip)) || ip.nexthdr != IPPROTO_TCP)
            return 0;
        __builtin_memcpy(&p->addresses.source, &ip.saddr, sizeof(p->addresses.source));
        __builtin_memcpy(&p->addresses.destination, &ip.daddr, sizeof(p->addresses.destination));
        p->l4 = PROBE_L3 + sizeof(ip);
        p->v6 = 1;
    } else {
        struct iphdr ip;

        if (skb->protocol != bpf_htons(ETH_P_IP) || bpf_skb_load_bytes(skb, PROBE_L3, &ip, sizeof(ip)) ||
            ip.protocol != IPPROTO_TCP || ip.frag_off & bpf_htons(0x3fff))
            return 0;
        __builtin_memcpy(&p->addresses.source, &ip.saddr, sizeof(ip.saddr));
        __builtin_memcpy(&p->addresses.destination, &ip.daddr, sizeof(ip.daddr));
        p->l4 = PROBE_L3 + (__u32)ip.ihl * 4;
        p->v6 = 0;
    }
    return bpf_skb_load_bytes(skb, p->l4, p->ports, sizeof(p->ports)) == 0;
}

PROBE_INLINE int probe_same(const struct flb_addr* a, const struct flb_addr* b)
{
    return __builtin_memcmp(a, b, sizeof(*a)) == 0;
}

/* One of the two addresses becomes another. Of IPv6 the kernel's sum over a received packet has to follow the address,
 * for bpf_l4_csum_replace counts on an IPv4 header, whose sum stays the same. */
PROBE_INLINE int probe_readdress(struct __sk_buff* skb, const struct probe_packet* p, __u32 at4, __u32 at6,
    struct flb_addr* old, struct flb_addr* new)
{
    const __u32 at = PROBE_L3 + (p->v6 ? at6 : at4);
    __s64 delta = p->v6 ? bpf_csum_diff((__be32*)old, 16, (__be32*)new, 16, 0)
                        : bpf_csum_diff((__be32*)old, 4, (__be32*)new, 4, 0);

    if (delta < 0 ||
        bpf_l4_csum_replace(skb, p->l4 + offsetof(struct tcphdr, check), 0, (__u64)delta, BPF_F_PSEUDO_HDR))
        return -1;
    if (p->v6)
        return bpf_skb_store_bytes(skb, at, new, 16, BPF_F_RECOMPUTE_CSUM);
    if (bpf_l3_csum_replace(skb, PROBE_L3 + offsetof(struct iphdr, check), 0, (__u64)delta, 0))
        return -1;
    return bpf_skb_store_bytes(skb, at, new, 4, 0);
}

PROBE_INLINE void probe_header4(struct iphdr* ip, const struct flb_addr* source, const struct flb_addr* destination,
    __u32 payload, __u8 ttl, __u8 protocol)
{
    __s64 sum;

    __builtin_memset(ip, 0, sizeof(*ip));
    ip->version = 4;
    ip->ihl = 5;
    ip->tot_len = bpf_htons((__u16)(sizeof(*ip) + payload));
    ip->frag_off = bpf_htons(0x4000);
    ip->ttl = ttl;
    ip->protocol = protocol;
    __builtin_memcpy(&ip->saddr, source, sizeof(ip->saddr));
    __builtin_memcpy(&ip->daddr, destination, sizeof(ip->daddr));
    sum = bpf_csum_diff(0, 0, (__be32*)ip, sizeof(*ip), 0);
    sum = (sum & 0xffff) + (sum >> 16 & 0xffff);
    ip->check = (__u16) ~((sum & 0xffff) + (sum >> 16));
}

PROBE_INLINE void probe_header6(struct ipv6hdr* ip, const struct flb_addr* source, const struct flb_addr* destination,
    __u32 payload, __u8 ttl, __u8 protocol)
{
    __builtin_memset(ip, 0, sizeof(*ip));
    ip->version = 6;
    ip->payload_len = bpf_htons((__u16)payload);
    ip->nexthdr = protocol;
    ip->hop_limit = ttl;
    __builtin_memcpy(&ip->saddr, source, sizeof(ip->saddr));
    __builtin_memcpy(&ip->daddr, destination, sizeof(ip->daddr));
}

PROBE_INLINE int probe_set_protocol(struct __sk_buff* skb, int v6)
{
    const __be16 protocol = v6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP);

    return (int)bpf_skb_store_bytes(skb, offsetof(struct ethhdr, h_proto), &protocol, sizeof(protocol), 0);
}

/* A header of the other IP version with these addresses. The transport's sum knows no more of the header than the
 * addresses, and the length and protocol, which stay. The new header is stored over what the kernel made room with or
 * left, and the kernel's sum over a received packet follows it. */
PROBE_INLINE int probe_translate(struct __sk_buff* skb, const struct probe_packet* p, struct probe_pair* to)
{
    struct probe_pair from = p->addresses;
    __s64 delta = bpf_csum_diff((__be32*)&from, sizeof(from), (__be32*)to, sizeof(*to), 0);
    __u32 payload = skb->len - p->l4;
    __u32 header = p->v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);
    __u8 ttl;

    if (p->l4 != PROBE_L3 + header || delta < 0)
        return -1;
    if (bpf_skb_load_bytes(
            skb, PROBE_L3 + (p->v6 ? offsetof(struct ipv6hdr, hop_limit) : offsetof(struct iphdr, ttl)), &ttl, 1) ||
        bpf_l4_csum_replace(skb, p->l4 + offsetof(struct tcphdr, check), 0, (__u64)delta, BPF_F_PSEUDO_HDR) ||
        bpf_skb_change_proto(skb, p->v6 ? bpf_htons(ETH_P_IP) : bpf_htons(ETH_P_IPV6), 0) ||
        probe_set_protocol(skb, !p->v6))
        return -1;
    if (p->v6) {
        struct iphdr ip;

        probe_header4(&ip, &to->source, &to->destination, payload, ttl, IPPROTO_TCP);
        return (int)bpf_skb_store_bytes(skb, PROBE_L3, &ip, sizeof(ip), BPF_F_RECOMPUTE_CSUM);
    } else {
        struct ipv6hdr ip;

        probe_header6(&ip, &to->source, &to->destination, payload, ttl, IPPROTO_TCP);
        return (int)bpf_skb_store_bytes(skb, PROBE_L3, &ip, sizeof(ip), BPF_F_RECOMPUTE_CSUM);
    }
}

PROBE_INLINE int probe_wrap4(struct __sk_buff* skb, const struct probe_packet* p, const struct flb_probe* probe)
{
    struct iphdr outer;
    __u64 flags = BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 | BPF_F_ADJ_ROOM_FIXED_GSO;

    probe_header4(&outer, &p->addresses.source, &probe->backend, skb->len - PROBE_L3, PROBE_TTL,
        probe->family == FLB_IPV6 ? IPPROTO_IPV6 : IPPROTO_IPIP);
    if (bpf_skb_adjust_room(skb, sizeof(outer), BPF_ADJ_ROOM_MAC, flags))
        return -1;
    return bpf_skb_store_bytes(skb, PROBE_L3, &outer, sizeof(outer), 0) || probe_set_protocol(skb, p->v6);
}

PROBE_INLINE int probe_wrap6(struct __sk_buff* skb, const struct probe_packet* p, const struct flb_probe* probe)
{
    struct ipv6hdr outer;
    __u64 flags = BPF_F_ADJ_ROOM_ENCAP_L3_IPV6 | BPF_F_ADJ_ROOM_FIXED_GSO;

    probe_header6(&outer, &p->addresses.source, &probe->backend, skb->len - PROBE_L3, PROBE_TTL,
        probe->family == FLB_IPV6 ? IPPROTO_IPV6 : IPPROTO_IPIP);
    if (bpf_skb_adjust_room(skb, sizeof(outer), BPF_ADJ_ROOM_MAC, flags))
        return -1;
    return bpf_skb_store_bytes(skb, PROBE_L3, &outer, sizeof(outer), 0) || probe_set_protocol(skb, p->v6);
}

/* What cannot be readdressed is dropped: it would ask another question than the one that the check answers. */
SEC("tc")
int flb_probe_out(struct __sk_buff* skb)
{
    __u32 mark = skb->mark;
    struct flb_probe* known;
    struct flb_probe_origin origin = {};
    struct flb_probe_way way = {};
    struct flb_probe probe;
    struct probe_packet p = {};
    struct probe_pair to;
    int failed;

    if ((mark & FLB_PROBE_MARK_MASK) != FLB_PROBE_MARK || !probe_parse(skb, &p))
        return TC_ACT_UNSPEC;
    known = bpf_map_lookup_elem(&probes, &mark);
    if (!known || known->backend_family != (p.v6 ? FLB_IPV6 : FLB_IPV4))
        return TC_ACT_UNSPEC;
    probe = *known;
    if (!probe_same(&p.addresses.destination, &probe.backend))
        return TC_ACT_UNSPEC;
    origin.backend = probe.backend;
    origin.own = p.addresses.source;
    origin.family = probe.backend_family;
    to.source = probe.family == probe.backend_family ? p.addresses.source : probe.own;
    to.destination = probe.service;
    way.own = to.source;
    way.service = probe.service;
    way.own_port = p.ports[0];
    way.service_port = p.ports[1];
    way.family = probe.family;
    if (bpf_map_update_elem(&probe_ways, &way, &origin, BPF_ANY))
        return TC_ACT_SHOT;
    if (probe.family == probe.backend_family)
        failed = probe_readdress(
            skb, &p, offsetof(struct iphdr, daddr), offsetof(struct ipv6hdr, daddr), &probe.backend, &probe.service);
    else
        failed = probe_translate(skb, &p, &to);
    if (failed || (probe.tunnel && (p.v6 ? probe_wrap6(skb, &p, &probe) : probe_wrap4(skb, &p, &probe))))
        return TC_ACT_SHOT;
    skb->mark = 0; /* a device below this one must not do it again */
    return TC_ACT_UNSPEC;
}

SEC("tc")
int flb_probe_in(struct __sk_buff* skb)
{
    struct flb_probe_way way = {};
    struct flb_probe_origin *known, origin;
    struct probe_packet p = {};
    struct probe_pair to;
    int failed;

    if (!probe_parse(skb, &p))
        return TC_ACT_UNSPEC;
    way.own = p.addresses.destination;
    way.service = p.addresses.source;
    way.own_port = p.ports[1];
    way.service_port = p.ports[0];
    way.family = p.v6 ? FLB_IPV6 : FLB_IPV4;
    known = bpf_map_lookup_elem(&probe_ways, &way);
    if (!known)
        return TC_ACT_UNSPEC;
    origin = *known;
    to.source = origin.backend;
    to.destination = origin.own;
    if (origin.family == way.family)
        failed = probe_readdress(skb, &p, offsetof(struct iphdr, saddr), offsetof(struct ipv6hdr, saddr),
            &p.addresses.source, &origin.backend);
    else
        failed = probe_translate(skb, &p, &to);
    return failed ? TC_ACT_SHOT : TC_ACT_UNSPEC;
}

char LICENSE[] SEC("license") = "GPL";
