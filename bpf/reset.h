/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * reset: turns a segment into the RST that answers it (RFC 9293, 3.10.7.1), in place, and sends it back where
 * it came from: seq is its ack; without ACK, as for a SYN, seq is 0 and what it occupies is acknowledged. Headers with
 * options or extensions are not answered, only dropped.
 */
#ifndef FEATHERLB_RESET_H
#define FEATHERLB_RESET_H

#include "hook.h"

#define RESET_TTL 64

/* One's complement sum of a header's 16-bit words. */
FLB_INLINE __u32 reset_sum(const __u16* words, const int count)
{
    __u32 sum = 0;

#pragma unroll
    for (int i = 0; i < count; i++)
        sum += words[i];
    return sum;
}

/* Swaps the addresses and gives their sum; IPv4's header is made anew. */
FLB_INLINE int reset_network(const int v6, void* header, void* end, __u32* sum)
{
    if (v6) {
        struct ipv6hdr* ip = header;
        struct in6_addr address;

        if ((void*)(ip + 1) > end)
            return FLB_DROP_rewrite_failed;
        ip->payload_len = swap16(sizeof(struct tcphdr));
        ip->hop_limit = RESET_TTL;
        address = ip->saddr;
        ip->saddr = ip->daddr;
        ip->daddr = address;
        *sum = reset_sum((__u16*)&ip->saddr, 16);
    } else {
        struct iphdr* ip = header;
        __be32 address;

        if ((void*)(ip + 1) > end)
            return FLB_DROP_rewrite_failed;
        ip->tot_len = swap16(sizeof(*ip) + sizeof(struct tcphdr));
        ip->id = 0;
        ip->frag_off = swap16(0x4000); /* don't fragment */
        ip->ttl = RESET_TTL;
        ip->check = 0;
        address = ip->saddr;
        ip->saddr = ip->daddr;
        ip->daddr = address;
        ip->check = (__u16)~fold16(reset_sum((__u16*)ip, 10));
        *sum = reset_sum((__u16*)&ip->saddr, 4);
    }
    return STEP_NEXT;
}

/* Sequence numbers that a segment occupies. */
FLB_INLINE __u32 reset_occupied(const struct packet* p)
{
    return p->length - (p->l4 - p->l3) - p->transport + !!(p->tcp_flags & TCP_SYN) + !!(p->tcp_flags & TCP_FIN);
}

FLB_INLINE int reset_segment(const int v6, hook_context* context, struct packet* p, __u32 reason)
{
    const __u32 network_bytes = v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);
    __u32 old_bytes = p->length - network_bytes;
    __u32 sum;
    void *data, *end;
    struct ethhdr* eth;
    struct tcphdr* tcp;
    __u8 mac[ETH_ALEN];
    __be16 port;
    int step;

    if (p->l4 - p->l3 != network_bytes || (p->tcp_flags & TCP_RST))
        return (int)reason;
    step = hook_cut(context, p, p->l4 + sizeof(*tcp));
    if (step)
        return step;
    data = hook_data(context);
    end = hook_end(context);
    eth = data;
    if ((void*)(eth + 1) > end)
        return FLB_DROP_rewrite_failed;
    __builtin_memcpy(mac, eth->h_source, ETH_ALEN);
    __builtin_memcpy(eth->h_source, eth->h_dest, ETH_ALEN);
    __builtin_memcpy(eth->h_dest, mac, ETH_ALEN);
    step = reset_network(v6, data + bounded(p->l3, L3_MASK), end, &sum);
    if (step)
        return step;
    tcp = data + bounded(p->l4, L4_MASK);
    if ((void*)(tcp + 1) > end)
        return FLB_DROP_rewrite_failed;
    port = tcp->source;
    tcp->source = tcp->dest;
    tcp->dest = port;
    if (p->tcp_flags & TCP_ACK) {
        tcp->seq = swap32(p->ack);
        tcp->ack_seq = 0;
        ((__be16*)tcp)[6] = swap16(5 << 12 | TCP_RST);
    } else {
        tcp->seq = 0;
        tcp->ack_seq = swap32(p->seq + reset_occupied(p));
        ((__be16*)tcp)[6] = swap16(5 << 12 | TCP_RST | TCP_ACK);
    }
    tcp->window = 0;
    tcp->urg_ptr = 0;
    /* all of the new header but its checksum, and the pseudo header */
    sum += reset_sum((__u16*)tcp, 8) + swap16(sizeof(*tcp)) + swap16(IPPROTO_TCP);
    return hook_finish_reset(context, p, fold16(sum), old_bytes);
}

#endif
