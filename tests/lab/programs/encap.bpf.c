/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * On a client's TC egress: puts packets for the lab's service addresses (10.9.0.0/24, fd00:9::/32) into a tunnel to the
 * first backend (10.2.0.11, fd00:2::11), as a balancer in mode `ipip` would. OUTER is 4 or 6, the tunnel's IP version.
 */
#include <stddef.h>

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

static __attribute__((always_inline)) inline int for_service(struct __sk_buff* skb, int v6)
{
    unsigned char address[4];
    int at = v6 ? offsetof(struct ipv6hdr, daddr) : offsetof(struct iphdr, daddr);

    if (bpf_skb_load_bytes(skb, ETH_HLEN + at, address, sizeof(address)))
        return 0;
    if (v6)
        return address[0] == 0xfd && address[1] == 0 && address[2] == 0 && address[3] == 9;
    return address[0] == 10 && address[1] == 9 && address[2] == 0;
}

SEC("classifier")
int encap(struct __sk_buff* skb)
{
    const int v6 = skb->protocol == bpf_htons(ETH_P_IPV6);
    const unsigned char inner = v6 ? IPPROTO_IPV6 : IPPROTO_IPIP;
    unsigned int bytes = skb->len - ETH_HLEN;
#if OUTER == 4
    struct iphdr outer = {.version = 4, .ihl = 5, .ttl = 64, .frag_off = bpf_htons(0x4000)};
    const unsigned long long encap_flag = BPF_F_ADJ_ROOM_ENCAP_L3_IPV4;
    unsigned short type = bpf_htons(ETH_P_IP);
    unsigned int sum = 0;
#else
    struct ipv6hdr outer = {.version = 6, .hop_limit = 64};
    const unsigned long long encap_flag = BPF_F_ADJ_ROOM_ENCAP_L3_IPV6;
    unsigned short type = bpf_htons(ETH_P_IPV6);
#endif

    if ((!v6 && skb->protocol != bpf_htons(ETH_P_IP)) || !for_service(skb, v6))
        return TC_ACT_OK;
#if OUTER == 4
    outer.protocol = inner;
    outer.tot_len = bpf_htons(bytes + sizeof(outer));
    outer.saddr = bpf_htonl(0x0a020002);
    outer.daddr = bpf_htonl(0x0a02000b);
    for (int i = 0; i < 10; i++)
        sum += ((unsigned short*)&outer)[i];
    sum = (sum & 0xffff) + (sum >> 16);
    outer.check = ~((sum & 0xffff) + (sum >> 16));
#else
    outer.nexthdr = inner;
    outer.payload_len = bpf_htons(bytes);
    outer.saddr.s6_addr32[0] = outer.daddr.s6_addr32[0] = bpf_htonl(0xfd000002);
    outer.saddr.s6_addr32[3] = bpf_htonl(0x2);
    outer.daddr.s6_addr32[3] = bpf_htonl(0x11);
#endif
    if (bpf_skb_adjust_room(skb, sizeof(outer), BPF_ADJ_ROOM_MAC, encap_flag | BPF_F_ADJ_ROOM_FIXED_GSO) ||
        bpf_skb_store_bytes(skb, ETH_HLEN, &outer, sizeof(outer), 0) ||
        bpf_skb_store_bytes(skb, offsetof(struct ethhdr, h_proto), &type, sizeof(type), 0))
        return TC_ACT_SHOT;
    return TC_ACT_OK;
}

char LICENSE[] SEC("license") = "GPL";
