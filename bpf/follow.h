/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * follow: what a packet of a known flow does to the flow: its age, once a tick, and the state of its connection.
 * A plain segment of an established connection costs two comparisons here.
 */
#ifndef FEATHERLB_FOLLOW_H
#define FEATHERLB_FOLLOW_H

#include "maps.h"
#include "marks.h"
#include "packet.h"

/* FOLLOW_GONE: the flow has expired, or the packet begins a new connection: go on as for an unknown one.
 * FOLLOW_SYN_AGAIN: the client repeats a SYN that its backend has not answered. */
enum follow {
    FOLLOW_ON = STEP_NEXT,
    FOLLOW_GONE = STEP_PASS,
    FOLLOW_SYN_AGAIN = STEP_SYN_AGAIN,
    FOLLOW_SUPERSEDED = FLB_DROP_superseded
};

#define FOLLOW_TRIES 4 /* both directions may change the state at the same moment */

/* A client whose frames come another way than before is answered that way. */
FLB_INLINE int follow_same_hop(const struct flb_hop* a, const struct flb_hop* b)
{
    return *(const __u64*)a == *(const __u64*)b && *(const __u32*)a->vlan == *(const __u32*)b->vlan;
}

FLB_INLINE void follow_set_hop(struct flb_hop* to, const struct flb_hop* from)
{
    atomic_store((__u64*)to, *(const __u64*)from);
    atomic_store((__u32*)to->vlan, *(const __u32*)from->vlan);
}

/* After a change that lost against another one: look again, if the flow still is the same. */
FLB_INLINE int follow_again(struct flow_ref* ref)
{
    __u64 ctl = atomic_load(&ref->f->ctl);

    if (flow_generation(ctl) != flow_generation(ref->ctl) || !flow_is_live(ctl))
        return 0;
    ref->ctl = ctl;
    return 1;
}

/* Marks the reply's entry as a proven connection's, so that nobody takes it any more; then, and only then, the owner
 * may become proven. FOLLOW_GONE: it has been taken, and the source port with it. */
FLB_INLINE enum follow follow_prove(const int v6, const struct flow_ref* owner, __u32 now)
{
    struct flow_ref reply;

    FLOW_ROLLED
    for (int i = 0; i < FOLLOW_TRIES; i++) {
        if (!flow_reply(v6, owner, &reply))
            return FOLLOW_GONE;
        if (flow_state(reply.ctl) == FLB_FLOW_REPLY || flow_advance(&reply, FLB_FLOW_REPLY, now))
            return FOLLOW_ON;
    }
    return FOLLOW_GONE;
}

/* Called when the age of the entry is not this tick. */
FLB_INLINE enum follow follow_age(struct flow_ref* ref, __u32 now)
{
    const struct flb_settings* settings = flow_settings();

    if (!settings || flow_has_expired(ref->ctl, now, settings)) {
        flow_release(ref);
        return FOLLOW_GONE;
    }
    flow_advance(ref, flow_state(ref->ctl), now);
    return FOLLOW_ON;
}

/* A connection that is not proven needs its reply's entry, which may be replaced any time: without it the source
 * port is no longer ours. */
FLB_INLINE enum follow follow_unproven(const int v6, struct flow_ref* owner, __u32 now)
{
    struct flow_ref reply;

    if (!flow_reply(v6, owner, &reply)) {
        flow_release(owner);
        return FOLLOW_GONE;
    }
    if ((__u32)reply.ctl != now)
        flow_advance(&reply, flow_state(reply.ctl), now);
    return FOLLOW_ON;
}

/* The next state after this segment of the client. An RST of a client that is not proven changes nothing: it may
 * be forged, and an unproven flow is short-lived and replaceable anyway. */
FLB_INLINE __u32 follow_client_tcp(__u32 state, const struct packet* p, __u32 expected)
{
    if (state == FLB_FLOW_SYN_ACK && (p->tcp_flags & TCP_ACK) && p->ack == expected)
        state = FLB_FLOW_ESTABLISHED;
    if (p->tcp_flags & TCP_RST)
        return flow_is_closed(state) || !flow_is_proven(state) ? state : FLB_FLOW_RESET;
    if (!(p->tcp_flags & TCP_FIN))
        return state;
    if (state == FLB_FLOW_ESTABLISHED)
        return FLB_FLOW_FIN_CLIENT;
    return state == FLB_FLOW_FIN_BACKEND ? FLB_FLOW_CLOSED_BACKEND : state;
}

/* The client begins anew on a tuple that is closing: both old entries go, so that nothing of the old connection
 * is taken for the new one. */
FLB_INLINE enum follow follow_anew(const int v6, struct flow_ref* owner)
{
    struct flow_ref reply;

    if (flow_reply(v6, owner, &reply))
        flow_release(&reply);
    flow_release(owner);
    return FOLLOW_GONE;
}

FLB_INLINE enum follow follow_client_state(const int v6, struct flow_ref* ref, const struct packet* p, __u32 now)
{
    FLOW_ROLLED
    for (int i = 0; i < FOLLOW_TRIES; i++) {
        __u32 state = flow_state(ref->ctl);
        __u32 next;

        if (p->protocol == IPPROTO_UDP)
            next = state == FLB_FLOW_UDP_REPLIED ? FLB_FLOW_UDP_STREAM : state;
        else
            next = follow_client_tcp(state, p, atomic_load(&ref->f->aux));
        if (next == state)
            break;
        if (flow_is_proven(next) && !flow_is_proven(state) && follow_prove(v6, ref, now)) {
            flow_release(ref);
            return FOLLOW_GONE;
        }
        if (flow_advance(ref, next, now) || !follow_again(ref))
            break;
    }
    return FOLLOW_ON;
}

/* What is not a plain packet of an open connection, in functions of their own: the fast path keeps its registers and
 * its stack. */
FLB_INLINE int follow_client_slow(const int v6, __u32 index, __u64 ctl, const struct packet* p, __u32 now)
{
    struct flow_ref ref = {flow_at(v6, index), ctl, index};
    __u32 state = flow_state(ctl);

    if (!ref.f || (!flow_is_proven(state) && follow_unproven(v6, &ref, now)))
        return FOLLOW_GONE;
    if ((p->tcp_flags & (TCP_SYN | TCP_ACK | TCP_RST)) == TCP_SYN) {
        if (state == FLB_FLOW_SYN)
            return FOLLOW_SYN_AGAIN;
        if (flow_is_closing(state))
            return follow_anew(v6, &ref);
    }
    return follow_client_state(v6, &ref, p, now);
}

static __attribute__((noinline)) int follow_client_slow4(__u32 index, __u64 ctl, const struct packet* p, __u32 now)
{
    return follow_client_slow(0, index, ctl, p, now);
}

static __attribute__((noinline)) int follow_client_slow6(__u32 index, __u64 ctl, const struct packet* p, __u32 now)
{
    return follow_client_slow(1, index, ctl, p, now);
}

/* A packet from the client; `ref` is the owner. */
FLB_INLINE int follow_client(const int v6, struct flow_ref* ref, const struct packet* p, __u32 now)
{
    __u32 state = flow_state(ref->ctl);

    if ((__u32)ref->ctl != now && follow_age(ref, now))
        return FOLLOW_GONE;
    if (state == FLB_FLOW_UDP_STREAM ||
        (state == FLB_FLOW_ESTABLISHED && !(p->tcp_flags & (TCP_SYN | TCP_FIN | TCP_RST))))
        return FOLLOW_ON;
    return v6 ? follow_client_slow6(ref->index, ref->ctl, p, now) : follow_client_slow4(ref->index, ref->ctl, p, now);
}

/* The owner's next state after this packet of the backend. A refused connection is closed: the backend's word is
 * good, and nobody needs the entry. */
FLB_INLINE __u32 follow_backend_state(__u32 state, const struct packet* p)
{
    if (p->protocol == IPPROTO_UDP)
        return state == FLB_FLOW_UDP_NEW ? FLB_FLOW_UDP_REPLIED : state;
    if (p->tcp_flags & TCP_RST) {
        if (flow_is_closed(state))
            return state;
        return flow_is_proven(state) ? FLB_FLOW_RESET : FLB_FLOW_CLOSED_BACKEND;
    }
    if ((p->tcp_flags & (TCP_SYN | TCP_ACK)) == (TCP_SYN | TCP_ACK))
        return state == FLB_FLOW_SYN ? FLB_FLOW_SYN_ACK : state;
    if (state == FLB_FLOW_MIDSTREAM && (p->tcp_flags & TCP_ACK))
        state = FLB_FLOW_ESTABLISHED; /* a backend that did not know the connection would have answered RST */
    if (!(p->tcp_flags & TCP_FIN))
        return state;
    if (state == FLB_FLOW_ESTABLISHED)
        return FLB_FLOW_FIN_BACKEND;
    return state == FLB_FLOW_FIN_CLIENT ? FLB_FLOW_CLOSED_CLIENT : state;
}

/* A backend's answer proves a connection, so it must not be forged as easily as the client's packets: one that comes
 * from where the client's frames come from, while the backend is on another interface or VLAN, proves nothing. */
FLB_INLINE int follow_is_forged(struct flb_flow* reply, const struct packet* p)
{
    const __u32 ids = 0x0fff0fff; /* of the tags; not their priorities */
    __u32 number = atomic_load(&reply->backend);
    struct flb_backend* backend;
    struct flb_hop hop;

    if (!follow_same_hop(&reply->hop, &p->from))
        return 0;
    backend = bpf_map_lookup_elem(&backends, &number);
    if (!backend || (backend->flags & FLB_BACKEND_ANY_SIDE))
        return 0;
    *(__u64*)&hop = atomic_load((__u64*)&backend->hop);
    *(__u32*)hop.vlan = atomic_load((__u32*)backend->hop.vlan);
    return *(__u64*)&hop && (((hop.link ^ p->from.link) & (FLB_LINK_SLOT | FLB_LINK_TAGS)) ||
                                ((*(__u32*)hop.vlan ^ *(__u32*)p->from.vlan) & ids));
}

FLB_INLINE enum follow follow_backend_owner(
    struct flow_ref* owner, struct flow_ref* reply, const struct packet* p, __u32 now)
{
    FLOW_ROLLED
    for (int i = 0; i < FOLLOW_TRIES; i++) {
        __u32 state = flow_state(owner->ctl);
        __u32 next = follow_backend_state(state, p);

        if (next == state || (!flow_is_proven(state) && follow_is_forged(reply->f, p)))
            return FOLLOW_ON;
        if (next == FLB_FLOW_SYN_ACK)
            atomic_store(&owner->f->aux, p->seq + 1); /* what will prove the client */
        if (state == FLB_FLOW_MIDSTREAM && next != FLB_FLOW_CLOSED_BACKEND &&
            flow_state(reply->ctl) == FLB_FLOW_REPLY_NEW && !flow_advance(reply, FLB_FLOW_REPLY, now))
            return FOLLOW_ON; /* taken; see follow_prove */
        if (flow_advance(owner, next, now)) {
            if (state == FLB_FLOW_SYN && next == FLB_FLOW_CLOSED_BACKEND)
                mark_refused(atomic_load(&reply->f->backend));
            return FOLLOW_ON;
        }
        if (!follow_again(owner)) /* the client's SYN has left it at this moment */
            return next == FLB_FLOW_SYN_ACK ? FOLLOW_SUPERSEDED : FOLLOW_ON;
    }
    return FOLLOW_ON;
}

FLB_INLINE int follow_backend_slow(const int v6, __u32 index, __u64 ctl, const struct packet* p, __u32 now)
{
    struct flow_ref ref = {flow_at(v6, index), ctl, index};
    struct flow_ref owner;

    if (!ref.f)
        return FOLLOW_GONE;
    if (flow_state(ctl) == FLB_FLOW_SUPERSEDED)
        return FOLLOW_SUPERSEDED;
    if (!flow_owner(v6, ref.f, &owner) || ((__u32)owner.ctl != now && follow_age(&owner, now))) {
        flow_release(&ref);
        /* or the client's SYN has left it at this moment */
        return flow_state(atomic_load(&ref.f->ctl)) == FLB_FLOW_SUPERSEDED ? FOLLOW_SUPERSEDED : FOLLOW_GONE;
    }
    if ((__u32)ref.ctl != now)
        flow_advance(&ref, flow_state(ref.ctl), now);
    return follow_backend_owner(&owner, &ref, p, now);
}

static __attribute__((noinline)) int follow_backend_slow4(__u32 index, __u64 ctl, const struct packet* p, __u32 now)
{
    return follow_backend_slow(0, index, ctl, p, now);
}

static __attribute__((noinline)) int follow_backend_slow6(__u32 index, __u64 ctl, const struct packet* p, __u32 now)
{
    return follow_backend_slow(1, index, ctl, p, now);
}

/* A packet from the backend; `ref` is the reply's entry. The owner's line is touched only when something is to be
 * learned: an age, a flag, or while the connection is not proven. */
FLB_INLINE int follow_backend(const int v6, const struct flow_ref* ref, const struct packet* p, __u32 now)
{
    if ((__u32)ref->ctl == now && flow_state(ref->ctl) == FLB_FLOW_REPLY &&
        !(p->tcp_flags & (TCP_SYN | TCP_FIN | TCP_RST)))
        return FOLLOW_ON;
    return v6 ? follow_backend_slow6(ref->index, ref->ctl, p, now) : follow_backend_slow4(ref->index, ref->ctl, p, now);
}

FLB_INLINE void follow_learn(const int v6, const struct flow_ref* owner, const struct packet* p)
{
    struct flow_ref reply;

    follow_set_hop(&owner->f->hop, &p->from);
    if (flow_reply(v6, owner, &reply))
        follow_set_hop(&reply.f->hop, &p->from);
}

#endif
