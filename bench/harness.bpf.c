/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The program in front of the one that is measured. BPF_PROG_TEST_RUN with repeat does not reset the packet, so
 * this restores the headers from a template, gives the packet the next client of the rotation, and tail-calls
 * the unmodified program. A program that changed the packet's size is undone first.
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "harness.h"

struct {
    __uint(type, BPF_MAP_TYPE_PROG_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, __u32);
} measured SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __uint(map_flags, BPF_F_MMAPABLE);
    __type(key, __u32);
    __type(value, struct harness_state);
} state SEC(".maps");

SEC("xdp")
int harness(struct xdp_md* context)
{
    __u32 zero = 0;
    struct harness_state* s = bpf_map_lookup_elem(&state, &zero);
    long bytes;
    int surplus;
    void *data, *end;
    __u64* words;
    __u32 n;

    if (!s)
        return XDP_ABORTED;
    bytes = (long)context->data_end - (long)context->data;
    asm volatile("" : "+r"(bytes)); /* or the compiler subtracts a pointer from a 32-bit number */
    surplus = (int)bytes - (int)s->frame_bytes;
    if (surplus > 0 && bpf_xdp_adjust_head(context, surplus))
        return XDP_ABORTED;
    if (surplus < 0 && bpf_xdp_adjust_tail(context, -surplus)) /* it had become an RST */
        return XDP_ABORTED;
    data = (void*)(long)context->data;
    end = (void*)(long)context->data_end;
    words = data;
    if (data + HARNESS_TEMPLATE_BYTES > end)
        return XDP_ABORTED;
#pragma unroll
    for (int i = 0; i < HARNESS_TEMPLATE_BYTES / 8; i++)
        words[i] = s->template_words[i];
    n = s->next;
    s->next = n + 1 < s->flows ? n + 1 : 0;
    if (s->flows > 1) { /* the rotation changes an address and a port of the template */
        __u32* address = data + (s->address_offset & HARNESS_OFFSET_MASK);
        __u16* port = data + (s->port_offset & HARNESS_OFFSET_MASK);

        if ((void*)(address + 1) > end || (void*)(port + 1) > end)
            return XDP_ABORTED;
        *address = __builtin_bswap32(s->address_base + (n >> HARNESS_PORT_BITS));
        *port = __builtin_bswap16((__u16)(s->port_base + (n & HARNESS_PORT_MASK)));
    }
    bpf_tail_call(context, &measured, 0);
    return XDP_ABORTED;
}

/* The floor: nothing behind the harness. */
SEC("xdp")
int empty(struct xdp_md* context)
{
    return XDP_TX;
}

char LICENSE[] SEC("license") = "GPL";
