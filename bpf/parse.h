/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * parse: Ethernet, up to two VLAN tags, IPv4 with options, IPv6 with extension headers, TCP and UDP. Free of
 * helpers, so that it also runs on the host under a fuzzer. A packet whose addresses cannot be ours leaves by the
 * prefilter, before anything in it is judged: what is wrong with other people's packets is not our business. ICMP is
 * looked at by icmp.h, whoever it is for: it may be about a packet of ours and for a client.
 */
#ifndef FEATHERLB_PARSE_H
#define FEATHERLB_PARSE_H

#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>

#include "packet.h"

#define PARSE_MAX_EXTENSIONS 6 /* IPv6 extension headers that are followed */

#define IP_FRAGMENT_BITS 0xff3f /* in memory order: more fragments, and the offset */
#define IP_OFFSET_BITS 0xff1f

/* Bytes at `at`, or null if they are not all there. */
#define parse_take(type, data, end, at)                                                                                \
    ({                                                                                                                 \
        void* take_ = (char*)(data) + (at);                                                                            \
        (char*)take_ + sizeof(type) > (char*)(end) ? (type*)0 : (type*)take_;                                          \
    })

struct parse_input {
    void* data;
    void* end;            /* of what can be read directly */
    __u32 frame;          /* bytes of the whole frame */
    __u32 ifindex;        /* that it came in by */
    __u32 gso;            /* bytes of a segment's payload; 0: the packet is one segment */
    __u16 outer_tci;      /* tag in metadata (TC) */
    __u16 outer_protocol; /* ETH_P_8021Q or ETH_P_8021AD in host byte order; 0: no such tag */
};

struct parse_vlan_tag {
    __be16 tci;
    __be16 protocol;
};

FLB_INLINE int parse_is_tag(__be16 protocol)
{
    return protocol == swap16(ETH_P_8021Q) || protocol == swap16(ETH_P_8021AD);
}

/* Ethernet and tags. Fills from and l3; gives the protocol behind them. */
FLB_INLINE int parse_ethernet(const struct parse_input* in, struct packet* p, __be16* protocol)
{
    struct ethhdr* eth = parse_take(struct ethhdr, in->data, in->end, 0);
    __u32 tags = 0;
    __u16 link;

    if (!eth)
        return STEP_PASS;
    __builtin_memcpy(p->from.mac, eth->h_source, ETH_ALEN);
    link = (__u16)(in->ifindex & FLB_LINK_SLOT);
    p->from.vlan[0] = 0;
    p->from.vlan[1] = 0;
    p->l3 = sizeof(*eth);
    *protocol = eth->h_proto;
    if (in->outer_protocol) {
        p->from.vlan[0] = in->outer_tci;
        if (in->outer_protocol == ETH_P_8021AD)
            link |= FLB_LINK_OUTER_AD;
        tags = 1;
    }
    if (parse_is_tag(*protocol)) {
        FLOW_UNROLLED
        for (int i = 0; i < FLB_MAX_VLANS; i++) {
            struct parse_vlan_tag* tag;

            if (!parse_is_tag(*protocol))
                break;
            tag = parse_take(struct parse_vlan_tag, in->data, in->end, p->l3);
            if (!tag || tags == FLB_MAX_VLANS)
                return STEP_PASS;
            if (*protocol == swap16(ETH_P_8021AD))
                link |= tags ? FLB_LINK_INNER_AD : FLB_LINK_OUTER_AD;
            if (tags == 0)
                p->from.vlan[0] = swap16(tag->tci);
            else
                p->from.vlan[1] = swap16(tag->tci);
            tags++;
            *protocol = tag->protocol;
            p->l3 += sizeof(*tag);
        }
    }
    p->from.link = (__u16)(link | tags << FLB_LINK_TAGS_SHIFT);
    return STEP_NEXT;
}

/* TCP and UDP headers at p->l4. `payload`: bytes of the IP packet from there on. */
FLB_INLINE int parse_transport(const struct parse_input* in, struct packet* p, __u32 payload, __be32* ports)
{
    p->tcp_flags = 0;
    if (p->protocol == IPPROTO_TCP) {
        struct tcphdr* tcp = parse_take(struct tcphdr, in->data, in->end, bounded(p->l4, L4_MASK));
        __u32 header;

        if (!tcp || payload < sizeof(*tcp))
            return FLB_DROP_truncated;
        header = (((__u8*)tcp)[12] >> 4) * 4;
        if (header < sizeof(*tcp) || header > payload)
            return FLB_DROP_bad_tcp_header;
        p->transport = (__u16)header;
        p->tcp_flags = ((__u8*)tcp)[13];
        p->seq = swap32(tcp->seq);
        p->ack = swap32(tcp->ack_seq);
        *ports = *(__be32*)tcp;
    } else {
        struct udphdr* udp = parse_take(struct udphdr, in->data, in->end, bounded(p->l4, L4_MASK));
        __u32 length;

        if (!udp || payload < sizeof(*udp))
            return FLB_DROP_truncated;
        length = swap16(udp->len);
        if (!p->fragment && (length < sizeof(*udp) || length > payload))
            return FLB_DROP_bad_length;
        p->transport = sizeof(*udp);
        *ports = *(__be32*)udp;
    }
    return STEP_NEXT;
}

FLB_INLINE __u64 parse_ports_word(__be32 ports, __u8 protocol)
{
    return (__u64)ports | (__u64)protocol << 32;
}

/* `may_be_ours(source, destination)` is the prefilter, over folded addresses. */
FLB_INLINE int parse_ipv4(const struct parse_input* in, struct packet* p)
{
    struct iphdr* ip = parse_take(struct iphdr, in->data, in->end, p->l3);
    __u32 header, room;
    __be32 ports = 0;
    int step;

    if (!ip)
        return STEP_PASS;
    p->protocol = ip->protocol;
    if (!may_be_ours(ip->saddr, ip->daddr) || (p->protocol != IPPROTO_TCP && p->protocol != IPPROTO_UDP))
        return p->protocol == IPPROTO_ICMP ? STEP_ICMP : STEP_PASS;
    header = (((__u8*)ip)[0] & 15) * 4;
    p->key.w[0] = (__u64)ip->saddr | (__u64)ip->daddr << 32;
    if ((((__u8*)ip)[0] >> 4) != 4 || header < sizeof(*ip))
        return FLB_DROP_bad_length;
    room = in->frame - p->l3;
    p->length = swap16(ip->tot_len);
    if (!p->length && in->gso) /* 64 KiB and more */
        p->length = room;
    if (p->length > room || p->length < header)
        return FLB_DROP_bad_length;
    p->segment = p->length > 0xffff ? 0xffff : (__u16)p->length;
    p->ttl = ip->ttl;
    p->fragment = ip->frag_off & IP_FRAGMENT_BITS ? IS_FRAGMENT : 0;
    p->l4 = p->l3 + header;
    if (ip->frag_off & IP_OFFSET_BITS)
        return STEP_FOLLOWER;
    step = parse_transport(in, p, p->length - header, &ports);
    p->key.w[1] = parse_ports_word(ports, p->protocol);
    return step;
}

struct parse_extension {
    __u8 next;
    __u8 length;
    __be16 offset; /* of a fragment header */
};

/* Walks the extension headers; leaves the transport's protocol and offset in p. STEP_PASS: another protocol.
 * Of STEP_FOLLOWER the protocol is the fragment header's next, of which there may be more. */
FLB_INLINE int parse_extensions(const struct parse_input* in, struct packet* p)
{
    for (int i = 0; i < PARSE_MAX_EXTENSIONS; i++) {
        struct parse_extension* header;

        if (p->protocol == IPPROTO_TCP || p->protocol == IPPROTO_UDP)
            return STEP_NEXT;
        if (p->protocol == IPPROTO_ICMPV6)
            return STEP_ICMP;
        if (p->protocol != IPPROTO_HOPOPTS && p->protocol != IPPROTO_ROUTING && p->protocol != IPPROTO_DSTOPTS &&
            p->protocol != IPPROTO_FRAGMENT && p->protocol != IPPROTO_AH)
            return STEP_PASS;
        if (p->l4 > L4_MASK)
            return FLB_DROP_extension_headers;
        header = (struct parse_extension*)((char*)in->data + bounded(p->l4, L4_MASK));
        if ((char*)header + 8 > (char*)in->end)
            return FLB_DROP_truncated;
        if (p->protocol == IPPROTO_FRAGMENT) {
            p->fragment_at = p->l4;
            p->fragment = header->offset & swap16(1) ? IS_FRAGMENT : 0;
            if (header->offset & swap16(0xfff8)) {
                p->protocol = header->next;
                return STEP_FOLLOWER;
            }
            p->l4 += 8;
        } else if (p->protocol == IPPROTO_AH) {
            p->l4 += (header->length + 2) * 4;
        } else {
            p->l4 += (header->length + 1) * 8;
        }
        p->protocol = header->next;
    }
    if (p->protocol == IPPROTO_TCP || p->protocol == IPPROTO_UDP)
        return STEP_NEXT;
    return FLB_DROP_extension_headers;
}

FLB_INLINE int parse_ipv6(const struct parse_input* in, struct packet* p)
{
    struct ipv6hdr* ip = parse_take(struct ipv6hdr, in->data, in->end, p->l3);
    __u32* words;
    __u32 room;
    __be32 ports = 0;
    int step;

    if (!ip)
        return STEP_PASS;
    words = (__u32*)&ip->saddr;
    if (!may_be_ours(flb_fold_ipv6(words[0], words[1], words[2], words[3]),
            flb_fold_ipv6(words[4], words[5], words[6], words[7]))) {
        p->fragment = 0;
        p->l4 = p->l3 + sizeof(*ip);
        return ip->nexthdr == IPPROTO_ICMPV6 ? STEP_ICMP : STEP_PASS;
    }
    p->protocol = ip->nexthdr;
    p->ttl = ip->hop_limit;
    p->fragment = 0;
    p->l4 = p->l3 + sizeof(*ip);
    room = in->frame - p->l3;
    p->length = swap16(ip->payload_len) + sizeof(*ip);
    if (p->length == sizeof(*ip) && in->gso) /* 64 KiB and more */
        p->length = room;
    p->key.w[1] = (__u64)words[0] | (__u64)words[1] << 32;
    p->key.w[2] = (__u64)words[2] | (__u64)words[3] << 32;
    p->key.w[3] = (__u64)words[4] | (__u64)words[5] << 32;
    p->key.w[4] = (__u64)words[6] | (__u64)words[7] << 32;
    if (p->protocol != IPPROTO_TCP && p->protocol != IPPROTO_UDP) {
        step = parse_extensions(in, p);
        if (step)
            return step;
    }
    if ((((__u8*)ip)[0] >> 4) != 6 || p->length > room)
        return FLB_DROP_bad_length;
    p->segment = p->length > 0xffff ? 0xffff : (__u16)p->length;
    if (p->l4 > L4_MASK)
        return FLB_DROP_extension_headers;
    if ((__u32)(p->l4 - p->l3) > p->length)
        return FLB_DROP_bad_length;
    step = parse_transport(in, p, p->length - (p->l4 - p->l3), &ports);
    p->key.w[0] = parse_ports_word(ports, p->protocol);
    return step;
}

/* The whole of parse. `v6` tells the family of what was found. */
FLB_INLINE int parse(const struct parse_input* in, struct packet* p, int* v6)
{
    __be16 protocol;
    int step = parse_ethernet(in, p, &protocol);

    if (step)
        return step;
    *v6 = protocol == swap16(ETH_P_IPV6);
    if (*v6)
        return parse_ipv6(in, p);
    if (protocol != swap16(ETH_P_IP))
        return STEP_PASS;
    return parse_ipv4(in, p);
}

#endif
