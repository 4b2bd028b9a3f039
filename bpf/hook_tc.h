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

/* Read anew each time: of one load that serves several uses clang would make a number that is no pointer any more. */
FLB_INLINE void* hook_data(hook_context* context)
{
    return (void*)(long)*(volatile __u32*)&context->data;
}

FLB_INLINE void* hook_end(hook_context* context)
{
    return (void*)(long)*(volatile __u32*)&context->data_end;
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

/* Makes room for an outer header of `bytes`, of `protocol`, before the packet, and makes the link header for `to`
 * before that; p->l3 is the room's offset. The kernel wants no tag in the packet while it does that. The segments of a
 * GSO packet keep their size: whether they fit with the outer header was asked before. */
FLB_INLINE int hook_encapsulate(hook_context* context, struct packet* p, const struct flb_hop* to,
    const struct flb_iface* out, const __u32 bytes, __be16 protocol)
{
    const struct flb_hop untagged __attribute__((aligned(8))) = {};
    const __u64 family = bytes == sizeof(struct ipv6hdr) ? BPF_F_ADJ_ROOM_ENCAP_L3_IPV6 : BPF_F_ADJ_ROOM_ENCAP_L3_IPV4;
    struct ethhdr* eth;

    if (p->l3 != sizeof(*eth)) {
        if (hook_set_tags(context, p, &untagged))
            return FLB_DROP_rewrite_failed;
        p->from.link &= (__u16)~FLB_LINK_TAGS;
    }
    if (bpf_skb_adjust_room(context, (__s32)bytes, BPF_ADJ_ROOM_MAC, family | BPF_F_ADJ_ROOM_FIXED_GSO))
        return FLB_DROP_rewrite_failed;
    eth = hook_data(context);
    if ((void*)(eth + 1) > hook_end(context))
        return FLB_DROP_rewrite_failed;
    replay_macs(eth, to, out);
    eth->h_proto = protocol;
    return hook_set_tags(context, p, to);
}

/* Corrects the checksum of the transport at `l4`. Afterwards the packet, with the ports, is there at *data. */
FLB_INLINE int hook_correct_check(
    hook_context* context, __u32 l4, __u8 protocol, __u32 addresses_delta, __u32 ports_delta, void** data)
{
    const __u64 mangled = protocol == IPPROTO_UDP ? BPF_F_MARK_MANGLED_0 : 0;
    const __u32 check = l4 + replay_check_offset(protocol);

    if (bpf_l4_csum_replace(context, check, 0, addresses_delta, BPF_F_PSEUDO_HDR | mangled))
        return FLB_DROP_rewrite_failed;
    if (ports_delta != 0xffff && bpf_l4_csum_replace(context, check, 0, ports_delta, mangled))
        return FLB_DROP_rewrite_failed;
    *data = hook_data(context);
    return *data + l4 + sizeof(__be32) > hook_end(context) ? FLB_DROP_rewrite_failed : 0;
}

/* What express.h needs; see there. A tag in metadata is one, too. */
FLB_INLINE int hook_express_is_for_us(hook_context* context, const void* data, const struct flb_iface* in)
{
    return hook_is_for_us(context, in);
}

FLB_INLINE int hook_express_holds(hook_context* context, const void* data, const void* end, __u32 bytes)
{
    return bytes <= hook_frame(context);
}

FLB_INLINE int hook_express_check(
    hook_context* context, const __u32 l4, const __u8 protocol, __u32 addresses_delta, __u32 ports_delta, void** data)
{
    return hook_correct_check(context, l4, protocol, addresses_delta, ports_delta, data);
}

FLB_INLINE int hook_express_ready(hook_context* context)
{
    return !context->vlan_present;
}

FLB_INLINE __u32 hook_express_segment(hook_context* context, __u32 length, __u32 headers)
{
    return context->gso_size ? context->gso_size + headers : length;
}

/* bpf_skb_adjust_room costs more than what the long way does besides. */
#define HOOK_EXPRESS_GROWS 0

FLB_INLINE int hook_send(hook_context* context, const struct flb_iface* out)
{
    return (int)bpf_redirect(out->ifindex, 0);
}

/* A packet that has kept its headers' kinds and sizes. Others need the device's own way out: the other end would take
 * the packet for what it came as, an IP version among it, and a router there does not see that segments have grown. */
FLB_INLINE int hook_send_straight(hook_context* context, const struct flb_iface* out)
{
    if (out->flags & FLB_IFACE_PEER)
        return (int)bpf_redirect_peer(out->ifindex, 0);
    return hook_send(context, out);
}

FLB_INLINE int hook_cut(hook_context* context, const struct packet* p, __u32 wanted)
{
    return bpf_skb_change_tail(context, wanted, 0) ? FLB_DROP_rewrite_failed : STEP_NEXT;
}

/* Takes bytes out behind the link header of an untagged packet, which is to be written anew. Longer at first, because
 * the kernel wants a header of the old protocol to be left. */
FLB_INLINE int hook_strip(hook_context* context, __u32 bytes)
{
    if (bpf_skb_change_tail(context, context->len + sizeof(struct ipv6hdr), 0))
        return FLB_DROP_rewrite_failed;
    return bpf_skb_adjust_room(context, -(__s32)bytes, BPF_ADJ_ROOM_MAC, 0) ? FLB_DROP_rewrite_failed : STEP_NEXT;
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
