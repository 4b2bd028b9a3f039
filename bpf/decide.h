/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * decide: the slow path, for a packet of which there is no flow: listener -> service -> pick -> both recipes ->
 * store. ARCHITECTURE.md, "A packet of a connection that is not known", is the table that this follows.
 */
#ifndef FEATHERLB_DECIDE_H
#define FEATHERLB_DECIDE_H

#include "count.h"
#include "follow.h"
#include "maps.h"
#include "pick.h"
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
    __u32 pad;
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

/* Fills and publishes both entries of a reserved pair: s->request is the owner's. */
FLB_INLINE int decide_store_pair(const int v6, struct slow* s, __u32 reply_index, __u32 state)
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

    decide_fill(v6, owner, r->addresses, (__u32)r->sport | (__u32)r->dport << 16, r->addresses_delta, r->ports_delta);
    atomic_store(&owner->backend, r->backend);
    atomic_store(&owner->pair, reply_index);
    atomic_store(&owner->aux, (__u32)bpf_jiffies64());
    follow_set_hop(&owner->hop, &p->from);

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
    __u64 addresses = atomic_load((const __u64*)&backend->snat_first); /* first and count, written by one store */
    __u64 range;                                                       /* first port, count and stride, likewise */
    __u32 ports, pool;
    int contended = 0;

    if (!settings || !cursor)
        return FLB_DROP_not_configured;
    range = atomic_load((const __u64*)&settings->snat_port_first);
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

/* Makes the pair and the recipe of a new flow. A full table is a reason to drop only where the connection cannot
 * do without its entries (`snat`); elsewhere the packet is forwarded, and the next one decides the same again. */
FLB_INLINE int decide_flow(
    const int v6, struct slow* s, const struct flb_service* service, __u32 backend_index, __u32 state, int store)
{
    struct flb_backend* backend = bpf_map_lookup_elem(&backends, &backend_index);
    const int snat = service->forward == FLB_SNAT;
    struct flb_flow* reply;
    __u32 reply_index;
    int result = FLB_DROP_table_full;

    if (!backend || !(backend->flags & FLB_BACKEND_VALID))
        return FLB_DROP_not_configured;
    decide_from_key(v6, &s->out, &s->packet.key);
    decide_set_destination(v6, &s->out, &backend->address);
    s->out.ports = (s->out.ports & 0xffff) | (__u32)backend->port << 16;
    s->request.now = flow_now();
    if (snat)
        result = decide_reserve_reply_snat(v6, s, backend, backend_index);
    else if (store)
        result = decide_reserve_reply_dnat(v6, s);
    if (result == STEP_STORED)
        return STEP_NEXT;
    decide_recipe(v6, &s->recipe, &s->packet, &s->out, backend_index);
    /* dnat, contended: who stores this reply's key at this moment serves the same client at the same backend, so the
     * recipe is the same, stored or not */
    if (result)
        return (result == FLB_DROP_table_full || result == FLB_DROP_table_contended) && !snat ? STEP_NEXT : result;
    reply_index = s->request.index;

    s->request.key = s->packet.key;
    s->request.mode = FLOW_OWNER;
    result = reserve(v6, &s->request);
    if (result == FLOW_OK) {
        count_connection(backend_index);
        return decide_store_pair(v6, s, reply_index, state);
    }
    reply = flow_at(v6, reply_index);
    if (reply)
        flow_cancel(reply);
    if (result == FLOW_FULL)
        return snat ? FLB_DROP_table_full : STEP_NEXT;
    return decide_use_existing(v6, s);
}

FLB_INLINE void decide_listener_key(
    const int v6, const struct packet* p, int of_source, struct flb_listener_key* listener)
{
    const struct flow_key* key = &p->key;
    __u32 ports = decide_ports(v6, key);

    if (v6)
        address_from(&listener->address, of_source ? key->w[1] : key->w[3], of_source ? key->w[2] : key->w[4]);
    else
        address_from(&listener->address, (__u32)(of_source ? key->w[0] : key->w[0] >> 32), 0);
    listener->port = (__be16)(of_source ? ports : ports >> 16);
    listener->protocol = p->protocol;
    listener->family = v6 ? FLB_IPV6 : FLB_IPV4;
}

/* A packet of a `dnat` backend whose flow is not known leaves as the service, on a route that is yet to be found. */
FLB_INLINE int decide_orphan_reply(const int v6, struct slow* s)
{
    struct flb_listener_key key; /* on the stack: Linux 6.1 takes no key from other memory */
    struct flb_source* source;

    decide_listener_key(v6, &s->packet, 1, &key);
    source = bpf_map_lookup_elem(&sources, &key);
    if (!source)
        return STEP_PASS;
    decide_from_key(v6, &s->out, &s->packet.key);
    decide_set_source(v6, &s->out, &source->address);
    s->out.ports = (s->out.ports & 0xffff0000) | source->port;
    decide_recipe(v6, &s->recipe, &s->packet, &s->out, source->backend);
    s->way.direction = FROM_BACKEND;
    s->way.orphan = 1;
    return STEP_NEXT;
}

/* Functions of their own, for the sake of decide's stack. */
__attribute__((noinline)) int decide_orphan_reply4(struct slow* s)
{
    return s ? decide_orphan_reply(0, s) : FLB_DROP_not_configured;
}

__attribute__((noinline)) int decide_orphan_reply6(struct slow* s)
{
    return s ? decide_orphan_reply(1, s) : FLB_DROP_not_configured;
}

/* TCP: STEP_NEXT with the state of the new flow, or what to do with a segment that opens nothing. */
FLB_INLINE int decide_tcp(const struct packet* p, const struct flb_service* service, __u32* state, int* store)
{
    __u8 flags = p->tcp_flags & (TCP_SYN | TCP_ACK | TCP_FIN | TCP_RST);

    *state = FLB_FLOW_SYN;
    if (flags == TCP_SYN)
        return STEP_NEXT;
    if (!flags || ((flags & TCP_SYN) && (flags & (TCP_FIN | TCP_RST))))
        return FLB_DROP_bad_tcp_flags;
    if (service->forward == FLB_SNAT)
        return (flags & TCP_RST) || !(flags & TCP_ACK) ? (int)FLB_DROP_no_flow : STEP_RESET(FLB_DROP_no_flow);
    *state = FLB_FLOW_MIDSTREAM;
    *store = !(flags & TCP_RST);
    return STEP_NEXT;
}

/* A function of its own, so that its key is off the stack when the next one needs the room. */
FLB_INLINE struct flb_listener* decide_listener(const int v6, const struct packet* p)
{
    struct flb_listener_key key;

    decide_listener_key(v6, p, 0, &key);
    return bpf_map_lookup_elem(&listeners, &key);
}

/* The client's address, in memory order. */
FLB_INLINE __u64 decide_client_high(const int v6, const struct flow_key* key)
{
    return v6 ? key->w[1] : (__u32)key->w[0];
}

FLB_INLINE __u64 decide_client_low(const int v6, const struct flow_key* key)
{
    return v6 ? key->w[2] : 0;
}

/* The backend of a new flow; 0: none. A segment of an older connection goes where every other balancer would send
 * it, whatever we have learned of that backend. */
FLB_INLINE __u32 decide_backend(
    const int v6, const struct slow* s, __u32 service_index, struct flb_service* service, __u32 state)
{
    const struct flow_key* key = &s->packet.key;
    __u32 pinned = 0;

    if (s->chosen)
        return s->chosen;
    if (service->affinity_ticks)
        pinned = affinity_find(service_index, decide_client_high(v6, key), decide_client_low(v6, key));
    if (pinned)
        return pinned;
    if (state == FLB_FLOW_MIDSTREAM)
        return pick(v6, &s->packet, service_index, service);
    return pick_fresh(v6, &s->packet, service_index, service);
}

/* STEP_NEXT: s->recipe and s->way say what to do with s->packet. */
FLB_INLINE int decide(const int v6, struct slow* s)
{
    struct flb_listener* listener;
    struct flb_service* service;
    __u32 service_index, backend, state = FLB_FLOW_UDP_NEW;
    int store = 1, step;

    s->way.direction = FROM_CLIENT;
    s->way.orphan = 0;
    s->way.decided = 1;
    listener = decide_listener(v6, &s->packet);
    if (!listener)
        return v6 ? decide_orphan_reply6(s) : decide_orphan_reply4(s);
    service_index = listener->service;
    service = bpf_map_lookup_elem(&services, &service_index);
    if (!service || !(service->flags & FLB_SERVICE_VALID))
        return FLB_DROP_not_configured;
    if ((service->flags & FLB_SERVICE_LISTS) && !s->admitted) {
        step =
            admit_network(service_index, decide_client_high(v6, &s->packet.key), decide_client_low(v6, &s->packet.key));
        if (step)
            return step;
    }
    if (s->packet.protocol == IPPROTO_TCP) {
        step = decide_tcp(&s->packet, service, &state, &store);
        if (step)
            return step;
        if (service->flags & FLB_SERVICE_REFUSE)
            return STEP_RESET(FLB_DROP_refused);
    }
    if ((service->source_rate || service->source_connections) && state != FLB_FLOW_MIDSTREAM && !s->admitted) {
        step = admit_source(service_index, decide_client_high(v6, &s->packet.key));
        if (step)
            return step;
    }
    backend = decide_backend(v6, s, service_index, service, state);
    if (!backend)
        return FLB_DROP_no_backend;
    return decide_flow(v6, s, service, backend, state, store);
}

__attribute__((noinline)) int decide4(struct slow* s)
{
    return s ? decide(0, s) : FLB_DROP_not_configured;
}

__attribute__((noinline)) int decide6(struct slow* s)
{
    return s ? decide(1, s) : FLB_DROP_not_configured;
}

/* The slow path's memory with a packet in it. */
FLB_INLINE struct slow* decide_load(const int v6, const struct packet* p)
{
    __u32 zero = 0;
    struct slow* s = bpf_map_lookup_elem(&slow_memory, &zero);

    if (!s)
        return 0;
    for (int i = 0; i < FLOW_KEY_WORDS(v6); i++)
        s->packet.key.w[i] = p->key.w[i];
    s->packet.from = p->from;
    s->packet.seq = p->seq;
    s->packet.protocol = p->protocol;
    s->packet.tcp_flags = p->tcp_flags;
    s->chosen = 0;
    s->admitted = 0;
    return s;
}

FLB_INLINE int decide_loaded(const int v6, struct slow* s, struct recipe* r, struct way* way)
{
    int step = v6 ? decide6(s) : decide4(s);

    if (step)
        return step;
    *r = s->recipe;
    *way = s->way;
    return STEP_NEXT;
}

/* Decides about the packet that is in the slow path's memory already. */
FLB_INLINE int decide_prepared(const int v6, struct recipe* r, struct way* way)
{
    __u32 zero = 0;
    struct slow* s = bpf_map_lookup_elem(&slow_memory, &zero);

    return s ? decide_loaded(v6, s, r, way) : FLB_DROP_not_configured;
}

/* Hands a packet of an unknown flow to the slow path. */
FLB_INLINE int decide_unknown(const int v6, const struct packet* p, struct recipe* r, struct way* way)
{
    struct slow* s = decide_load(v6, p);

    return s ? decide_loaded(v6, s, r, way) : FLB_DROP_not_configured;
}

#endif
