/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The storing half of decide.h: what the slow path works on, the reservation of the reply's entry (`snat`: of a source
 * port, `dnat`: of the key that is given), and both entries filled and published.
 */
#ifndef FEATHERLB_DECIDE_STORE_H
#define FEATHERLB_DECIDE_STORE_H

#include "count.h"
#include "follow.h"
#include "load.h"
#include "maps.h"
#include "pick.h"
#include "sample.h"
#include "words.h"

#define DECIDE_FRESH_TRIES 2                   /* tries before a port that is at rest is taken */
#define DECIDE_LEAP_TRIES (FLB_SNAT_TRIES / 2) /* and before the rotation leaps, and one that just closed is taken */
#define DECIDE_KEEP_TRIES (FLB_SNAT_TRIES * 3 / 4) /* and before one of a connection that is not proven */
#define DECIDE_CROWDED (1ULL << 63) /* in a backend's cursor: the last connection had to take such a port */
#define DECIDE_FIND_TRIES 32        /* look-ups of a flow that another processor is storing */

/* What the slow path works on: copied in by the fast path, which takes recipe and way back. */
struct slow {
    struct packet packet;
    struct recipe recipe;
    struct way way;
    struct flow_request request;
    struct direction_words out; /* what leaves to the backend */
    __u32 chosen;               /* the backend, where it has been picked already (failover.h); else 0 */
    int verdict;                /* of what is sent aside from the fast path */
    __u32 admitted;             /* a connection that goes to another backend (failover.h) is not a new one */
    __u32 inner_at;             /* icmp_tunnel.h: where in the frame the packet begins that was in the tunnel, */
    __u32 inner_mtu;            /* and the largest that fits; 0: size is not the matter */
    __u32 state;                /* STEP_ONE_WAY: of the flow to be made; FLB_FLOW_EMPTY: none is */
    __u32 decides;              /* enum flb_sample_kind: of a connection that gets its backend now, or another one */
};
_Static_assert(sizeof(struct slow) <= FLB_SLOW_BYTES, "struct slow");

FLB_INLINE int reserve_and_count(const int v6, struct flow_request* request)
{
    int result = flow_reserve(v6, request);

    if (result == FLOW_OK && request->evicted)
        count_event(FLB_EVENT_evicted);
    return result;
}

/* Global functions are verified once, by themselves, however often and from wherever they are called. */
__attribute__((noinline)) int flow_reserve4(struct flow_request* request)
{
    return request ? reserve_and_count(0, request) : FLOW_CONTENDED;
}

__attribute__((noinline)) int flow_reserve6(struct flow_request* request)
{
    return request ? reserve_and_count(1, request) : FLOW_CONTENDED;
}

FLB_INLINE int reserve(const int v6, struct flow_request* request)
{
    int result = v6 ? flow_reserve6(request) : flow_reserve4(request);

    flow_settle(request, (enum flow_result)result);
    return result;
}

FLB_INLINE void decide_fill(
    const int v6, struct flb_flow* f, const __u64* addresses, __u32 ports, __u16 addresses_delta, __u16 ports_delta)
{
    atomic_store(&f->sport, (__be16)ports);
    atomic_store(&f->dport, (__be16)(ports >> 16));
    atomic_store(&f->addresses_delta, addresses_delta);
    atomic_store(&f->ports_delta, ports_delta);
    for (int i = 0; i < FLOW_ADDRESS_WORDS(v6); i++)
        atomic_store(&flow_words(f)[FLOW_KEY_WORDS(v6) + i], addresses[i]);
}

/* What the owner holds beside its key; `aux`: when the flow was made. */
FLB_INLINE void decide_fill_owner(const int v6, struct slow* s, struct flb_flow* owner, __u32 pair, __u32 aux)
{
    const struct recipe* r = &s->recipe;

    decide_fill(v6, owner, r->addresses, (__u32)r->sport | (__u32)r->dport << 16, r->addresses_delta, r->ports_delta);
    atomic_store(&owner->backend, r->backend);
    atomic_store(&owner->pair, pair);
    atomic_store(&owner->aux, aux);
    follow_set_hop(&owner->hop, &s->packet.from);
}

/* Fills and publishes both entries of a reserved pair: s->request is the owner's. */
FLB_INLINE int decide_store_pair(const int v6, struct slow* s, __u32 service_flags, __u32 reply_index, __u32 state)
{
    const struct packet* p = &s->packet;
    const struct recipe* r = &s->recipe;
    struct flb_flow* owner = flow_at(v6, s->request.index);
    struct flb_flow* reply = flow_at(v6, reply_index);
    struct direction_words* back = &s->out; /* from the service to the client */

    if (!owner || !reply)
        return FLB_DROP_table_contended;
    if (v6) {
        back->addresses[0] = p->key.w[3];
        back->addresses[1] = p->key.w[4];
        back->addresses[2] = p->key.w[1];
        back->addresses[3] = p->key.w[2];
    } else {
        back->addresses[0] = p->key.w[0] >> 32 | p->key.w[0] << 32;
    }
    back->ports = decide_ports(v6, &p->key);
    back->ports = back->ports >> 16 | back->ports << 16;

    decide_fill(v6, reply, back->addresses, back->ports, (__u16)~r->addresses_delta, (__u16)~r->ports_delta);
    atomic_store(&reply->backend, r->backend);
    atomic_store(&reply->pair, s->request.index);
    atomic_store(&reply->aux, s->request.generation);
    follow_set_hop(&reply->hop, &p->from);

    decide_fill_owner(v6, s, owner, reply_index, measure_begin(service_flags, p->protocol));

    flow_moved(r->backend, FLB_FLOW_BUSY, state);
    flow_publish(reply, FLB_FLOW_REPLY_NEW);
    flow_publish(owner, state);
    return STEP_NEXT;
}

/* Another processor has just stored this very flow: use what it decided. */
FLB_INLINE int decide_use_existing(const int v6, struct slow* s)
{
    FLOW_ROLLED
    for (int i = 0; i < DECIDE_FIND_TRIES; i++) {
        struct flow_ref ref;

        if (!flow_find(v6, &s->packet.key, &ref) || flow_is_reply(flow_state(ref.ctl)))
            continue;
        if (flow_load_recipe(v6, &ref, &s->recipe))
            return STEP_NEXT;
    }
    return FLB_DROP_table_contended;
}

/* `dnat`: the reply's key is given by the client and the backend. */
FLB_INLINE int decide_reserve_reply_dnat(const int v6, struct slow* s)
{
    s->request.mode = FLOW_REPLY_ANY;
    decide_reply_key(v6, &s->request.key, &s->out, s->packet.protocol);
    switch (reserve(v6, &s->request)) {
    case FLOW_OK:
        return STEP_NEXT;
    case FLOW_FULL:
        return FLB_DROP_table_full;
    case FLOW_EXISTS: /* by this very flow, which another processor has just stored, or by another */
        return decide_use_existing(v6, s) ? FLB_DROP_tuple_in_use : STEP_STORED;
    default:
        return FLB_DROP_table_contended;
    }
}

/* The next pair's owner, if it is not proven, has had it for the longest time: a flood of connections that are never
 * proven pushes itself out, and costs one try each as long as it lasts. */
FLB_INLINE enum flow_mode decide_reply_mode(int crowded, int tries)
{
    if (crowded || tries >= DECIDE_KEEP_TRIES)
        return FLOW_REPLY_TAKE;
    if (tries >= DECIDE_LEAP_TRIES)
        return FLOW_REPLY_ANY;
    return tries < DECIDE_FRESH_TRIES ? FLOW_REPLY_FRESH : FLOW_REPLY_RESTED;
}

/* How many pairs of the rotation are passed over before this try. Connections that were opened in a row and live long
 * lie in a row there, too: after half of the tries the rotation leaps, about four times as far each time, and to
 * another place on every lap. */
FLB_INLINE __u32 decide_leap(const __u64* cursor, int tries, __u32 pool)
{
    __u32 leap = 1u << bounded(2 * (tries - DECIDE_LEAP_TRIES + 1), 31);

    if (tries < DECIDE_LEAP_TRIES || pool <= FLB_SNAT_TRIES)
        return 0;
    return leap + (((__u32)atomic_load(cursor) * 0x9e3779b1u >> 8) & (leap - 1));
}

/* Written only where it changes. */
FLB_INLINE void decide_mark_crowded(__u64* cursor, __u32 crowded)
{
    __u64 marked = atomic_load(cursor) & DECIDE_CROWDED;

    if (crowded && !marked)
        atomic_or(cursor, DECIDE_CROWDED);
    if (!crowded && marked)
        atomic_and(cursor, ~DECIDE_CROWDED);
}

/* `snat`: takes the next (address, port) pairs of the backend's rotation until one is free. The rotation visits
 * every pair once before it comes back to the first, so the pair that rested longest is next. */
FLB_INLINE int decide_reserve_reply_snat(
    const int v6, struct slow* s, const struct flb_backend* backend, __u32 backend_index)
{
    const struct flb_settings* settings = flow_settings();
    __u64* cursor = bpf_map_lookup_elem(&backend_ports, &backend_index);
    __u64 addresses = atomic_load_word(&backend->snat_first); /* first and count, written by one store */
    __u64 range;                                              /* first port, count and stride, likewise */
    __u32 ports, pool;
    int contended = 0;

    if (!settings || !cursor)
        return FLB_DROP_not_configured;
    range = atomic_load_word(&settings->snat_port_first);
    ports = (__u32)(range >> 16) & 0xffff;
    pool = ports * (__u32)(addresses >> 32);
    if (!pool)
        return FLB_DROP_backend_unresolved;
    FLOW_ROLLED
    for (int i = 0; i < FLB_SNAT_TRIES; i++) {
        __u32 leap = decide_leap(cursor, i, pool);
        __u64 turn = __sync_fetch_and_add(cursor, leap + 1) + leap;
        __u32 position = (__u32)((turn & ~DECIDE_CROWDED) * (range >> 32) % pool);
        __u32 address_index = (__u32)addresses + position / ports;
        struct flb_snat_address* source = bpf_map_lookup_elem(&snat_addresses, &address_index);
        int result;

        if (!source)
            return FLB_DROP_not_configured;
        decide_set_source(v6, &s->out, &source->address);
        s->out.ports = (s->out.ports & 0xffff0000) | swap16((__u16)(range + position % ports));
        decide_reply_key(v6, &s->request.key, &s->out, s->packet.protocol);
        s->request.mode = decide_reply_mode((turn & DECIDE_CROWDED) != 0, i);
        result = reserve(v6, &s->request);
        if (result == FLOW_OK) {
            decide_mark_crowded(cursor, s->request.taken);
            return STEP_NEXT;
        }
        if (result == FLOW_FULL)
            return FLB_DROP_table_full;
        contended = result == FLOW_CONTENDED;
    }
    return contended ? FLB_DROP_table_contended : FLB_DROP_ports_exhausted;
}

#endif
