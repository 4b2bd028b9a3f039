/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * fragment: a datagram's first fragment has ports and goes the way of any packet; it leaves its recipe in the table
 * `fragments`, and those that follow are sent after it: new addresses, TTL, identification. One that comes before its
 * first is dropped if its destination is certainly ours, and passed otherwise.
 *
 * The identification is new in both directions, because many senders become one: two clients with the same one would
 * otherwise be put together by the backend, as would two backends' answers by the client. It is counted for each pair
 * of new addresses, so it comes back as late as it can.
 */
#ifndef FEATHERLB_FRAGMENT_H
#define FEATHERLB_FRAGMENT_H

#include "decide.h"
#include "hook.h"

#define FRAGMENT_ID_AT(v6) ((v6) ? 4u : (__u32) __builtin_offsetof(struct iphdr, id))

/* Where in the frame the identification stands. */
FLB_INLINE void* fragment_id(const int v6, hook_context* context, const struct packet* p)
{
    void* at = hook_data(context) + bounded(v6 ? p->fragment_at : p->l3, L4_MASK) + FRAGMENT_ID_AT(v6);

    return at + (v6 ? sizeof(__be32) : sizeof(__be16)) > hook_end(context) ? 0 : at;
}

/* The key of the datagram that p is a part of. Declared on the stack by who calls, 8-byte aligned: Linux 6.1 takes no
 * key from other memory. */
FLB_INLINE int fragment_key(const int v6, hook_context* context, const struct packet* p, struct flb_fragment_key* key)
{
    __u64* source = (__u64*)&key->source;
    __u64* destination = (__u64*)&key->destination;
    const void* id = fragment_id(v6, context, p);

    if (!id)
        return FLB_DROP_truncated;
    source[0] = v6 ? p->key.w[1] : (__u32)p->key.w[0];
    source[1] = v6 ? p->key.w[2] : 0;
    destination[0] = v6 ? p->key.w[3] : p->key.w[0] >> 32;
    destination[1] = v6 ? p->key.w[4] : 0;
    key->id = v6 ? *(const __be32*)id : *(const __be16*)id;
    key->protocol = v6 ? 0 : p->protocol;
    key->family = v6 ? FLB_IPV6 : FLB_IPV4;
    key->pad[0] = 0;
    key->pad[1] = 0;
    return STEP_NEXT;
}

/* The next identification towards a pair of addresses. The seed is this table's secret, so that it cannot be told
 * from outside. */
FLB_INLINE __be32 fragment_new_id(const int v6, const __u64* addresses)
{
    const __u64 multiplier = flow_load()->flow_seed[1] | 1;
    __u64 h = flow_load()->flow_seed[0];
    __u32 index;
    __u64* next;

    for (int i = 0; i < FLOW_ADDRESS_WORDS(v6); i++) {
        h = (h ^ addresses[i]) * multiplier;
        h ^= h >> 32;
    }
    index = (__u32)h & (FLB_FRAGMENT_IDS - 1);
    next = bpf_map_lookup_elem(&fragment_ids, &index);
    if (!next)
        return 0;
    h = (h >> 32) + __sync_fetch_and_add(next, 1);
    return v6 ? swap32((__u32)h) : swap16((__u16)h);
}

FLB_INLINE int fragment_set_id(const int v6, hook_context* context, const struct packet* p, __be32 id)
{
    void* at = fragment_id(v6, context, p);

    if (!at)
        return FLB_DROP_rewrite_failed;
    if (v6) {
        *(__be32*)at = id;
    } else {
        struct iphdr* ip = at - FRAGMENT_ID_AT(0);

        if ((void*)(ip + 1) > hook_end(context))
            return FLB_DROP_rewrite_failed;
        ip->check = checksum_add(ip->check, (__u32)(__u16)id + (__u16)~ip->id);
        ip->id = (__be16)id;
    }
    return STEP_NEXT;
}

/* A first fragment that is about to be rewritten. */
FLB_INLINE int fragment_first(
    const int v6, hook_context* context, const struct packet* p, const struct recipe* r, __u32 direction)
{
    struct flb_fragment_key key __attribute__((aligned(8)));
    struct flb_fragment fragment = {};
    int step = fragment_key(v6, context, p, &key);

    if (step)
        return step;
    for (int i = 0; i < FLOW_ADDRESS_WORDS(v6); i++)
        fragment.addresses[i] = r->addresses[i];
    fragment.hop = r->to;
    fragment.backend = r->backend;
    fragment.ticks = flow_now();
    fragment.id = fragment_new_id(v6, r->addresses);
    fragment.addresses_delta = r->addresses_delta;
    fragment.kind = FLB_FRAGMENT_FORWARD;
    fragment.direction = (__u8)direction;
    if (bpf_map_update_elem(&fragments, &key, &fragment, BPF_ANY))
        return FLB_DROP_fragment;
    return fragment_set_id(v6, context, p, fragment.id);
}

/* The same of a datagram that goes to a `dsr` or `ipip` backend: it keeps its addresses, and so its identification. */
FLB_INLINE int fragment_first_one_way(const int v6, hook_context* context, const struct packet* p, __u32 backend)
{
    struct flb_fragment_key key __attribute__((aligned(8)));
    struct flb_fragment fragment = {};
    int step = fragment_key(v6, context, p, &key);

    if (step)
        return step;
    for (int i = 0; i < FLOW_ADDRESS_WORDS(v6); i++)
        fragment.addresses[i] = p->key.w[v6 ? i + 1 : i];
    fragment.backend = backend;
    fragment.ticks = flow_now();
    fragment.id = key.id;
    fragment.kind = FLB_FRAGMENT_FORWARD;
    return bpf_map_update_elem(&fragments, &key, &fragment, BPF_ANY) ? FLB_DROP_fragment : STEP_NEXT;
}

static __attribute__((noinline)) int fragment_first4(
    hook_context* context, const struct packet* p, const struct recipe* r, __u32 direction)
{
    return fragment_first(0, context, p, r, direction);
}

static __attribute__((noinline)) int fragment_first6(
    hook_context* context, const struct packet* p, const struct recipe* r, __u32 direction)
{
    return fragment_first(1, context, p, r, direction);
}

/* A first fragment that is left to the stack: so are the others. */
FLB_INLINE int fragment_pass(const int v6, hook_context* context, const struct packet* p)
{
    struct flb_fragment_key key __attribute__((aligned(8)));
    struct flb_fragment fragment = {};

    if (fragment_key(v6, context, p, &key))
        return STEP_PASS;
    fragment.ticks = flow_now();
    fragment.kind = FLB_FRAGMENT_PASS;
    bpf_map_update_elem(&fragments, &key, &fragment, BPF_ANY);
    return STEP_PASS;
}

static __attribute__((noinline)) int fragment_pass4(hook_context* context, const struct packet* p)
{
    return fragment_pass(0, context, p);
}

static __attribute__((noinline)) int fragment_pass6(hook_context* context, const struct packet* p)
{
    return fragment_pass(1, context, p);
}

/* Is the destination of this key an address of ours: of a listener, of a pool, or of an `ipip` backend's tunnel? */
FLB_INLINE int fragment_is_ours(const int v6, const struct flow_key* of, __u8 protocol)
{
    struct flb_listener_key key __attribute__((aligned(8))) = {};
    __u64* words = (__u64*)&key.address;

    if (v6) {
        words[0] = of->w[3];
        words[1] = of->w[4];
    } else {
        words[0] = of->w[0] >> 32;
    }
    key.protocol = protocol;
    key.family = (v6 ? FLB_IPV6 : FLB_IPV4) | FLB_FAMILY_ADDRESS;
    return bpf_map_lookup_elem(&listeners, &key) != 0;
}

/* The recipe and way of s->packet, a fragment that is not the first, and its new identification. */
FLB_INLINE int fragment_follow(const int v6, hook_context* context, struct slow* s)
{
    struct packet* p = &s->packet;
    struct recipe* r = &s->recipe;
    struct flb_fragment_key key __attribute__((aligned(8)));
    struct flb_fragment* first;
    int step = fragment_key(v6, context, p, &key);

    if (step)
        return step;
    first = bpf_map_lookup_elem(&fragments, &key);
    if (!first || flow_now() - first->ticks > FLB_FRAGMENT_TICKS)
        return fragment_is_ours(v6, &p->key, p->protocol) ? (int)FLB_DROP_fragment : STEP_PASS;
    if (first->kind != FLB_FRAGMENT_FORWARD)
        return STEP_PASS;
    if (p->length > hook_frame(context) - p->l3)
        return FLB_DROP_bad_length;
    p->segment = p->length > 0xffff ? 0xffff : (__u16)p->length;
    for (int i = 0; i < FLOW_ADDRESS_WORDS(v6); i++)
        r->addresses[i] = first->addresses[i];
    r->to = first->hop;
    r->backend = first->backend;
    r->addresses_delta = first->addresses_delta;
    s->way.direction = first->direction;
    p->key.w[v6 ? 0 : 1] = 0; /* it has no ports: see one_way.h */
    return first->id == key.id ? STEP_NEXT : fragment_set_id(v6, context, p, first->id);
}

__attribute__((noinline)) int fragment_follow4(hook_context* context, struct slow* s)
{
    return s ? fragment_follow(0, context, s) : FLB_DROP_not_configured;
}

__attribute__((noinline)) int fragment_follow6(hook_context* context, struct slow* s)
{
    return s ? fragment_follow(1, context, s) : FLB_DROP_not_configured;
}

#endif
