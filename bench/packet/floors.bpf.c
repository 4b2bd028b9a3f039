/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Floors: what a packet cannot cost less than if it gets an outer header, and if one random line of a table is read for
 * it. The table is a map of the same kind, value size and number of values as the flow table beside which it is
 * measured; which line a client has, a hash of its address and port says, so there are as many lines as clients.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>

#include <bpf/bpf_helpers.h>

#include "floors.h"

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1); /* set before it is loaded */
    __uint(map_flags, BPF_F_MMAPABLE);
    __type(key, __u32);
    __type(value, struct floor_set);
} table SEC(".maps");

const volatile __u32 sets = 1;

/* An outer header that is the same for every packet; its checksum is right for a frame of FLOOR_FRAME_BYTES. */
static inline __attribute__((always_inline)) int put_header(struct xdp_md* context)
{
    struct ethhdr* eth;
    struct iphdr* ip;

    if (bpf_xdp_adjust_head(context, -(int)sizeof(*ip)))
        return XDP_ABORTED;
    eth = (void*)(long)context->data;
    ip = (void*)(eth + 1);
    if ((void*)(ip + 1) > (void*)(long)context->data_end)
        return XDP_ABORTED;
    __builtin_memcpy(eth, floor_outer, sizeof(*eth) + sizeof(*ip));
    return XDP_TX;
}

/* Reads the line of this client. Storing what was read keeps the compiler from leaving it out: into the identification
 * of IPv4, where it finds the same zero. */
static inline __attribute__((always_inline)) int read_line(struct xdp_md* context)
{
    struct ethhdr* eth = (void*)(long)context->data;
    struct iphdr* ip = (void*)(eth + 1);
    __be16* port = (void*)(ip + 1);
    struct floor_set* set;
    __u64 hash;
    __u32 index;

    if ((void*)(port + 1) > (void*)(long)context->data_end)
        return 0;
    hash = ((__u64)ip->saddr << 16 | *port) * 0x9e3779b97f4a7c15ULL;
    hash = (hash ^ hash >> 29) * 0xbf58476d1ce4e5b9ULL;
    hash ^= hash >> 32;
    index = (__u32)((hash & 0xffffffff) * sets >> 32);
    set = bpf_map_lookup_elem(&table, &index);
    if (!set)
        return 0;
    ip->id = (__be16)set->line[hash >> 40 & (FLOOR_LINES - 1)].word[0];
    return 1;
}

SEC("xdp")
int header(struct xdp_md* context)
{
    return put_header(context);
}

SEC("xdp")
int memory(struct xdp_md* context)
{
    return read_line(context) ? XDP_TX : XDP_ABORTED;
}

SEC("xdp")
int memory_header(struct xdp_md* context)
{
    return read_line(context) ? put_header(context) : XDP_ABORTED;
}

char LICENSE[] SEC("license") = "GPL";
