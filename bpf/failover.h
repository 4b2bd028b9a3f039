/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * failover: the flow is known, but its packet does not go where the flow says.
 *  - The backend is down, and the daemon said what becomes of its connections (`on_backend_down`, FLB_BACKEND_RESET
 *    and FLB_BACKEND_REHASH_*): the client is answered with RST, or the packet is treated as of an unknown flow.
 *  - The client repeats a SYN that its backend has not answered (FLB_SERVICE_SYN_FAILOVER): another backend gets it,
 *    and the reply's entry of the first one becomes FLB_FLOW_SUPERSEDED, so that a late answer is dropped and never
 *    reaches the client beside the other's.
 * Packets of backends are not concerned: a health check that errs must not cut off answers.
 */
#ifndef FEATHERLB_FAILOVER_H
#define FEATHERLB_FAILOVER_H

#include "decide.h"

#define FAILOVER_SYN_PART 4 /* of a second must have passed since the flow was made: not just a doubled packet */

#define FAILOVER_FLAGS (FLB_BACKEND_VALID | FLB_BACKEND_RESET | FLB_BACKEND_REHASH_TCP | FLB_BACKEND_REHASH_UDP)

FLB_INLINE int failover_is_syn(const struct packet* p)
{
    return p->protocol == IPPROTO_TCP && (p->tcp_flags & (TCP_SYN | TCP_ACK | TCP_RST)) == TCP_SYN;
}

/* Ends the pair, but keeps the reply's key taken. Of several processors that try, one succeeds; none does where the
 * backend answers at this moment. */
FLB_INLINE int failover_supersede(const int v6, struct flow_ref* owner, __u32 now)
{
    struct flow_ref reply;
    __u32 state;

    if (!flow_reply(v6, owner, &reply))
        return flow_advance(owner, FLB_FLOW_EMPTY, (__u32)owner->ctl);
    state = flow_state(reply.ctl);
    if (state == FLB_FLOW_SUPERSEDED || !flow_advance_reply(&reply, FLB_FLOW_SUPERSEDED, now))
        return 0;
    if (flow_advance(owner, FLB_FLOW_EMPTY, (__u32)owner->ctl))
        return 1;
    flow_advance_reply(&reply, state, now);
    return 0;
}

/* Is the packet, whose backend has `flags`, to be taken from it? STEP_DOWN: yes. */
FLB_INLINE int failover_check(const struct packet* p, const struct way* way, __u32 flags)
{
    __u32 concerned =
        p->protocol == IPPROTO_TCP ? FLB_BACKEND_RESET | FLB_BACKEND_REHASH_TCP : (__u32)FLB_BACKEND_REHASH_UDP;

    if (!(flags & FLB_BACKEND_VALID))
        return FLB_DROP_not_configured;
    return (flags & concerned) && !way->decided ? (int)STEP_DOWN : STEP_NEXT;
}

/* STEP_PASS: go on as for an unknown flow. */
FLB_INLINE int failover_down(const int v6, struct slow* s)
{
    const struct packet* p = &s->packet;
    struct flb_backend* backend;
    struct flow_ref owner;
    __u32 backend_index;

    if (!flow_find(v6, &p->key, &owner) || flow_is_reply(flow_state(owner.ctl)))
        return STEP_PASS;
    backend_index = atomic_load(&owner.f->backend);
    backend = bpf_map_lookup_elem(&backends, &backend_index);
    if (!backend)
        return FLB_DROP_not_configured;
    if (p->protocol == IPPROTO_TCP && (backend->flags & FLB_BACKEND_RESET) && !failover_is_syn(p)) {
        if ((p->tcp_flags & TCP_RST) || !(p->tcp_flags & TCP_ACK))
            return FLB_DROP_backend_down;
        follow_anew(v6, &owner);
        return STEP_RESET(FLB_DROP_backend_down);
    }
    s->admitted = flow_is_proven(flow_state(owner.ctl)) && !failover_is_syn(p);
    if (p->protocol == IPPROTO_UDP)
        return (int)follow_anew(v6, &owner);
    failover_supersede(v6, &owner, flow_now());
    return STEP_PASS;
}

/* Was the flow made some time ago? Its answer is no measure any more: it may be to this SYN. By a compare-and-swap, as
 * the backend may answer at this moment, and then `aux` proves the client. */
FLB_INLINE int failover_is_long_ago(const struct flow_ref* owner, __u32 service_flags, __u32 hz)
{
    const __u32 began = atomic_load(&owner->f->aux);

    if (!measure_from_beginning(service_flags, IPPROTO_TCP))
        return (__u32)bpf_jiffies64() - began >= hz / FAILOVER_SYN_PART;
    if (!(began & MEASURE_REPEATED))
        __sync_val_compare_and_swap(&owner->f->aux, began, began | MEASURE_REPEATED);
    return measure_clock() - began >= 1000000 / FAILOVER_SYN_PART;
}

/* STEP_NEXT: the backend that the flow has gets this SYN too; STEP_PASS: decide for s->chosen. */
FLB_INLINE int failover_syn(const int v6, struct slow* s)
{
    const struct flb_settings* settings = flow_settings();
    struct flb_backend* backend;
    struct flb_service* service;
    struct flow_ref owner;
    __u32 backend_index, service_index, other;
    int long_ago;

    if (!settings || !flow_find(v6, &s->packet.key, &owner) || flow_state(owner.ctl) != FLB_FLOW_SYN)
        return STEP_NEXT;
    backend_index = atomic_load(&owner.f->backend);
    backend = bpf_map_lookup_elem(&backends, &backend_index);
    if (!backend)
        return STEP_NEXT;
    service_index = backend->service;
    service = bpf_map_lookup_elem(&services, &service_index);
    if (!service)
        return STEP_NEXT;
    long_ago = failover_is_long_ago(&owner, service->flags, settings->hz);
    if (!long_ago || !(service->flags & FLB_SERVICE_SYN_FAILOVER))
        return STEP_NEXT;
    other = pick_another(service_index, service, backend_index);
    if (!other || !failover_supersede(v6, &owner, flow_now()))
        return STEP_NEXT;
    s->chosen = other;
    s->admitted = 1;
    return STEP_PASS;
}

__attribute__((noinline)) int failover_down4(struct slow* s)
{
    return s ? failover_down(0, s) : FLB_DROP_not_configured;
}

__attribute__((noinline)) int failover_down6(struct slow* s)
{
    return s ? failover_down(1, s) : FLB_DROP_not_configured;
}

__attribute__((noinline)) int failover_syn4(struct slow* s)
{
    return s ? failover_syn(0, s) : FLB_DROP_not_configured;
}

__attribute__((noinline)) int failover_syn6(struct slow* s)
{
    return s ? failover_syn(1, s) : FLB_DROP_not_configured;
}

/* `step`: STEP_DOWN or STEP_SYN_AGAIN. STEP_NEXT: the recipe says what to do; STEP_PASS: decide_prepared() goes on. The
 * decision is not made here: every call on the way to it counts against the kernel's limit of 512 bytes of stack. */
FLB_INLINE int failover(const int v6, const struct packet* p, int step)
{
    struct slow* s = decide_load(v6, p);

    if (!s)
        return FLB_DROP_not_configured;
    s->decides = FLB_SAMPLE_MOVED;
    if (step == STEP_DOWN)
        return v6 ? failover_down6(s) : failover_down4(s);
    return v6 ? failover_syn6(s) : failover_syn4(s);
}

static __attribute__((noinline)) int failover4(const struct packet* p, int step)
{
    return failover(0, p, step);
}

static __attribute__((noinline)) int failover6(const struct packet* p, int step)
{
    return failover(1, p, step);
}

#endif
