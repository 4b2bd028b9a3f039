/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * decap: what is in a tunnel packet (IPv4 or IPv6 in IPv4 or IPv6), and whether it may be taken out. Both hooks ask the
 * same; only the cutting differs. A packet is taken out if its outer destination is an address of this host, its outer
 * source is one of the networks that the operator named (if any), and its destination inside is a service address of
 * this host. All else is passed as it came. Congestion that the outer header reports is handed to the inner one
 * (RFC 6040, 4.2); a packet whose sender does not know of such reports, and that must therefore be lost, is dropped.
 */
#ifndef FEATHERLB_BPF_DECAP_H
#define FEATHERLB_BPF_DECAP_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "featherlb/decap.h"

#define DECAP_INLINE static __attribute__((always_inline)) inline

#define DECAP_GO_ON -1
#define DECAP_NOT_OURS -2 /* no tunnel packet for this host: nothing is counted */

#define DECAP_ETHERNET ((__u32)sizeof(struct ethhdr))
#define DECAP_HEADER_MASK 63 /* an outer header has 20 to 60 bytes */

#define ECN_MASK 3 /* the last bits of the type of service or traffic class */
#define ECN_ECT1 1
#define ECN_ECT0 2
#define ECN_CONGESTION 3

const volatile __u8 any_source = 1;

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 16384);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __type(key, struct flb_decap_key);
    __type(value, struct flb_decap_address);
} decap_addresses SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_LPM_TRIE);
    __uint(max_entries, 4096);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __type(key, struct flb_decap_source);
    __type(value, __u32);
} decap_sources SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 1024);
    __type(key, __u32);
    __type(value, struct flb_decap_interface);
} decap_interfaces SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct flb_decap_counts);
} decap_counters SEC(".maps");

struct decap_tunnel {
    __u32 header; /* bytes of the outer header */
    __u32 inner_v6;
    __u32 ecn; /* of the outer header */
};

DECAP_INLINE void decap_count(int counter)
{
    __u32 zero = 0;
    struct flb_decap_counts* counts = bpf_map_lookup_elem(&decap_counters, &zero);

    if (counts && counter >= 0 && counter < FLB_DECAP_COUNTER_COUNT)
        counts->packets[counter]++;
}

/* `address`: of IPv4 its four bytes, of IPv6 its sixteen. */
DECAP_INLINE struct flb_decap_address* decap_find(const void* address, const int v6)
{
    struct flb_decap_key key = {};

    key.family = v6 ? FLB_IPV6 : FLB_IPV4;
    __builtin_memcpy(&key.address, address, v6 ? 16 : 4);
    return bpf_map_lookup_elem(&decap_addresses, &key);
}

DECAP_INLINE int decap_source_allowed(const void* address, const int v6)
{
    struct flb_decap_source key = {};

    if (any_source)
        return 1;
    key.bits = 32 + (v6 ? 128 : 32);
    key.family = v6 ? FLB_IPV6 : FLB_IPV4;
    __builtin_memcpy(&key.address, address, v6 ? 16 : 4);
    return bpf_map_lookup_elem(&decap_sources, &key) != 0;
}

/* The outer header at `l3`. */
DECAP_INLINE int decap_outer(void* data, void* end, __u32 l3, const int v6, struct decap_tunnel* tunnel)
{
    struct flb_decap_address* here;
    const void *source, *destination;
    __u32 protocol, fragment = 0;

    if (v6) {
        struct ipv6hdr* ip = data + l3;

        if ((void*)(ip + 1) > end || ip->version != 6)
            return DECAP_NOT_OURS;
        protocol = ip->nexthdr;
        tunnel->header = sizeof(*ip);
        tunnel->ecn = bpf_ntohl(*(__be32*)ip) >> 20 & ECN_MASK;
        source = &ip->saddr;
        destination = &ip->daddr;
    } else {
        struct iphdr* ip = data + l3;

        if ((void*)(ip + 1) > end || ip->version != 4 || ip->ihl < 5)
            return DECAP_NOT_OURS;
        protocol = ip->protocol;
        tunnel->header = (__u32)ip->ihl * 4;
        tunnel->ecn = ip->tos & ECN_MASK;
        fragment = ip->frag_off & bpf_htons(0x3fff);
        source = &ip->saddr;
        destination = &ip->daddr;
    }
    if (protocol != IPPROTO_IPIP && protocol != IPPROTO_IPV6)
        return DECAP_NOT_OURS;
    tunnel->inner_v6 = protocol == IPPROTO_IPV6;
    here = decap_find(destination, v6);
    if (!here || !(here->roles & FLB_DECAP_OUTER))
        return DECAP_NOT_OURS;
    if (fragment)
        return FLB_DECAP_fragment;
    return decap_source_allowed(source, v6) ? DECAP_GO_ON : FLB_DECAP_foreign_source;
}

/* The inner packet's ECN field once the outer header, with `outer`, is gone; negative: it must be dropped. */
DECAP_INLINE int decap_ecn(__u32 outer, __u32 inner)
{
    if (outer == ECN_CONGESTION)
        return inner ? ECN_CONGESTION : -1;
    return outer == ECN_ECT1 && inner == ECN_ECT0 ? ECN_ECT1 : (int)inner;
}

DECAP_INLINE int decap_report4(struct iphdr* ip, __u32 outer)
{
    const int ecn = decap_ecn(outer, ip->tos & ECN_MASK);
    __u32 sum;

    if (ecn < 0)
        return FLB_DECAP_congestion;
    sum = (__u16)~ip->check + (__u16) ~*(__be16*)ip;
    ip->tos = (__u8)((ip->tos & ~ECN_MASK) | ecn);
    sum += *(__be16*)ip;
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    ip->check = (__u16)~sum;
    return DECAP_GO_ON;
}

DECAP_INLINE int decap_report6(struct ipv6hdr* ip, __u32 outer)
{
    const __u32 first = bpf_ntohl(*(__be32*)ip);
    const int ecn = decap_ecn(outer, first >> 20 & ECN_MASK);

    if (ecn < 0)
        return FLB_DECAP_congestion;
    *(__be32*)ip = bpf_htonl((first & ~(ECN_MASK << 20)) | (__u32)ecn << 20);
    return DECAP_GO_ON;
}

/* The header inside, at `l3`. A SYN leaves word of how much room its tunnel took. */
DECAP_INLINE int decap_inner(void* data, void* end, __u32 l3, const int v6, const struct decap_tunnel* tunnel)
{
    struct flb_decap_address* service;
    const void* destination;
    struct tcphdr* tcp;
    __u32 bytes;
    int is_tcp;

    if (v6) {
        struct ipv6hdr* ip = data + l3;

        if ((void*)(ip + 1) > end || ip->version != 6)
            return FLB_DECAP_malformed;
        bytes = sizeof(*ip);
        is_tcp = ip->nexthdr == IPPROTO_TCP;
        destination = &ip->daddr;
    } else {
        struct iphdr* ip = data + l3;

        if ((void*)(ip + 1) > end || ip->version != 4 || ip->ihl < 5)
            return FLB_DECAP_malformed;
        bytes = (__u32)ip->ihl * 4;
        is_tcp = ip->protocol == IPPROTO_TCP && !(ip->frag_off & bpf_htons(0x1fff));
        destination = &ip->daddr;
    }
    service = decap_find(destination, v6);
    if (!service || !(service->roles & FLB_DECAP_SERVICE))
        return FLB_DECAP_not_a_service;
    tcp = data + l3 + (bytes & DECAP_HEADER_MASK);
    if (is_tcp && (void*)(tcp + 1) <= end && tcp->syn && !tcp->ack && service->header < tunnel->header)
        service->header = tunnel->header;
    if (!tunnel->ecn)
        return DECAP_GO_ON;
    return v6 ? decap_report6(data + l3, tunnel->ecn) : decap_report4(data + l3, tunnel->ecn);
}

/* DECAP_GO_ON: the outer header at `l3` may be cut off. DECAP_NOT_OURS or a counter: the packet passes, but for
 * FLB_DECAP_congestion, which drops it. */
DECAP_INLINE int decap_judge(void* data, void* end, __u32 l3, const int v6, struct decap_tunnel* tunnel)
{
    int verdict = decap_outer(data, end, l3, v6, tunnel);

    if (verdict != DECAP_GO_ON)
        return verdict;
    l3 += tunnel->header & DECAP_HEADER_MASK;
    return tunnel->inner_v6 ? decap_inner(data, end, l3, 1, tunnel) : decap_inner(data, end, l3, 0, tunnel);
}

#endif
