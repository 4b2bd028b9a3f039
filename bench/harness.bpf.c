/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The programs in front of the one that is measured, for either hook. BPF_PROG_TEST_RUN with repeat does not reset the
 * packet, so these restore the headers from a template, give the packet the next client of the rotation, and tail-call
 * the unmodified program. What was just stored a word at a time stalls loads of other widths for some ten cycles each,
 * which packets from a network card, or from another processor, do not; an atomic operation waits until the stores are
 * done, for the floors as for everything else. On XDP, a program that changed the packet's size is undone first; on TC only programs that
 * keep the size can be measured. Behind them: the floors that need no memory.
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_helpers.h>

#include "harness.h"

struct {
    __uint(type, BPF_MAP_TYPE_PROG_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, __u32);
} measured SEC(".maps"), measured_tc SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __uint(map_flags, BPF_F_MMAPABLE);
    __type(key, __u32);
    __type(value, struct harness_state);
} state SEC(".maps");

/* The next frame of the rotation; 0 where it does not fit. */
static inline __attribute__((always_inline)) int restore(struct harness_state* s, void* data, void* end)
{
    __u64* words = data;
    __u32 n;

    if (data + HARNESS_TEMPLATE_BYTES > end)
        return 0;
#pragma unroll
    for (int i = 0; i < HARNESS_TEMPLATE_BYTES / 8; i++)
        words[i] = s->template_words[i];
    n = s->next;
    s->next = n + 1 < s->flows ? n + 1 : 0;
    if (s->flows > 1) { /* the rotation changes an address and a port of the template */
        __u32* address = data + (s->address_offset & HARNESS_OFFSET_MASK);
        __u16* port = data + (s->port_offset & HARNESS_OFFSET_MASK);

        if ((void*)(address + 1) > end || (void*)(port + 1) > end)
            return 0;
        *address = __builtin_bswap32(s->address_base + (n >> HARNESS_PORT_BITS));
        *port = __builtin_bswap16((__u16)(s->port_base + (n & HARNESS_PORT_MASK)));
    }
    if (s->destinations > 1) {
        __u32* destination = data + (s->destination_offset & HARNESS_OFFSET_MASK);

        n = s->next_destination;
        s->next_destination = n + 1 < s->destinations ? n + 1 : 0;
        if ((void*)(destination + 1) > end)
            return 0;
        *destination = __builtin_bswap32(s->destination_base + n);
    }
    if (s->drained)
        __sync_fetch_and_add(&s->packets, 1);
    return 1;
}

SEC("xdp")
int harness(struct xdp_md* context)
{
    __u32 zero = 0;
    struct harness_state* s = bpf_map_lookup_elem(&state, &zero);
    long bytes;
    int surplus;

    if (!s)
        return XDP_ABORTED;
    bytes = (long)context->data_end - (long)context->data;
    asm volatile("" : "+r"(bytes)); /* or the compiler subtracts a pointer from a 32-bit number */
    surplus = (int)bytes - (int)s->frame_bytes;
    if (surplus > 0 && bpf_xdp_adjust_head(context, surplus))
        return XDP_ABORTED;
    if (surplus < 0 && bpf_xdp_adjust_tail(context, -surplus)) /* it had become an RST */
        return XDP_ABORTED;
    if (!restore(s, (void*)(long)context->data, (void*)(long)context->data_end))
        return XDP_ABORTED;
    bpf_tail_call(context, &measured, 0);
    return XDP_ABORTED;
}

SEC("tc")
int harness_tc(struct __sk_buff* context)
{
    __u32 zero = 0;
    struct harness_state* s = bpf_map_lookup_elem(&state, &zero);

    if (!s || context->len != s->frame_bytes)
        return TC_ACT_SHOT;
    /* The loopback device, by which the test run lets packets come in, has another address than ours. */
    if (context->pkt_type && bpf_skb_change_type(context, 0 /* PACKET_HOST */))
        return TC_ACT_SHOT;
    if (!restore(s, (void*)(long)context->data, (void*)(long)context->data_end))
        return TC_ACT_SHOT;
    bpf_tail_call(context, &measured_tc, 0);
    return TC_ACT_SHOT;
}

/* The floor: nothing behind the harness. */
SEC("xdp")
int empty(struct xdp_md* context)
{
    return XDP_TX;
}

SEC("tc")
int empty_tc(struct __sk_buff* context)
{
    return TC_ACT_OK;
}

char LICENSE[] SEC("license") = "GPL";
