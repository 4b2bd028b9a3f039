// SPDX-License-Identifier: GPL-2.0-only
// Somebody else's TC program: it drops IPv4 ICMP, so a test sees whether packets still reach it.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

SEC("tc")
int no_ping(struct __sk_buff* skb)
{
    void* end = (void*)(long)skb->data_end;
    struct ethhdr* ethernet = (void*)(long)skb->data;
    struct iphdr* ip = (void*)(ethernet + 1);
    if ((void*)(ip + 1) > end || ethernet->h_proto != bpf_htons(ETH_P_IP))
        return TC_ACT_OK;
    return ip->protocol == IPPROTO_ICMP ? TC_ACT_SHOT : TC_ACT_OK;
}

char _license[] SEC("license") = "GPL-2.0-only";
