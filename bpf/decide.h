/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * decide: the slow path, for a packet of which there is no flow: listener -> service -> pick -> both recipes ->
 * store. ARCHITECTURE.md, "A packet of a connection that is not known", is the table that this follows.
 */
#ifndef FEATHERLB_DECIDE_H
#define FEATHERLB_DECIDE_H

#include "copying.h"
#include "decide_store.h"

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
    s->request.now = flow_now();
    if (backend->flags & FLB_BACKEND_ONE_WAY) { /* not as the service says, which may just be changing */
        s->chosen = backend_index;
        s->state = store ? state : FLB_FLOW_EMPTY;
        return STEP_ONE_WAY;
    }
    decide_from_key(v6, &s->out, &s->packet.key);
    decide_set_destination(v6, &s->out, &backend->address);
    decide_set_port(&s->out, backend->port);
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
        sample_decision(v6, &s->packet, s->decides, backend_index);
        return decide_store_pair(v6, s, service->flags, reply_index, state);
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
        return pick_any(v6, &s->packet, service_index, service);
    return pick_fresh(v6, &s->packet, service_index, service);
}

/* STEP_NEXT: s->recipe and s->way say what to do with s->packet. STEP_ONE_WAY: it goes to s->chosen. */
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
    step = copying_holds(s->packet.protocol, s->packet.tcp_flags,
        swap16((__u16)(decide_ports(v6, &s->packet.key) >> 16)), listener != 0);
    if (step)
        return step;
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
    s->chosen = backend;
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

/* The owner, alone, of a new flow to the `dsr` or `ipip` backend s->chosen, and a recipe that changes nothing. Where
 * it cannot be stored the packet is forwarded all the same, and the next one decides again. */
FLB_INLINE int decide_one_way(const int v6, struct slow* s)
{
    struct flb_flow* owner;
    int result = FLOW_FULL;

    s->request.key = s->packet.key;
    s->request.mode = FLOW_OWNER;
    if (s->state)
        result = reserve(v6, &s->request);
    if ((result == FLOW_EXISTS || result == FLOW_CONTENDED) && !decide_use_existing(v6, s))
        return STEP_NEXT;
    decide_from_key(v6, &s->out, &s->packet.key);
    decide_recipe(v6, &s->recipe, &s->packet, &s->out, s->chosen);
    if (result != FLOW_OK)
        return STEP_NEXT;
    owner = flow_at(v6, s->request.index);
    if (!owner)
        return FLB_DROP_table_contended;
    decide_fill_owner(v6, s, owner, FLB_NO_PAIR, follow_one_way_clock());
    count_connection(s->chosen);
    sample_decision(v6, &s->packet, s->decides, s->chosen);
    flow_moved(s->chosen, FLB_FLOW_BUSY, s->state);
    flow_publish(owner, s->state);
    return STEP_NEXT;
}

/* Not called by decide, for the sake of its stack. */
__attribute__((noinline)) int decide_one_way4(struct slow* s)
{
    return s ? decide_one_way(0, s) : FLB_DROP_not_configured;
}

__attribute__((noinline)) int decide_one_way6(struct slow* s)
{
    return s ? decide_one_way(1, s) : FLB_DROP_not_configured;
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
    s->decides = FLB_SAMPLE_NEW;
    return s;
}

FLB_INLINE int decide_loaded(const int v6, struct slow* s, struct recipe* r, struct way* way)
{
    int step = v6 ? decide6(s) : decide4(s);

    if (step) {
        r->backend = s->chosen; /* which the packet did not get to */
        return step;
    }
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
