/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The programs in front of the one that is measured, for either hook. BPF_PROG_TEST_RUN with repeat does not reset the
 * packet, so these restore the headers from a template, give the packet the next client of the rotation, and tail-call
 * the unmodified program. What was just stored a word at a time stalls loads of other widths for some ten cycles each,
 * which packets from a network card, or from another processor, do not; an atomic operation waits until the stores are
 * done, for the floors as for everything else. On XDP, a program that changed the packet's size is undone first; on TC
 * only programs that keep the size can be measured. Behind them: the floors that need no memory.
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

/* A word of which the upper or lower half is replaced. */
static inline __attribute__((always_inline)) __u64 with_half(__u64 word, int upper, __u32 half)
{
    return upper ? (__u32)word | (__u64)half << 32 : (word & ~0xffffffffULL) | half;
}

/* The next frame of the rotation; 0 where it does not fit. Addresses and ports are stored last, each in words of their
 * own, so that they are read without waiting, whole or in parts. */
static inline __attribute__((always_inline)) int restore(struct harness_state* s, void* data, void* end)
{
    __u64 first = s->addresses[0], second = s->addresses[1], fourth = s->addresses[3];
    __u64* words = data;
    __u32 ports = s->ports, n = s->next;

    if (data + HARNESS_TEMPLATE_BYTES > end)
        return 0;
#pragma unroll
    for (int i = 0; i < HARNESS_TEMPLATE_BYTES / 8; i++)
        words[i] = s->template_words[i];
    s->next = n + 1 < s->flows ? n + 1 : 0;
    if (s->flows > 1) { /* the rotation changes an address and a port of the template */
        __u32 address = __builtin_bswap32(s->address_base + (n >> HARNESS_PORT_BITS));

        first = s->v6 ? first : with_half(first, 0, address);
        second = with_half(second, 1, address);
        ports = (ports & 0xffff0000u) | __builtin_bswap16((__u16)(s->port_base + (n & HARNESS_PORT_MASK)));
    }
    if (s->destinations > 1) {
        n = s->next_destination;
        s->next_destination = n + 1 < s->destinations ? n + 1 : 0;
        n = __builtin_bswap32(s->destination_base + n);
        first = s->v6 ? first : with_half(first, 1, n);
        fourth = with_half(fourth, 1, n);
    }
    if (s->v6) {
        words = data + HARNESS_ADDRESSES6;
        words[0] = first;
        words[1] = second;
        words[2] = s->addresses[2];
        words[3] = fourth;
        *(__u32*)(data + HARNESS_PORTS6) = ports;
    } else {
        *(__u64*)(data + HARNESS_ADDRESSES4) = first;
        *(__u32*)(data + HARNESS_PORTS4) = ports;
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
