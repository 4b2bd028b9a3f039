/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * For backends of `ipip` services without a tunnel device: takes the balancer's outer header off what arrives, on TC
 * ingress or XDP, and lets the packet up the stack; and, on TC egress, lowers the MSS that the backend's SYN-ACKs
 * offer, so that what clients send still fits with that header. Loaded by `featherlb decap`; knows nothing of the
 * balancer's maps.
 */
#include <linux/pkt_cls.h>

#include "decap_mss.h"

#define DECAP_PULL_BYTES 154 /* Ethernet, two longest IPv4 headers, TCP without options */
#define XDP_LONGEST_LINK 22  /* Ethernet with two tags */
#define XDP_LINK_WORDS (XDP_LONGEST_LINK / 2)

/* Linux 6.3; the headers that this is built with are older. */
#define DECAP_L3_IPV4 (1ULL << 7)
#define DECAP_L3_IPV6 (1ULL << 8)

DECAP_INLINE void* tc_data(struct __sk_buff* skb)
{
    return (void*)(long)skb->data;
}

DECAP_INLINE void* tc_end(struct __sk_buff* skb)
{
    return (void*)(long)skb->data_end;
}

DECAP_INLINE void tc_pull(struct __sk_buff* skb, __u32 wanted)
{
    if (wanted > skb->len)
        wanted = skb->len;
    if (tc_data(skb) + wanted > tc_end(skb))
        bpf_skb_pull_data(skb, wanted);
}

/* The first tag is in metadata here; a packet with a second one has the protocol of that tag, and passes. */
DECAP_INLINE int tc_judge(struct __sk_buff* skb, struct decap_tunnel* tunnel)
{
    const int v6 = skb->protocol == bpf_htons(ETH_P_IPV6);
    struct iphdr* ip;
    __u8 protocol;

    if (skb->pkt_type != 0 || (!v6 && skb->protocol != bpf_htons(ETH_P_IP))) /* PACKET_HOST */
        return DECAP_NOT_OURS;
    tc_pull(skb, DECAP_ETHERNET + sizeof(struct ipv6hdr));
    ip = tc_data(skb) + DECAP_ETHERNET;
    if ((void*)(ip + 1) > tc_end(skb))
        return DECAP_NOT_OURS;
    protocol = v6 ? ((struct ipv6hdr*)ip)->nexthdr : ip->protocol;
    if (protocol != IPPROTO_IPIP && protocol != IPPROTO_IPV6)
        return DECAP_NOT_OURS;
    tc_pull(skb, DECAP_PULL_BYTES);
    if (v6)
        return decap_judge(tc_data(skb), tc_end(skb), DECAP_ETHERNET, 1, tunnel);
    return decap_judge(tc_data(skb), tc_end(skb), DECAP_ETHERNET, 0, tunnel);
}

/* FIXED_GSO: the segments of a packet that was encapsulated whole were sized before the outer header came. */
DECAP_INLINE int tc_cut(struct __sk_buff* skb, const struct decap_tunnel* tunnel)
{
    const __be16 inner = tunnel->inner_v6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP);
    __u64 flags = BPF_F_ADJ_ROOM_FIXED_GSO;
    struct ethhdr* eth;

    if (skb->protocol != inner)
        flags |= tunnel->inner_v6 ? DECAP_L3_IPV6 : DECAP_L3_IPV4;
    if (bpf_skb_adjust_room(skb, -(__s32)tunnel->header, BPF_ADJ_ROOM_MAC, flags))
        return FLB_DECAP_not_possible;
    eth = tc_data(skb);
    if ((void*)(eth + 1) <= tc_end(skb))
        eth->h_proto = inner;
    return FLB_DECAP_decapsulated;
}

SEC("tc")
int flb_decap_tc(struct __sk_buff* skb)
{
    struct decap_tunnel tunnel = {};
    int verdict = tc_judge(skb, &tunnel);

    if (verdict == DECAP_GO_ON)
        verdict = tc_cut(skb, &tunnel);
    decap_count(verdict);
    return verdict == FLB_DECAP_congestion ? TC_ACT_SHOT : TC_ACT_UNSPEC;
}

/* Whether this kernel's TC can take IPv4 out of IPv6: 0 for yes. Run by BPF_PROG_TEST_RUN on an IPv6 packet. */
SEC("tc")
int flb_decap_ability(struct __sk_buff* skb)
{
    return bpf_skb_adjust_room(
        skb, -(__s32)sizeof(struct ipv6hdr), BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO | DECAP_L3_IPV4);
}

SEC("tc")
int flb_decap_mss(struct __sk_buff* skb)
{
    if (mss_clamp(skb))
        decap_count(FLB_DECAP_clamped);
    return TC_ACT_UNSPEC;
}

/* Bytes of Ethernet and tags; 0 where there are more tags than we know, or no IP. */
DECAP_INLINE __u32 xdp_link(void* data, void* end, int* v6)
{
    __u32 at = offsetof(struct ethhdr, h_proto);

    for (int tags = 0; tags <= FLB_MAX_VLANS; tags++, at += 4) {
        __be16* protocol = data + at;

        if ((void*)(protocol + 1) > end)
            return 0;
        if (*protocol == bpf_htons(ETH_P_IP) || *protocol == bpf_htons(ETH_P_IPV6)) {
            *v6 = *protocol == bpf_htons(ETH_P_IPV6);
            return at + sizeof(*protocol);
        }
        if (*protocol != bpf_htons(ETH_P_8021Q) && *protocol != bpf_htons(ETH_P_8021AD))
            return 0;
    }
    return 0;
}

DECAP_INLINE int xdp_is_for_us(struct xdp_md* context, void* data, void* end)
{
    __u32 ifindex = context->ingress_ifindex;
    const struct flb_decap_interface* in = bpf_map_lookup_elem(&decap_interfaces, &ifindex);
    __u8* mac = data;

    return in && (void*)(mac + ETH_ALEN) <= end && __builtin_memcmp(mac, in->mac, ETH_ALEN) == 0;
}

/* The link's header moves up to the packet inside. */
DECAP_INLINE int xdp_cut(struct xdp_md* context, __u32 link, const struct decap_tunnel* tunnel)
{
    __be16 saved[XDP_LINK_WORDS] = {};
    void* data = (void*)(long)context->data;
    void* end = (void*)(long)context->data_end;

    for (__u32 i = 0; i < XDP_LINK_WORDS; i++) {
        if (i * 2 >= link)
            break;
        if (data + i * 2 + 2 > end)
            return FLB_DECAP_malformed;
        saved[i] = *(__be16*)(data + i * 2);
    }
    if (bpf_xdp_adjust_head(context, (int)tunnel->header))
        return FLB_DECAP_not_possible;
    data = (void*)(long)context->data;
    end = (void*)(long)context->data_end;
    for (__u32 i = 0; i < XDP_LINK_WORDS; i++) {
        if (i * 2 >= link)
            break;
        if (data + i * 2 + 2 > end)
            break;
        *(__be16*)(data + i * 2) = i * 2 + 2 == link ? bpf_htons(tunnel->inner_v6 ? ETH_P_IPV6 : ETH_P_IP) : saved[i];
    }
    return FLB_DECAP_decapsulated;
}

SEC("xdp")
int flb_decap_xdp(struct xdp_md* context)
{
    void* data = (void*)(long)context->data;
    void* end = (void*)(long)context->data_end;
    struct decap_tunnel tunnel = {};
    int v6 = 0, verdict = DECAP_NOT_OURS;
    __u32 link = xdp_link(data, end, &v6);

    if (link && link <= XDP_LONGEST_LINK && xdp_is_for_us(context, data, end))
        verdict = v6 ? decap_judge(data, end, link, 1, &tunnel) : decap_judge(data, end, link, 0, &tunnel);
    if (verdict == DECAP_GO_ON)
        verdict = xdp_cut(context, link, &tunnel);
    decap_count(verdict);
    return verdict == FLB_DECAP_congestion ? XDP_DROP : XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
