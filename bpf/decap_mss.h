/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * mss: on TC egress, the MSS that a SYN-ACK offers is lowered to what arrives here with the outer header around it.
 * Only SYN-ACKs from a service address for which a SYN came through a tunnel are touched. The checksum may be partial,
 * so only bpf_l4_csum_replace changes it.
 */
#ifndef FEATHERLB_DECAP_MSS_H
#define FEATHERLB_DECAP_MSS_H

#include "decap.h"

#define MSS_OPTION_END 0
#define MSS_OPTION_NOTHING 1
#define MSS_OPTION 2
#define MSS_OPTION_BYTES 4
#define MSS_MOST_OPTIONS 40 /* of one byte each */
#define MSS_LEAST 88        /* what Linux itself never goes below (tcp_min_snd_mss + 40) */

struct mss_search {
    struct __sk_buff* skb;
    __u32 at;    /* the option that is looked at */
    __u32 end;   /* of the TCP header */
    __u32 found; /* where the value of the MSS option is; 0: nowhere yet */
};

/* One option; 1 ends the search. For bpf_loop: as an ordinary loop it takes the verifier too many steps. */
static long mss_look(__u32 index, void* data)
{
    struct mss_search* search = data;
    __u8 option[2];

    if (search->at + MSS_OPTION_BYTES > search->end ||
        bpf_skb_load_bytes(search->skb, search->at, option, sizeof(option)))
        return 1;
    if (option[0] == MSS_OPTION_NOTHING) {
        search->at++;
        return 0;
    }
    if (option[0] == MSS_OPTION && option[1] == MSS_OPTION_BYTES)
        search->found = search->at + 2;
    if (option[0] == MSS_OPTION || option[0] == MSS_OPTION_END || option[1] < 2)
        return 1;
    search->at += option[1];
    return 0;
}

DECAP_INLINE int mss_lower(struct __sk_buff* skb, __u32 l4, __u32 tcp_bytes, __u32 limit)
{
    struct mss_search search = {.skb = skb, .at = l4 + sizeof(struct tcphdr), .end = l4 + tcp_bytes};
    __u32 at, check = l4 + offsetof(struct tcphdr, check);
    __be16 old = 0, lower = bpf_htons((__u16)limit);
    int odd;

    bpf_loop(MSS_MOST_OPTIONS, mss_look, &search, 0);
    at = search.found;
    odd = (at - l4) & 1; /* a word at an odd place counts with its bytes swapped */
    if (!at || bpf_skb_load_bytes(skb, at, &old, sizeof(old)) || bpf_ntohs(old) <= limit)
        return 0;
    if (bpf_skb_store_bytes(skb, at, &lower, sizeof(lower), 0))
        return 0;
    if (bpf_l4_csum_replace(
            skb, check, odd ? __builtin_bswap16(old) : old, odd ? __builtin_bswap16(lower) : lower, sizeof(old))) {
        bpf_skb_store_bytes(skb, at, &old, sizeof(old), 0); /* all or nothing */
        return 0;
    }
    return 1;
}

/* The most that one segment may carry to a service address, 0 where tunnels have nothing to do with it. */
DECAP_INLINE __u32 mss_limit(struct __sk_buff* skb, const void* source, const int v6)
{
    __u32 ifindex = skb->ifindex;
    const struct flb_decap_address* service = decap_find(source, v6);
    const struct flb_decap_interface* out = bpf_map_lookup_elem(&decap_interfaces, &ifindex);
    __u32 headers;

    if (!service || !service->header || !out)
        return 0;
    headers = service->header + (v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr)) + sizeof(struct tcphdr);
    return out->mtu > headers + MSS_LEAST ? out->mtu - headers : MSS_LEAST;
}

/* True if the packet was changed. */
DECAP_INLINE int mss_clamp(struct __sk_buff* skb)
{
    const int v6 = skb->protocol == bpf_htons(ETH_P_IPV6);
    __u32 l4 = DECAP_ETHERNET + sizeof(struct ipv6hdr), limit;
    __u8 address[16];
    struct tcphdr tcp;

    if (v6) {
        struct ipv6hdr ip;

        if (bpf_skb_load_bytes(skb, DECAP_ETHERNET, &ip, sizeof(ip)) || ip.nexthdr != IPPROTO_TCP)
            return 0;
        __builtin_memcpy(address, &ip.saddr, sizeof(ip.saddr));
    } else {
        struct iphdr ip;

        if (skb->protocol != bpf_htons(ETH_P_IP) || bpf_skb_load_bytes(skb, DECAP_ETHERNET, &ip, sizeof(ip)) ||
            ip.protocol != IPPROTO_TCP || ip.frag_off & bpf_htons(0x1fff))
            return 0;
        l4 = DECAP_ETHERNET + (__u32)ip.ihl * 4;
        __builtin_memcpy(address, &ip.saddr, sizeof(ip.saddr));
    }
    if (bpf_skb_load_bytes(skb, l4, &tcp, sizeof(tcp)) || !tcp.syn || !tcp.ack)
        return 0;
    limit = v6 ? mss_limit(skb, address, 1) : mss_limit(skb, address, 0);
    return limit && mss_lower(skb, l4, (__u32)tcp.doff * 4, limit);
}

#endif
