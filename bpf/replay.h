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

/* Words of a packet, which may lie anywhere; through parameters, or clang would take them in pieces. */
FLB_INLINE __u64 replay_word(const void* p)
{
    return *(const __u64*)p;
}

FLB_INLINE void replay_set_word(void* p, __u64 value)
{
    *(__u64*)p = value;
}

/* Link addresses of a frame to a hop, whose first word is given, that leaves by `out`. */
FLB_INLINE void replay_macs_of(void* eth, __u64 to, const struct flb_iface* out)
{
    const __u64 from = atomic_load_word(out);
    __u8* mac = eth;

    *(__u32*)mac = (__u32)to;
    *(__u16*)(mac + 4) = (__u16)(to >> 32);
    *(__u32*)(mac + 6) = (__u32)from;
    *(__u16*)(mac + 10) = (__u16)(from >> 32);
}

FLB_INLINE void replay_macs(struct ethhdr* eth, const struct flb_hop* to, const struct flb_iface* out)
{
    replay_macs_of(eth, replay_word(to), out);
}

/* TTL alone, of a header that is there. */
FLB_INLINE void replay_ttl_at(const int v6, void* header)
{
    if (v6) {
        struct ipv6hdr* ip = header;

        ip->hop_limit--;
    } else {
        struct iphdr* ip = header;

        ip->ttl--;
        ip->check = checksum_add(ip->check, 0xfffeu); /* the first byte less one */
    }
}

FLB_INLINE int replay_ttl(const int v6, void* header, void* end)
{
    if (header + (v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr)) > end)
        return FLB_DROP_rewrite_failed;
    replay_ttl_at(v6, header);
    return STEP_NEXT;
}

/* Addresses, TTL, and the header checksum of IPv4, of a header that is there. */
FLB_INLINE void replay_network_at(const int v6, void* header, const __u64* addresses, __u32 delta)
{
    if (v6) {
        struct ipv6hdr* ip = header;

        for (int i = 0; i < 4; i++)
            replay_set_word((char*)&ip->saddr + i * 8, addresses[i]);
        ip->hop_limit--;
    } else {
        struct iphdr* ip = header;

        replay_set_word(&ip->saddr, addresses[0]);
        ip->ttl--;
        ip->check = checksum_add(ip->check, delta + 0xfffeu); /* TTL: the first byte less one */
    }
}

FLB_INLINE int replay_network(const int v6, void* header, void* end, const struct recipe* r)
{
    if (header + (v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr)) > end)
        return FLB_DROP_rewrite_failed;
    replay_network_at(v6, header, r->addresses, r->addresses_delta);
    return STEP_NEXT;
}

FLB_INLINE __u32 replay_check_offset(__u8 protocol)
{
    return protocol == IPPROTO_TCP ? 16 : 6;
}

#endif
