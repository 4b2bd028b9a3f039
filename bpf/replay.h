/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * replay: what of a recipe both hooks write the same way: link header, network header, ports. The transport's
 * checksum and tags differ by hook and are in hook_xdp.h and hook_tc.h.
 */
#ifndef FEATHERLB_REPLAY_H
#define FEATHERLB_REPLAY_H

#include "maps.h"
#include "packet.h"
#include "parse.h"

FLB_INLINE __u32 replay_tags(__u16 link)
{
    return (link & FLB_LINK_TAGS) >> FLB_LINK_TAGS_SHIFT;
}

FLB_INLINE __be16 replay_tag_protocol(__u16 link, __u16 ad_bit)
{
    return link & ad_bit ? swap16(ETH_P_8021AD) : swap16(ETH_P_8021Q);
}

FLB_INLINE void replay_macs(struct ethhdr* eth, const struct flb_hop* to, const struct flb_iface* out)
{
    __builtin_memcpy(eth->h_dest, to->mac, ETH_ALEN);
    __builtin_memcpy(eth->h_source, out->mac, ETH_ALEN);
}

/* Addresses, TTL, and the header checksum of IPv4. */
FLB_INLINE int replay_network(const int v6, void* header, void* end, const struct recipe* r)
{
    if (v6) {
        struct ipv6hdr* ip = header;
        __u64* to;

        if ((void*)(ip + 1) > end)
            return FLB_DROP_rewrite_failed;
        to = (__u64*)&ip->saddr;
        for (int i = 0; i < 4; i++)
            to[i] = r->addresses[i];
        ip->hop_limit--;
    } else {
        struct iphdr* ip = header;

        if ((void*)(ip + 1) > end)
            return FLB_DROP_rewrite_failed;
        ip->saddr = (__be32)r->addresses[0];
        ip->daddr = (__be32)(r->addresses[0] >> 32);
        ip->ttl--;
        ip->check = checksum_add(ip->check, r->addresses_delta + 0xfffeu); /* TTL: the first byte less one */
    }
    return STEP_NEXT;
}

FLB_INLINE __u32 replay_check_offset(__u8 protocol)
{
    return protocol == IPPROTO_TCP ? 16 : 6;
}

#endif
