/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * At the backends: takes the flood's packets, known by their type of service, off the wire and counts them; everything
 * else goes on. RSTs to forged addresses, at the flood's own end, go the same way.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>

#include <bpf/bpf_helpers.h>

#define MARK 0x40

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, __u64);
} sunk SEC(".maps");

SEC("xdp")
int sink(struct xdp_md* context)
{
    struct ethhdr* eth = (void*)(long)context->data;
    struct iphdr* ip = (void*)(eth + 1);
    __u32 zero = 0;
    __u64* count;

    if ((void*)(ip + 1) > (void*)(long)context->data_end)
        return XDP_PASS;
    if (eth->h_proto != __builtin_bswap16(ETH_P_IP))
        return XDP_PASS;
    if (ip->tos != MARK && (ip->daddr & 0xff) != 11)
        return XDP_PASS;
    count = bpf_map_lookup_elem(&sunk, &zero);
    if (count)
        ++*count;
    return XDP_DROP;
}

char LICENSE[] SEC("license") = "GPL";
