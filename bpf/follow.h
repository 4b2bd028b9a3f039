/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * follow: what a packet of a known flow does to the flow: its age, once a tick, and the state of its connection.
 * A plain segment of an established connection costs two comparisons here.
 */
#ifndef FEATHERLB_FOLLOW_H
#define FEATHERLB_FOLLOW_H

#include "admit.h"
#include "affinity.h"
#include "follow_one_way.h"
#include "marks.h"
#include "measure.h"
#include "packet.h"

/* FOLLOW_GONE: the flow has expired, or the packet begins a new connection: go on as for an unknown one.
 * FOLLOW_SYN_AGAIN: the client repeats a SYN that its backend has not answered.
 * FOLLOW_REFUSED: it would prove one connection more than its source may have. FOLLOW_KILLED: an operator has ended the
 * connection; an RST goes on all the same, so that the other side learns of it. */
enum follow {
    FOLLOW_ON = STEP_NEXT,
    FOLLOW_GONE = STEP_PASS,
    FOLLOW_SYN_AGAIN = STEP_SYN_AGAIN,
    FOLLOW_SUPERSEDED = FLB_DROP_superseded,
    FOLLOW_REFUSED = FLB_DROP_source_connections,
    FOLLOW_KILLED = STEP_RESET(FLB_DROP_killed)
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

FLB_INLINE int follow_is_one_way(const struct flow_ref* owner)
{
    return atomic_load(&owner->f->pair) == FLB_NO_PAIR;
}

/* Marks the reply's entry as a proven connection's, so that nobody takes it any more; then, and only then, the owner
 * may become proven. FOLLOW_GONE: it has been taken, and the source port with it. */
FLB_INLINE enum follow follow_prove(const int v6, const struct flow_ref* owner, __u32 now)
{
    struct flow_ref reply;

    if (follow_is_one_way(owner))
        return FOLLOW_ON; /* there is none, and no port */
    FLOW_ROLLED
    for (int i = 0; i < FOLLOW_TRIES; i++) {
        if (!flow_reply(v6, owner, &reply))
            return FOLLOW_GONE;
        if (flow_is_proven(flow_state(reply.ctl)) || flow_advance_reply(&reply, FLB_FLOW_REPLY, now))
            return FOLLOW_ON;
    }
    return FOLLOW_GONE;
}

/* An owner whose age is not this tick. Of numbers alone, so that the fast path keeps its registers and its stack. */
__attribute__((noinline)) int follow_tick(__u32 v6, __u32 index, __u64 ctl, __u32 now)
{
    struct flow_ref ref = {v6 ? flow_at(1, index) : flow_at(0, index), ctl, index, v6};
    const struct flb_settings* settings = flow_settings();

    if (!ref.f)
        return FOLLOW_GONE;
    if (!settings || flow_has_expired(ctl, now, settings)) {
        flow_release(&ref);
        return FOLLOW_GONE;
    }
    if (flow_is_open(flow_state(ctl)))
        affinity_touch(v6, index, ((__u32)ctl ^ now) >> AFFINITY_GRAIN_SHIFT ? AFFINITY_TOUCH : AFFINITY_TICK);
    flow_touch(&ref, now);
    return FOLLOW_ON;
}

FLB_INLINE enum follow follow_age(struct flow_ref* ref, __u32 now)
{
    if (follow_tick(ref->v6, ref->index, ref->ctl, now))
        return FOLLOW_GONE;
    ref->ctl = (ref->ctl & ~0xffffffffULL) | now; /* as it is now, but for a mark or a lock */
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
        flow_touch(&reply, now);
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
    if (flow_is_established(state))
        return FLB_FLOW_FIN_CLIENT;
    return state == FLB_FLOW_FIN_BACKEND ? FLB_FLOW_CLOSED_BACKEND : state;
}

/* Moves the owner on. One that becomes proven and open is counted, and its client is pinned; where that is the
 * client's doing, not beyond the source's limit, and not without its reply's entry (FOLLOW_TAKEN). One that closes has
 * used its pin. */
enum follow_moved { FOLLOW_LOST = 0, FOLLOW_MOVED, FOLLOW_TAKEN, FOLLOW_OVER_LIMIT };
FLB_INLINE enum follow_moved follow_move(
    const int v6, struct flow_ref* owner, __u32 next, __u32 now, const int by_client)
{
    const __u64 high = flow_client_high(v6, owner->f); /* of this owner, if the swap succeeds */
    const __u64 low = flow_client_low(v6, owner->f);
    const __u32 backend = atomic_load(&owner->f->backend);
    const int was_open = flow_is_open(flow_state(owner->ctl));
    const int proves = flow_is_proven(next) && !flow_is_proven(flow_state(owner->ctl));
    enum follow_moved moved = FOLLOW_LOST;
    int count = ADMIT_UNCOUNTED;

    if (proves && flow_is_open(next)) {
        count = admit_count(backend, high, by_client);
        if (count == ADMIT_REFUSED)
            return FOLLOW_OVER_LIMIT;
    }
    if (by_client && proves && follow_prove(v6, owner, now)) {
        moved = FOLLOW_TAKEN;
    } else if (flow_advance_with(owner, next, now, count == ADMIT_COUNTED ? FLB_CTL_COUNTED : 0)) {
        if (was_open != flow_is_open(next))
            affinity_use(backend, high, low, was_open ? AFFINITY_TOUCH : AFFINITY_PROVEN);
        return FOLLOW_MOVED;
    }
    if (count == ADMIT_COUNTED)
        admit_uncount(backend, high);
    return moved;
}

/* An RST that the backend did not believe must not take the connection out of its source's count: a packet of the
 * backend in a later tick puts it back. */
FLB_INLINE void follow_after_reset(const int v6, struct flow_ref* owner, __u32 now)
{
    const __u64 client = flow_client_high(v6, owner->f);
    const __u32 backend = atomic_load(&owner->f->backend);

    if ((owner->ctl & FLB_CTL_COUNTED) || admit_count(backend, client, 0) != ADMIT_COUNTED)
        return;
    if (!flow_advance_with(owner, FLB_FLOW_RESET, now, FLB_CTL_COUNTED))
        admit_uncount(backend, client);
}

/* The reply's entry remembers in which tick the RST came. */
FLB_INLINE void follow_note_reset(const int v6, const struct flow_ref* owner, __u32 now)
{
    struct flow_ref reply;

    if (flow_reply(v6, owner, &reply))
        flow_touch(&reply, now);
}

/* The client begins anew on a tuple that is closing: both old entries go, so that nothing of the old connection
 * is taken for the new one. */
FLB_INLINE enum follow follow_anew(const int v6, struct flow_ref* owner)
{
    struct flow_ref reply;

    if (flow_reply(v6, owner, &reply))
        flow_advance_reply(&reply, FLB_FLOW_EMPTY, (__u32)reply.ctl);
    flow_release(owner);
    return FOLLOW_GONE;
}

FLB_INLINE enum follow follow_client_state(const int v6, struct flow_ref* ref, const struct packet* p, __u32 now)
{
    FLOW_ROLLED
    for (int i = 0; i < FOLLOW_TRIES; i++) {
        __u32 state = flow_state(ref->ctl);
        __u32 next;

        if (follow_is_one_way(ref))
            next = follow_client_one_way(state, p, atomic_load(&ref->f->aux));
        else if (p->protocol == IPPROTO_UDP)
            next = state == FLB_FLOW_UDP_REPLIED ? FLB_FLOW_UDP_STREAM : state;
        else
            next = follow_client_tcp(state, p, atomic_load(&ref->f->aux));
        if (next == state)
            break;
        switch (follow_move(v6, ref, next, now, 1)) {
        case FOLLOW_MOVED:
            if (next == FLB_FLOW_RESET)
                follow_note_reset(v6, ref, now);
            return FOLLOW_ON;
        case FOLLOW_TAKEN:
            flow_release(ref);
            return FOLLOW_GONE;
        case FOLLOW_OVER_LIMIT:
            return FOLLOW_REFUSED;
        default:
            if (!follow_again(ref))
                return FOLLOW_ON;
        }
    }
    return FOLLOW_ON;
}

/* What is not a plain packet of an open connection, in functions of their own: the fast path keeps its registers and
 * its stack. */
FLB_INLINE int follow_client_slow(const int v6, __u32 index, __u64 ctl, const struct packet* p, __u32 now)
{
    struct flow_ref ref = {flow_at(v6, index), ctl, index, v6};
    __u32 state = flow_state(ctl);

    if (!ref.f || (!flow_is_proven(state) && !follow_is_one_way(&ref) && follow_unproven(v6, &ref, now)))
        return FOLLOW_GONE;
    if ((p->tcp_flags & (TCP_SYN | TCP_ACK | TCP_RST)) == TCP_SYN) {
        if (state == FLB_FLOW_SYN) /* one way: nobody knows whether it was answered */
            return follow_is_one_way(&ref) ? (int)FOLLOW_ON : (int)FOLLOW_SYN_AGAIN;
        if (flow_is_closing(state))
            return follow_anew(v6, &ref);
    }
    if (state == FLB_FLOW_KILLED && !(p->tcp_flags & TCP_RST))
        return FOLLOW_KILLED;
    return follow_client_state(v6, &ref, p, now);
}

__attribute__((noinline)) int follow_client_slow4(__u32 index, __u64 ctl, const struct packet* p, __u32 now)
{
    return p ? follow_client_slow(0, index, ctl, p, now) : (int)FLB_DROP_not_configured;
}

__attribute__((noinline)) int follow_client_slow6(__u32 index, __u64 ctl, const struct packet* p, __u32 now)
{
    return p ? follow_client_slow(1, index, ctl, p, now) : (int)FLB_DROP_not_configured;
}

/* A packet of the client has been followed on the slow way; `ctl` is what the owner was before. If it has proven a
 * connection whose response is to be measured, that is awaited from now on; if it is the first one with payload, its
 * time is kept. The packet has not been sent on yet, so no answer to it is overlooked. Of numbers alone, and everything
 * is asked here, for the sake of the caller's stack and of the verifier. */
__attribute__((noinline)) int follow_measure(__u32 v6, __u32 index, __u64 ctl, __u32 payload, __u32 now)
{
    struct flow_ref ref = {v6 ? flow_at(1, index) : flow_at(0, index), ctl, index, v6};
    struct flow_ref reply;
    __u64 seen;

    if (!ref.f || !follow_again(&ref))
        return 0;
    if (flow_state(ctl) == FLB_FLOW_SYN_ACK && flow_state(ref.ctl) == FLB_FLOW_ESTABLISHED) {
        if (!measure_first_byte(atomic_load(&ref.f->backend)))
            return 0;
        if (!(v6 ? flow_reply(1, &ref, &reply) : flow_reply(0, &ref, &reply)))
            return 0;
        if (!flow_advance_reply(&reply, FLB_FLOW_REPLY_MEASURED, now) ||
            !flow_swap(&ref, FLB_FLOW_AWAITING, now, 0, &seen))
            return 0;
        if (flow_state(atomic_load(&reply.f->ctl)) != FLB_FLOW_REPLY_MEASURED) /* an answer came between the two */
            return flow_swap(&ref, FLB_FLOW_ESTABLISHED, now, 0, &seen);
    }
    if (flow_state(ref.ctl) != FLB_FLOW_AWAITING || !payload)
        return 0;
    atomic_store(&ref.f->aux, measure_clock()); /* before the swap: who sees the state reads it */
    return flow_swap(&ref, FLB_FLOW_MEASURING, now, 0, &seen);
}

/* A packet from the client; `ref` is the owner. */
FLB_INLINE int follow_client(const int v6, struct flow_ref* ref, const struct packet* p, __u32 now)
{
    __u32 state = flow_state(ref->ctl);
    int step;

    if ((__u32)ref->ctl != now && follow_age(ref, now))
        return FOLLOW_GONE;
    if (state == FLB_FLOW_UDP_STREAM ||
        (state == FLB_FLOW_ESTABLISHED && !(p->tcp_flags & (TCP_SYN | TCP_FIN | TCP_RST))))
        return FOLLOW_ON;
    step = v6 ? follow_client_slow6(ref->index, ref->ctl, p, now) : follow_client_slow4(ref->index, ref->ctl, p, now);
    follow_measure((__u32)v6, ref->index, ref->ctl, measure_payload(p), now);
    return step;
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
    if (flow_is_established(state))
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
    *(__u64*)&hop = atomic_load_word(&backend->hop);
    *(__u32*)hop.vlan = atomic_load((__u32*)backend->hop.vlan);
    return *(__u64*)&hop && (((hop.link ^ p->from.link) & (FLB_LINK_SLOT | FLB_LINK_TAGS)) ||
                                ((*(__u32*)hop.vlan ^ *(__u32*)p->from.vlan) & ids));
}

/* A segment of the backend while its owner waits for one with payload: that is the sample, if the client's came before
 * it. Once its owner waits no more, the reply's entry is like others. Of numbers alone, for the sake of the caller's
 * stack. */
__attribute__((noinline)) int follow_answer(__u32 v6, __u32 index, __u64 ctl, __u32 payload, __u32 now)
{
    struct flow_ref reply = {v6 ? flow_at(1, index) : flow_at(0, index), ctl, index, v6};
    struct flow_ref owner;
    __u32 state, began, backend;
    __u64 seen;

    if (flow_state(ctl) != FLB_FLOW_REPLY_MEASURED)
        return 0;
    if (!reply.f || !(v6 ? flow_owner(1, reply.f, &owner) : flow_owner(0, reply.f, &owner)))
        return 0;
    state = flow_state(owner.ctl);
    if (flow_is_measured(state)) {
        if (!payload)
            return 0;
        began = atomic_load(&owner.f->aux); /* of this owner, if the swap succeeds */
        backend = atomic_load(&owner.f->backend);
        if (!flow_swap(&owner, FLB_FLOW_ESTABLISHED, now, 0, &seen))
            return 0;
        if (state == FLB_FLOW_MEASURING)
            measure_answer(backend, state, began);
    }
    return flow_advance_reply(&reply, FLB_FLOW_REPLY, now);
}

/* A backend's packet is about to move an owner that is not proven to `next`. For SYN_ACK, `proof` is what will prove
 * the client. In its place the time of the client's first packet has stood: of several processors that see the answer,
 * the one that swaps them has the sample. Asked here, for the sake of the verifier; of numbers alone, for the stack's.
 */
__attribute__((noinline)) int follow_first_answer(__u32 v6, __u32 index, __u32 next, __u32 proof)
{
    struct flb_flow* owner = v6 ? flow_at(1, index) : flow_at(0, index);
    const int udp = next == FLB_FLOW_UDP_REPLIED;
    __u32 began, backend;

    if (!owner || (next != FLB_FLOW_SYN_ACK && !udp))
        return 0;
    if (udp)
        proof = 0;
    began = atomic_load(&owner->aux);
    backend = atomic_load(&owner->backend);
    if (began == proof)
        return 0;
    if (__sync_val_compare_and_swap(&owner->aux, began, proof) == began)
        measure_answer(backend, udp ? FLB_FLOW_UDP_NEW : FLB_FLOW_SYN, began);
    else
        atomic_store(&owner->aux, proof); /* the client has repeated its SYN meanwhile */
    return 0;
}

FLB_INLINE enum follow follow_backend_owner(
    const int v6, struct flow_ref* owner, struct flow_ref* reply, const struct packet* p, __u32 now)
{
    FLOW_ROLLED
    for (int i = 0; i < FOLLOW_TRIES; i++) {
        __u32 state = flow_state(owner->ctl);
        __u32 next = follow_backend_state(state, p);

        if (next == state || (!flow_is_proven(state) && follow_is_forged(reply->f, p)))
            return FOLLOW_ON;
        if (!flow_is_proven(state))
            follow_first_answer((__u32)v6, owner->index, next, p->seq + 1);
        if (state == FLB_FLOW_MIDSTREAM && next != FLB_FLOW_CLOSED_BACKEND &&
            flow_state(reply->ctl) == FLB_FLOW_REPLY_NEW && !flow_advance_reply(reply, FLB_FLOW_REPLY, now))
            return FOLLOW_ON; /* taken; see follow_prove */
        if (follow_move(v6, owner, next, now, 0) == FOLLOW_MOVED) {
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
    struct flow_ref ref = {flow_at(v6, index), ctl, index, v6};
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
    if (flow_state(owner.ctl) == FLB_FLOW_KILLED && !(p->tcp_flags & TCP_RST))
        return FOLLOW_KILLED; /* and the reply's entry stays old, so that the next packet comes here, too */
    if ((__u32)ref.ctl != now) {
        flow_touch(&ref, now);
        if (flow_state(owner.ctl) == FLB_FLOW_RESET && !(p->tcp_flags & TCP_RST))
            follow_after_reset(v6, &owner, now);
    }
    return follow_backend_owner(v6, &owner, &ref, p, now);
}

__attribute__((noinline)) int follow_backend_slow4(__u32 index, __u64 ctl, const struct packet* p, __u32 now)
{
    return p ? follow_backend_slow(0, index, ctl, p, now) : (int)FLB_DROP_not_configured;
}

__attribute__((noinline)) int follow_backend_slow6(__u32 index, __u64 ctl, const struct packet* p, __u32 now)
{
    return p ? follow_backend_slow(1, index, ctl, p, now) : (int)FLB_DROP_not_configured;
}

/* A packet from the backend; `ref` is the reply's entry. The owner's line is touched only when something is to be
 * learned: an age, a flag, or while the connection is not proven. */
FLB_INLINE int follow_backend(const int v6, const struct flow_ref* ref, const struct packet* p, __u32 now)
{
    if ((__u32)ref->ctl == now && flow_state(ref->ctl) == FLB_FLOW_REPLY &&
        !(p->tcp_flags & (TCP_SYN | TCP_FIN | TCP_RST)))
        return FOLLOW_ON;
    follow_answer((__u32)v6, ref->index, ref->ctl, measure_payload(p), now); /* and no branch for the verifier */
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
