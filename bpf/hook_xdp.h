/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What is XDP's own: checksums are complete, so they are updated directly; tags are in the frame; sending is
 * XDP_TX or redirect.
 */
#ifndef FEATHERLB_HOOK_XDP_H
#define FEATHERLB_HOOK_XDP_H

#include "replay.h"

typedef struct xdp_md hook_context;

#define HOOK_PASS XDP_PASS
#define HOOK_DROP XDP_DROP
#define HOOK_MAY_BE_PARTIAL 0

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
    in->frame = (__u32)(in->end - in->data);
    in->ifindex = context->ingress_ifindex;
    in->gso = 0;
    in->outer_tci = 0;
    in->outer_protocol = 0;
}

/* Bytes of the whole frame. */
FLB_INLINE __u32 hook_frame(hook_context* context)
{
    long frame = hook_end(context) - hook_data(context);

    asm volatile("" : "+r"(frame)); /* or the compiler subtracts a pointer from a 32-bit number */
    return (__u32)frame;
}

/* Could more of the packet be made readable? Never in XDP. */
FLB_INLINE int hook_pull(hook_context* context)
{
    return 0;
}

/* A frame for another station, as promiscuous interfaces and flooding bridges see them, is none of ours. */
FLB_INLINE int hook_is_for_us(hook_context* context, const struct flb_iface* in)
{
    __u8* mac = hook_data(context);

    if ((void*)(mac + ETH_ALEN) > hook_end(context))
        return 0;
    return *(__u32*)mac == *(const __u32*)in->mac && *(__u16*)(mac + 4) == *(const __u16*)(in->mac + 4);
}

FLB_INLINE void hook_segment(hook_context* context, struct packet* p)
{
}

/* Tags and protocol behind the link addresses. */
FLB_INLINE int hook_write_tags(hook_context* context, const struct flb_hop* to, __be16 network)
{
    __u32 tags = replay_tags(to->link);
    void* end = hook_end(context);
    struct ethhdr* eth = hook_data(context);
    struct parse_vlan_tag* tag = (void*)(eth + 1);

    if ((void*)tag > end)
        return FLB_DROP_rewrite_failed;
    if (tags == 0) {
        eth->h_proto = network;
        return STEP_NEXT;
    }
    eth->h_proto = replay_tag_protocol(to->link, FLB_LINK_OUTER_AD);
    if ((void*)(tag + 1) > end)
        return FLB_DROP_rewrite_failed;
    tag->tci = swap16(to->vlan[0]);
    tag->protocol = network;
    if (tags == 1)
        return STEP_NEXT;
    tag->protocol = replay_tag_protocol(to->link, FLB_LINK_INNER_AD);
    tag++;
    if ((void*)(tag + 1) > end)
        return FLB_DROP_rewrite_failed;
    tag->tci = swap16(to->vlan[1]);
    tag->protocol = network;
    return STEP_NEXT;
}

/* Makes room for, or removes, tags so that the frame has those of `to`. */
FLB_INLINE int hook_set_tags(hook_context* context, struct packet* p, const struct flb_hop* to)
{
    __u32 before = replay_tags(p->from.link);
    __u32 after = replay_tags(to->link);
    __be16 *found, network;
    void *data, *end;

    if (before == 0 && after == 0)
        return STEP_NEXT;
    data = hook_data(context);
    end = hook_end(context);
    found = data + bounded(p->l3 - sizeof(network), L3_MASK); /* the last protocol before layer 3 */
    if ((void*)(found + 1) > end)
        return FLB_DROP_rewrite_failed;
    network = *found;
    if (before != after) {
        int grow = ((int)before - (int)after) * (int)sizeof(struct parse_vlan_tag);

        if (bpf_xdp_adjust_head(context, grow))
            return FLB_DROP_rewrite_failed;
        p->l3 -= (__u32)grow;
        p->l4 -= (__u32)grow;
    }
    return hook_write_tags(context, to, network);
}

/* Makes room for an outer header of `bytes`, of `protocol`, before the packet, and a new link header for `to` before
 * that; p->l3 is the room's offset. */
FLB_INLINE int hook_encapsulate(hook_context* context, struct packet* p, const struct flb_hop* to,
    const struct flb_iface* out, const __u32 bytes, __be16 protocol)
{
    __u32 link = sizeof(struct ethhdr) + replay_tags(to->link) * sizeof(struct parse_vlan_tag);
    struct ethhdr* eth;

    if (bpf_xdp_adjust_head(context, (int)p->l3 - (int)(link + bytes)))
        return FLB_DROP_rewrite_failed;
    p->l3 = (__u16)link;
    eth = hook_data(context);
    if ((void*)(eth + 1) > hook_end(context))
        return FLB_DROP_rewrite_failed;
    replay_macs(eth, to, out);
    return hook_write_tags(context, to, protocol);
}

/* Corrects the checksum of the transport at `l4`. Afterwards the packet, with the ports, is there at *data. */
FLB_INLINE int hook_correct_check(
    hook_context* context, __u32 l4, __u8 protocol, __u32 addresses_delta, __u32 ports_delta, void** data)
{
    __u16* check;

    *data = hook_data(context);
    check = *data + l4 + replay_check_offset(protocol);
    if ((void*)(check + 1) > hook_end(context))
        return FLB_DROP_rewrite_failed;
    if (protocol == IPPROTO_TCP) {
        *check = checksum_add(*check, addresses_delta + ports_delta);
    } else if (*check) { /* 0: the sender made none */
        __u16 sum = checksum_add(*check, addresses_delta + ports_delta);

        *check = sum ? sum : 0xffff;
    }
    return 0;
}

/* What express.h needs; see there. Every frame will do. `data`: 14 bytes that are there. */
FLB_INLINE int hook_express_is_for_us(hook_context* context, const void* data, const struct flb_iface* in)
{
    return (*(const __u64*)data ^ atomic_load_word(in)) << 16 == 0;
}

FLB_INLINE int hook_express_holds(hook_context* context, const void* data, const void* end, __u32 bytes)
{
    long frame = end - data;

    asm volatile("" : "+r"(frame)); /* or it becomes a pointer and a number, of which Linux 6.1 has lost the bounds */
    return frame >= (long)bytes;
}

/* As hook_correct_check, where the packet is known to be there. */
FLB_INLINE int hook_express_check(
    hook_context* context, const __u32 l4, const __u8 protocol, __u32 addresses_delta, __u32 ports_delta, void** data)
{
    __u16* check = *data + l4 + replay_check_offset(protocol);
    __u16 sum = checksum_add(*check, addresses_delta + ports_delta);

    if (protocol == IPPROTO_TCP)
        *check = sum;
    else if (*check)
        *check = sum ? sum : 0xffff;
    return 0;
}

FLB_INLINE int hook_express_ready(hook_context* context)
{
    return 1;
}

FLB_INLINE __u32 hook_express_segment(hook_context* context, __u32 length, __u32 headers)
{
    return length;
}

#define HOOK_EXPRESS_GROWS 1

FLB_INLINE int hook_send(hook_context* context, const struct flb_iface* out)
{
    if (out->ifindex == context->ingress_ifindex && !(out->flags & FLB_IFACE_REDIRECT))
        return XDP_TX;
    return (int)bpf_redirect(out->ifindex, 0);
}

FLB_INLINE int hook_send_straight(hook_context* context, const struct flb_iface* out)
{
    return hook_send(context, out);
}

/* Cuts the packet to a bare TCP header at p->l4. Gives what `hook_finish_reset` needs. */
FLB_INLINE int hook_cut(hook_context* context, const struct packet* p, __u32 wanted)
{
    long frame = hook_end(context) - hook_data(context);

    asm volatile("" : "+r"(frame)); /* or the compiler subtracts a pointer from a 32-bit number */
    return bpf_xdp_adjust_tail(context, (int)wanted - (int)frame) ? FLB_DROP_rewrite_failed : STEP_NEXT;
}

/* Takes bytes out behind the link header of an untagged packet, which is to be written anew. */
FLB_INLINE int hook_strip(hook_context* context, __u32 bytes)
{
    return bpf_xdp_adjust_head(context, (int)bytes) ? FLB_DROP_rewrite_failed : STEP_NEXT;
}

/* Makes room before the packet; what stood behind the link header stays where it is. */
FLB_INLINE int hook_grow(hook_context* context, __u32 bytes)
{
    return bpf_xdp_adjust_head(context, -(int)bytes) ? FLB_DROP_rewrite_failed : STEP_NEXT;
}

/* `sum`: one's complement sum of the new segment and its pseudo header, checksum field taken as 0. */
FLB_INLINE int hook_finish_reset(hook_context* context, const struct packet* p, __u32 sum, __u32 old_bytes)
{
    void* data = hook_data(context);
    void* end = hook_end(context);
    struct tcphdr* tcp = data + bounded(p->l4, L4_MASK);

    if ((void*)(tcp + 1) > end)
        return FLB_DROP_rewrite_failed;
    tcp->check = (__u16)~sum;
    return STEP_NEXT;
}

#endif
