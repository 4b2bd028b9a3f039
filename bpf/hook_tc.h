/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What is TC's own: the transport's checksum may be partial, so it is changed only by bpf_l4_csum_replace, with
 * one delta for the pseudo header and one for the rest; the outer tag is in metadata; a packet may be many
 * segments (GSO); headers may have to be pulled into reach.
 */
#ifndef FEATHERLB_HOOK_TC_H
#define FEATHERLB_HOOK_TC_H

#include <linux/pkt_cls.h>

#include "replay.h"

typedef struct __sk_buff hook_context;

#define HOOK_PASS TC_ACT_UNSPEC /* "next": other programs on the hook still see it */
#define HOOK_DROP TC_ACT_SHOT

#define HOOK_MAY_BE_PARTIAL 1

#define HOOK_PULL_BYTES 256 /* enough for every header that parse follows in practice */

FLB_INLINE void* hook_data(hook_context* context)
{
    return (void*)(long)context->data;
}

FLB_INLINE void* hook_end(hook_context* context)
{
    return (void*)(long)context->data_end;
}

FLB_INLINE void hook_input(hook_context* context, struct parse_input* in)
{
    in->data = hook_data(context);
    in->end = hook_end(context);
    in->frame = context->len;
    in->ifindex = context->ifindex;
    in->gso = context->gso_size;
    in->outer_tci = 0;
    in->outer_protocol = 0;
    if (context->vlan_present) {
        in->outer_tci = (__u16)context->vlan_tci;
        in->outer_protocol = swap16((__u16)context->vlan_proto);
    }
}

/* Bytes of the whole frame. */
FLB_INLINE __u32 hook_frame(hook_context* context)
{
    return context->len;
}

FLB_INLINE int hook_pull(hook_context* context)
{
    __u32 readable = (__u32)(hook_end(context) - hook_data(context));
    __u32 wanted = context->len < HOOK_PULL_BYTES ? context->len : HOOK_PULL_BYTES;

    return readable < wanted && bpf_skb_pull_data(context, wanted) == 0;
}

/* A frame for another station is none of ours. */
FLB_INLINE int hook_is_for_us(hook_context* context, const struct flb_iface* in)
{
    return context->pkt_type == 0; /* PACKET_HOST */
}

/* The largest IP packet that a GSO packet is cut into. */
FLB_INLINE void hook_segment(hook_context* context, struct packet* p)
{
    __u32 segment = context->gso_size;

    if (!segment)
        return;
    segment += p->l4 - p->l3 + p->transport;
    p->segment = segment > 0xffff ? 0xffff : (__u16)segment;
}

FLB_INLINE int hook_set_tags(hook_context* context, struct packet* p, const struct flb_hop* to)
{
    const __u16 layout = FLB_LINK_TAGS | FLB_LINK_OUTER_AD | FLB_LINK_INNER_AD;
    __u32 before = replay_tags(p->from.link);
    __u32 after = replay_tags(to->link);
    __u32 l3 = sizeof(struct ethhdr) + (after == FLB_MAX_VLANS ? sizeof(struct parse_vlan_tag) : 0);

    if (before == 0 && after == 0)
        return STEP_NEXT;
    if (((p->from.link ^ to->link) & layout) == 0 && p->from.vlan[0] == to->vlan[0] && p->from.vlan[1] == to->vlan[1])
        return STEP_NEXT;
    for (__u32 i = 0; i < FLB_MAX_VLANS; i++)
        if (i < before && bpf_skb_vlan_pop(context))
            return FLB_DROP_rewrite_failed;
    if (after == FLB_MAX_VLANS &&
        bpf_skb_vlan_push(context, replay_tag_protocol(to->link, FLB_LINK_INNER_AD), to->vlan[1]))
        return FLB_DROP_rewrite_failed;
    if (after && bpf_skb_vlan_push(context, replay_tag_protocol(to->link, FLB_LINK_OUTER_AD), to->vlan[0]))
        return FLB_DROP_rewrite_failed;
    p->l4 += l3 - p->l3; /* the outermost tag is in metadata now, so only a second one stands before the headers */
    p->l3 = l3;
    return STEP_NEXT;
}

FLB_INLINE int hook_rewrite(
    const int v6, hook_context* context, struct packet* p, const struct recipe* r, const struct flb_iface* out)
{
    __u64 mangled = p->protocol == IPPROTO_UDP ? BPF_F_MARK_MANGLED_0 : 0;
    int step = hook_set_tags(context, p, &r->to);
    __u32 check = p->l4 + replay_check_offset(p->protocol);
    void *data, *end;
    struct ethhdr* eth;
    __be16* ports;

    if (step)
        return step;
    if (bpf_l4_csum_replace(context, check, 0, r->addresses_delta, BPF_F_PSEUDO_HDR | mangled))
        return FLB_DROP_rewrite_failed;
    if (r->ports_delta != 0xffff && bpf_l4_csum_replace(context, check, 0, r->ports_delta, mangled))
        return FLB_DROP_rewrite_failed;
    data = hook_data(context);
    end = hook_end(context);
    eth = data;
    if ((void*)(eth + 1) > end)
        return FLB_DROP_rewrite_failed;
    replay_macs(eth, &r->to, out);
    step = replay_network(v6, data + bounded(p->l3, L3_MASK), end, r);
    if (step)
        return step;
    ports = data + bounded(p->l4, L4_MASK);
    if ((void*)(ports + 2) > end)
        return FLB_DROP_rewrite_failed;
    ports[0] = r->sport;
    ports[1] = r->dport;
    return STEP_NEXT;
}

FLB_INLINE int hook_send(hook_context* context, const struct flb_iface* out)
{
    return (int)bpf_redirect(out->ifindex, 0);
}

FLB_INLINE int hook_cut(hook_context* context, const struct packet* p, __u32 wanted)
{
    return bpf_skb_change_tail(context, wanted, 0) ? FLB_DROP_rewrite_failed : STEP_NEXT;
}

/* Makes room behind the link header of an untagged IP packet; all of it is readable afterwards. */
FLB_INLINE int hook_grow(hook_context* context, __u32 bytes)
{
    if (bpf_skb_adjust_room(context, (__s32)bytes, BPF_ADJ_ROOM_MAC, 0) || bpf_skb_pull_data(context, context->len))
        return FLB_DROP_rewrite_failed;
    return STEP_NEXT;
}

/* The field as it stands is either complete or the sum of the pseudo header alone, and only the kernel knows. The
 * first call corrects both for the new length. The second acts on a complete one only: it is given what turns the
 * once corrected value into the right one. */
FLB_INLINE int hook_finish_reset(hook_context* context, const struct packet* p, __u32 sum, __u32 old_bytes)
{
    __u32 at = p->l4 + replay_check_offset(IPPROTO_TCP);
    __u32 length_delta = fold16((__u64)swap16((__u16)sizeof(struct tcphdr)) + (__u16)~swap16((__u16)old_bytes));
    __u16 old = 0;

    if (bpf_skb_load_bytes(context, at, &old, sizeof(old)))
        return FLB_DROP_rewrite_failed;
    if (bpf_l4_csum_replace(context, at, 0, length_delta, BPF_F_PSEUDO_HDR))
        return FLB_DROP_rewrite_failed;
    if (bpf_l4_csum_replace(context, at, 0, fold16((__u64)sum + old + (__u16)~length_delta), 0))
        return FLB_DROP_rewrite_failed;
    return STEP_NEXT;
}

#endif
