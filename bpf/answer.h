/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * answer: the ICMP errors that we make ourselves, as a router would (RFC 1812, RFC 4443): too big for the way out, TTL
 * used up. The packet, not rewritten yet, becomes its own quote: cut short, outer headers put before it, sent back
 * where it came from. It is dropped and counted all the same.
 *
 * TC's packet may have an unfinished checksum, which BPF cannot see: when it leaves, the device writes the sum of the
 * quoted transport's bytes into the quoted checksum field, behind our back and under our own checksum. Let S be the sum
 * of those bytes without that field, in one's complement. With -S/2 in the field, the bytes add up to S - S/2 = S/2 as
 * they are, and to S + (-(S - S/2)) = S/2 after the device has written; so our checksum is right in both cases. The
 * quoted checksum itself is of no use to anybody who reads a part of a packet.
 */
#ifndef FEATHERLB_ANSWER_H
#define FEATHERLB_ANSWER_H

#include "icmp.h"
#include "reset.h"
#include "tunnel.h"

#define ANSWER_QUOTE 128 /* bytes of the packet that are sent back; even */
#define ANSWER_TTL 64
#define ANSWER_TOS 0xc0 /* internetwork control: RFC 1812, 4.3.2.5 */

/* No errors about packets from addresses that cannot be one station's (RFC 1812, 4.3.2.7; RFC 4443, 2.4 e). */
FLB_INLINE int answer_may_go_to(const int v6, const struct flow_key* key)
{
    __u8 first = (__u8)(v6 ? key->w[1] : key->w[0]);

    if (v6)
        return first != 0xff && (key->w[1] | key->w[2]);
    return first != 0 && first != 127 && first < 224;
}

/* A bucket in time: every error moves the moment at which the next one is due. */
FLB_INLINE int answer_is_in_budget(void)
{
    __u32 processor = bpf_get_smp_processor_id();
    struct flb_icmp_budget* budget = bpf_map_lookup_elem(&icmp_budgets, &processor);
    __u64 now = bpf_ktime_get_ns();
    __u64 due;

    if (!budget)
        return 0;
    due = budget->next_ns > now ? budget->next_ns : now;
    if (due - now > (FLB_ICMP_BURST - 1) * FLB_ICMP_INTERVAL_NS)
        return 0;
    budget->next_ns = due + FLB_ICMP_INTERVAL_NS;
    return 1;
}

/* The source of the error, as the words of an address: what the packet was sent to, and for a `dnat` backend, which
 * sent it to the client, the service. */
FLB_INLINE void answer_source(
    const int v6, const struct packet* p, const struct recipe* r, const struct way* way, __u64* source)
{
    if (v6) {
        int kept = r->addresses[2] == p->key.w[3] && r->addresses[3] == p->key.w[4];

        source[0] = way->direction == FROM_BACKEND && kept ? r->addresses[0] : p->key.w[3];
        source[1] = way->direction == FROM_BACKEND && kept ? r->addresses[1] : p->key.w[4];
    } else {
        int kept = r->addresses[0] >> 32 == p->key.w[0] >> 32;

        source[0] = way->direction == FROM_BACKEND && kept ? (__u32)r->addresses[0] : p->key.w[0] >> 32;
        source[1] = 0;
    }
}

/* The outer IP header. Gives the sum of the pseudo header (IPv6). `bytes`: of the ICMP message. */
FLB_INLINE int answer_network(
    const int v6, void* header, void* end, const struct packet* p, const __u64* source, __u32 bytes, __u64* sum)
{
    if (v6) {
        struct ipv6hdr* ip = header;
        __u32* words = (__u32*)&ip->saddr;

        if ((void*)(ip + 1) > end)
            return FLB_DROP_rewrite_failed;
        *(__be32*)ip = swap32(6u << 28);
        ip->payload_len = swap16((__u16)bytes);
        ip->nexthdr = IPPROTO_ICMPV6;
        ip->hop_limit = ANSWER_TTL;
        words[0] = (__u32)source[0];
        words[1] = (__u32)(source[0] >> 32);
        words[2] = (__u32)source[1];
        words[3] = (__u32)(source[1] >> 32);
        words[4] = (__u32)p->key.w[1];
        words[5] = (__u32)(p->key.w[1] >> 32);
        words[6] = (__u32)p->key.w[2];
        words[7] = (__u32)(p->key.w[2] >> 32);
        *sum = ip->payload_len + (__u64)swap16(IPPROTO_ICMPV6);
        for (int i = 0; i < 8; i++)
            *sum += words[i];
    } else {
        struct iphdr* ip = header;

        if ((void*)(ip + 1) > end)
            return FLB_DROP_rewrite_failed;
        *(__be16*)ip = swap16(0x4500 | ANSWER_TOS);
        ip->tot_len = swap16((__u16)(sizeof(*ip) + bytes));
        ip->id = 0;
        ip->frag_off = swap16(0x4000); /* don't fragment */
        ip->ttl = ANSWER_TTL;
        ip->protocol = IPPROTO_ICMP;
        ip->check = 0;
        ip->saddr = (__be32)source[0];
        ip->daddr = (__be32)p->key.w[0];
        ip->check = (__u16)~fold16(reset_sum((__u16*)ip, 10));
        *sum = 0;
    }
    return STEP_NEXT;
}

/* Adds up the quote, which begins at `at` and ends with the frame, and makes its sum independent of an unfinished
 * checksum. l4, check: offsets of its transport and of the checksum there. */
FLB_INLINE int answer_sum_quote(hook_context* context, const __u32 at, __u32 l4, __u32 check, __u64* sum)
{
    void* data = hook_data(context);
    void* end = hook_end(context);
    __u64 transport = 0;
    __u16* field = data + bounded(check, L4_MASK);

    FLOW_ROLLED
    for (__u32 i = 0; i < ANSWER_QUOTE / 2; i++) {
        __u16* word = data + at + 2 * i;
        __s64 before = (__s64)at + 2 * i - l4; /* negative: of the network header */

        if ((void*)(word + 1) > end)
            break;
        before >>= 63;
        asm volatile("" : "+r"(before)); /* as arithmetic: branches double the verifier's paths each time round */
        *sum += *word & (__u64)before;
        transport += *word & ~(__u64)before;
    }
    if ((void*)(field + 1) > end)
        return FLB_DROP_rewrite_failed;
    transport += (__u16) ~*field;
    if (HOOK_MAY_BE_PARTIAL) /* half of a number, where 2 * 32768 = 1 */
        *field = (__u16)fold16((__u64)(__u16)~fold16(transport) << 15);
    *sum += transport + *field;
    return STEP_NEXT;
}

/* Writes what stands before the quote, but for the link addresses. `reason`: too_big, ttl_exceeded, or none of these:
 * the host is not reached. */
FLB_INLINE int answer_write(const int v6, hook_context* context, const struct packet* p, const __u64* source,
    __u32 quote, __u32 reason, __u32 mtu)
{
    const __u32 network = v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);
    const __u32 grown = network + sizeof(struct icmp_message);
    const __u32 at = sizeof(struct ethhdr) + grown;
    void *data, *end;
    struct ethhdr* eth;
    struct icmp_message* message;
    __u64 sum = 0, pseudo = 0;
    int step = answer_sum_quote(context, at, p->l4 + grown, p->l4 + grown + replay_check_offset(p->protocol), &sum);

    data = hook_data(context);
    end = hook_end(context);
    if (step || data + at > end)
        return FLB_DROP_rewrite_failed;
    eth = data;
    eth->h_proto = v6 ? swap16(ETH_P_IPV6) : swap16(ETH_P_IP);
    message = data + sizeof(*eth) + network;
    message->check = 0;
    if (reason == FLB_DROP_too_big) {
        message->type = v6 ? 2 : ICMP4_UNREACHABLE;
        message->code = v6 ? 0 : 4; /* fragmentation needed */
    } else if (reason == FLB_DROP_ttl_exceeded) {
        message->type = v6 ? 3 : ICMP4_TIME_EXCEEDED;
        message->code = 0;
        mtu = 0;
    } else {
        message->type = v6 ? 1 : ICMP4_UNREACHABLE;
        message->code = v6 ? 3 : 1;
        mtu = 0;
    }
    message->rest = swap32(mtu);
    sum += (__u64)message->rest + *(__u16*)message;
    step = answer_network(v6, data + sizeof(*eth), end, p, source, sizeof(*message) + quote, &pseudo);
    message->check = (__u16)~fold16(sum + pseudo);
    return step;
}

/* Sends the packet of the slow path's memory back as an error, if it may. Anything but STEP_NEXT: no error is sent. */
FLB_INLINE int answer(const int v6, hook_context* context, __u32 reason, __u32 mtu)
{
    const struct flb_hop untagged __attribute__((aligned(8))) = {};
    struct flb_hop back __attribute__((aligned(8)));
    __u32 zero = 0, slot, quote;
    struct slow* s = bpf_map_lookup_elem(&slow_memory, &zero);
    struct packet* p;
    struct flb_iface* out;
    struct ethhdr* eth;
    __u64 source[2];
    int step;

    if (!s)
        return FLB_DROP_not_configured;
    p = &s->packet;
    back = s->way.elsewhere ? s->recipe.to : p->from;
    slot = back.link & FLB_LINK_SLOT;
    out = bpf_map_lookup_elem(&ifaces, &slot);
    quote = p->length < ANSWER_QUOTE ? p->length & ~1u : ANSWER_QUOTE;
    if (!out || !out->ifindex || (!s->way.elsewhere && out->ifindex != context->ingress_ifindex) ||
        !answer_may_go_to(v6, &p->key) || p->l4 - p->l3 + replay_check_offset(p->protocol) + sizeof(__u16) > quote ||
        !answer_is_in_budget())
        return (int)reason;
    answer_source(v6, p, &s->recipe, &s->way, source);
    step = hook_set_tags(context, p, &untagged);
    if (!step)
        step = hook_cut(context, p, p->l3 + quote);
    if (!step)
        step = hook_grow(context, (v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr)) + sizeof(struct icmp_message));
    if (!step)
        step = answer_write(v6, context, p, source, quote, reason, mtu);
    if (step)
        return (int)reason;
    p->from.link &= (__u16)~FLB_LINK_TAGS;
    step = hook_set_tags(context, p, &back);
    eth = hook_data(context);
    if (step || (void*)(eth + 1) > hook_end(context))
        return (int)reason;
    replay_macs(eth, &back, out);
    s->verdict = hook_send(context, out);
    return STEP_NEXT;
}

/* Global functions, so that they are verified once, by themselves. */
__attribute__((noinline)) int answer4(hook_context* context, __u32 reason, __u32 mtu)
{
    return answer(0, context, reason, mtu);
}

__attribute__((noinline)) int answer6(hook_context* context, __u32 reason, __u32 mtu)
{
    return answer(1, context, reason, mtu);
}

/* Too big for a route that only who asked for it knows. */
#define ANSWER_TOO_BIG(mtu) ((int)(FLB_DROP_too_big | (__u32)(mtu) << 16))

/* The largest packet that the way out takes. */
FLB_INLINE __u32 answer_mtu(const struct recipe* r, __u32 direction)
{
    __u32 mtu = 0xffff;
    __u32 number = r->backend; /* Linux 6.1 takes no key from other memory than the stack */
    const struct flb_backend* backend = bpf_map_lookup_elem(&backends, &number);
    const int one_way = backend && (backend->flags & FLB_BACKEND_ONE_WAY);
    __u32 slot = (one_way ? backend->hop.link : r->to.link) & FLB_LINK_SLOT;
    const struct flb_iface* out = bpf_map_lookup_elem(&ifaces, &slot);

    if (out && out->ifindex && out->mtu < mtu)
        mtu = out->mtu;
    if (direction == FROM_BACKEND || !backend)
        return mtu;
    if (backend->mtu < mtu)
        mtu = backend->mtu;
    return mtu - tunnel_bytes(backend->flags);
}

/* Drops p, for the reason `step`, and tells its sender. Gives the reason where nobody is told; then it is not counted.
 */
FLB_INLINE int answer_packet(
    const int v6, hook_context* context, const struct packet* p, const struct recipe* r, __u32 direction, int step)
{
    __u32 zero = 0;
    __u32 reason = step & 0xffff;
    __u32 mtu = (__u32)step >> 16;
    struct slow* s = bpf_map_lookup_elem(&slow_memory, &zero);

    if (!s)
        return FLB_DROP_not_configured;
    for (int i = 0; i < FLOW_KEY_WORDS(v6); i++)
        s->packet.key.w[i] = p->key.w[i];
    s->packet.from = p->from;
    s->packet.length = p->length;
    s->packet.l3 = p->l3;
    s->packet.l4 = p->l4;
    s->packet.protocol = p->protocol;
    s->recipe = *r;
    s->way.direction = direction;
    s->way.elsewhere = 0;
    if (!mtu && reason == FLB_DROP_too_big)
        mtu = answer_mtu(r, direction);
    step = v6 ? answer6(context, reason, mtu) : answer4(context, reason, mtu);
    if (step)
        return step;
    count_drop(reason);
    return SENT | s->verdict;
}

#endif
