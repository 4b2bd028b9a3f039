/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The way of a packet, the same for both hooks:
 *   parse -> prefilter -> flow look-up -> hit: follow, count, replay, send
 *                                      -> miss: decide (listener, pick, both recipes, store), then the same.
 * Aside from it: `dsr` and `ipip` backends, ICMP errors about packets of ours, fragments that follow their first one.
 * A step answers STEP_NEXT or why it ends here; `finish` alone turns that into verdict and counter.
 */
#ifndef FEATHERLB_PIPELINE_H
#define FEATHERLB_PIPELINE_H

#include "kernel.h"

#include "parse.h"

#include "answer.h"
#include "express.h"
#include "failover.h"
#include "fragment.h"
#include "hook.h"
#include "icmp.h"
#include "icmp_tunnel.h"
#include "one_way.h"
#include "reset.h"
#include "route.h"

/* The recipe of a flow that is known; STEP_PASS: there is none; STEP_SYN_AGAIN: there is one, but see failover.h. */
FLB_INLINE int known(const int v6, struct packet* p, struct recipe* r, struct way* way)
{
    struct flow_ref ref;

    if (!flow_find(v6, &p->key, &ref))
        return STEP_PASS;
    if (!flow_load_recipe(v6, &ref, r))
        return FLB_DROP_table_contended;
    if (flow_is_reply(flow_state(ref.ctl))) {
        way->direction = FROM_BACKEND;
        return (int)follow_backend(v6, &ref, p, flow_now());
    }
    if (!follow_same_hop(&r->to, &p->from))
        follow_learn(v6, &ref, p);
    return (int)follow_client(v6, &ref, p, flow_now());
}

/* Slow paths, in functions of their own so that the fast path keeps its registers. */
static __attribute__((noinline)) int reset4(hook_context* context, struct packet* p, __u32 reason)
{
    return reset_segment(0, context, p, reason);
}

static __attribute__((noinline)) int reset6(hook_context* context, struct packet* p, __u32 reason)
{
    return reset_segment(1, context, p, reason);
}

/* Where the packet goes next: r->to, and the largest packet that fits there. STEP_DOWN: not there, see failover.h;
 * STEP_ONE_WAY: there, but see one_way.h. */
FLB_INLINE int next_hop(
    const int v6, hook_context* context, const struct packet* p, struct recipe* r, const struct way* way)
{
    __u32 backend_index = r->backend; /* on the stack: Linux 6.1 takes no key from other memory */
    struct flb_backend* backend;

    if (way->orphan)
        return v6 ? route_back6(context, p, r) : route_back4(context, p, r);
    if (way->direction == FROM_BACKEND)
        return STEP_NEXT;
    backend = bpf_map_lookup_elem(&backends, &backend_index);
    if (!backend)
        return FLB_DROP_not_configured;
    if ((backend->flags & (FAILOVER_FLAGS | FLB_BACKEND_ONE_WAY)) != FLB_BACKEND_VALID) {
        int step = failover_check(p, way, backend->flags);

        if (step)
            return step;
        if (backend->flags & FLB_BACKEND_ONE_WAY)
            return STEP_ONE_WAY;
    }
    *(__u64*)&r->to = atomic_load_word(&backend->hop);
    *(__u32*)r->to.vlan = atomic_load((__u32*)backend->hop.vlan);
    if (!*(__u64*)&r->to)
        return FLB_DROP_backend_unresolved;
    return p->segment > backend->mtu ? (int)FLB_DROP_too_big : STEP_NEXT;
}

/* The interface that the packet leaves by, if it fits. */
FLB_INLINE int way_out(const struct packet* p, const struct recipe* r, const struct way* way, struct flb_iface** out)
{
    __u32 slot = r->to.link & FLB_LINK_SLOT;

    *out = bpf_map_lookup_elem(&ifaces, &slot);
    if (!*out || !(*out)->ifindex)
        return way->direction == FROM_BACKEND ? FLB_DROP_no_return_path : FLB_DROP_not_configured;
    return p->segment > (*out)->mtu ? (int)FLB_DROP_too_big : STEP_NEXT;
}

/* What is not the rule: a packet that cannot go on, of which the sender may have to be told (SENT), or which is left to
 * the stack; the first fragment of a datagram. Who listens to drops is told here of all of them that a flow or a
 * service is known of. */
FLB_INLINE int exception(
    const int v6, hook_context* context, const struct packet* p, const struct recipe* r, __u32 direction, int step)
{
    __u16 reason = STEP_IS_RESET(step) ? (__u16)STEP_RESET_REASON(step) : step > 0 ? (__u16)step : FLB_DROP_none;

    if (reason)
        sample_drop(v6, p, reason, r->backend);
    if (reason == FLB_DROP_ttl_exceeded || reason == FLB_DROP_too_big)
        return answer_packet(v6, context, p, r, direction, step);
    if (step == STEP_PASS && p->fragment)
        return v6 ? fragment_pass6(context, p) : fragment_pass4(context, p);
    if (step)
        return step;
    step = v6 ? fragment_first6(context, p, r, direction) : fragment_first4(context, p, r, direction);
    if (step > 0 && step < SENT)
        sample_drop(v6, p, (__u32)step, r->backend);
    return step;
}

static __attribute__((noinline)) int exception4(
    hook_context* context, const struct packet* p, const struct recipe* r, __u32 direction, int step)
{
    return exception(0, context, p, r, direction, step);
}

static __attribute__((noinline)) int exception6(
    hook_context* context, const struct packet* p, const struct recipe* r, __u32 direction, int step)
{
    return exception(1, context, p, r, direction, step);
}

FLB_INLINE int except(
    const int v6, hook_context* context, const struct packet* p, const struct recipe* r, __u32 direction, int step)
{
    return v6 ? exception6(context, p, r, direction, step) : exception4(context, p, r, direction, step);
}

static __attribute__((noinline)) int next_hop4(
    hook_context* context, const struct packet* p, struct recipe* r, const struct way* way)
{
    return next_hop(0, context, p, r, way);
}

static __attribute__((noinline)) int next_hop6(
    hook_context* context, const struct packet* p, struct recipe* r, const struct way* way)
{
    return next_hop(1, context, p, r, way);
}

/* The flow is known, but its packet goes elsewhere: see failover.h. */
FLB_INLINE int reconsider(const int v6, const struct packet* p, int step, struct recipe* r, struct way* way)
{
    step = v6 ? failover6(p, step) : failover4(p, step);
    return step == STEP_PASS ? decide_prepared(v6, r, way) : step;
}

FLB_INLINE int finish(int step, int verdict)
{
    if (step == STEP_NEXT)
        return verdict;
    if (step >= SENT)
        return step & 0xff;
    if (step < 0)
        return HOOK_PASS;
    count_drop((__u32)step);
    return HOOK_DROP;
}

/* The end of the way to a `dsr` or `ipip` backend; gives the program's verdict. */
FLB_INLINE int go_one_way(const int v6, hook_context* context, struct packet* p, __u32 backend, int step)
{
    __u32 zero = 0;
    struct slow* s = bpf_map_lookup_elem(&slow_memory, &zero);

    if (!s)
        return finish(FLB_DROP_not_configured, HOOK_DROP);
    if (!step)
        step = v6 ? one_way6(context, p, backend, p->fragment) : one_way4(context, p, backend, p->fragment);
    if (step < SENT) {
        s->recipe.backend = backend;
        step = except(v6, context, p, &s->recipe, FROM_CLIENT, step);
    }
    return finish(step, HOOK_DROP);
}

__attribute__((noinline)) int go_one_way4(hook_context* context, struct packet* p, __u32 backend, int step)
{
    return p ? go_one_way(0, context, p, backend, step) : HOOK_DROP;
}

__attribute__((noinline)) int go_one_way6(hook_context* context, struct packet* p, __u32 backend, int step)
{
    return p ? go_one_way(1, context, p, backend, step) : HOOK_DROP;
}

/* The same for a new flow: the slow path has picked the backend. */
FLB_INLINE int begin_one_way(const int v6, hook_context* context, struct packet* p)
{
    __u32 zero = 0;
    struct slow* s = bpf_map_lookup_elem(&slow_memory, &zero);
    int step;

    if (!s)
        return finish(FLB_DROP_not_configured, HOOK_DROP);
    step = v6 ? decide_one_way6(s) : decide_one_way4(s);
    hook_segment(context, p);
    if (!step && p->ttl <= 1)
        step = FLB_DROP_ttl_exceeded;
    return v6 ? go_one_way6(context, p, s->recipe.backend, step) : go_one_way4(context, p, s->recipe.backend, step);
}

__attribute__((noinline)) int begin_one_way4(hook_context* context, struct packet* p)
{
    return p ? begin_one_way(0, context, p) : HOOK_DROP;
}

__attribute__((noinline)) int begin_one_way6(hook_context* context, struct packet* p)
{
    return p ? begin_one_way(1, context, p) : HOOK_DROP;
}

/* STEP_NEXT: *verdict is what the program returns. */
FLB_INLINE int forward(const int v6, hook_context* context, struct packet* p, int* verdict)
{
    struct recipe r = {};
    struct way way = {};
    __u32 slot = p->from.link & FLB_LINK_SLOT;
    struct flb_iface* out = bpf_map_lookup_elem(&ifaces, &slot);
    int step;

    if (!out || !hook_is_for_us(context, out))
        return STEP_PASS;
    step = known(v6, p, &r, &way);
    if (step) {
        if (step == STEP_PASS)
            step = decide_unknown(v6, p, &r, &way);
        else if (step == STEP_SYN_AGAIN)
            step = reconsider(v6, p, step, &r, &way);
        if (step == STEP_ONE_WAY) {
            *verdict = v6 ? begin_one_way6(context, p) : begin_one_way4(context, p);
            return STEP_NEXT;
        }
        if (step)
            return except(v6, context, p, &r, way.direction, step);
    }
    if (p->ttl <= 1)
        return except(v6, context, p, &r, way.direction, FLB_DROP_ttl_exceeded);
    hook_segment(context, p);
    step = next_hop(v6, context, p, &r, &way);
    if (step == STEP_DOWN) {
        step = reconsider(v6, p, step, &r, &way);
        if (!step) {
            step = v6 ? next_hop6(context, p, &r, &way) : next_hop4(context, p, &r, &way);
        } else if (step == STEP_ONE_WAY) {
            *verdict = v6 ? begin_one_way6(context, p) : begin_one_way4(context, p);
            return STEP_NEXT;
        }
    }
    if (step == STEP_ONE_WAY) {
        *verdict = v6 ? go_one_way6(context, p, r.backend, STEP_NEXT) : go_one_way4(context, p, r.backend, STEP_NEXT);
        return STEP_NEXT;
    }
    if (step)
        return except(v6, context, p, &r, way.direction, step);
    step = way_out(p, &r, &way, &out);
    if (step)
        return except(v6, context, p, &r, way.direction, step);
    if (p->fragment) {
        step = except(v6, context, p, &r, way.direction, STEP_NEXT);
        if (step)
            return step;
    }
    count_packet(r.backend, way.direction, p->length);
    step = hook_rewrite(v6, context, p, &r, out);
    if (step)
        return except(v6, context, p, &r, way.direction, step);
    *verdict = hook_send_straight(context, out);
    return STEP_NEXT;
}

FLB_INLINE int answer_with_reset(const int v6, hook_context* context, struct packet* p, __u32 reason, int* verdict)
{
    __u32 slot = p->from.link & FLB_LINK_SLOT;
    struct flb_iface* out = bpf_map_lookup_elem(&ifaces, &slot);
    int step;

    if (!out || out->ifindex != context->ingress_ifindex)
        return (int)reason;
    step = v6 ? reset6(context, p, reason) : reset4(context, p, reason);
    if (step)
        return step;
    count_drop(reason);
    *verdict = hook_send(context, out);
    return STEP_NEXT;
}

/* Other stations' broken packets are not ours to judge. */
FLB_INLINE int is_for_us(hook_context* context)
{
    __u32 slot = context->ingress_ifindex & FLB_LINK_SLOT;
    struct flb_iface* in = bpf_map_lookup_elem(&ifaces, &slot);

    return in && hook_is_for_us(context, in);
}

/* Sends s->packet on, of which no more than the network header is left to rewrite. */
FLB_INLINE int forward_network(const int v6, hook_context* context, struct slow* s)
{
    struct flb_iface* out = 0;
    int step;

    if (s->packet.ttl <= 1)
        return FLB_DROP_ttl_exceeded;
    step =
        v6 ? next_hop6(context, &s->packet, &s->recipe, &s->way) : next_hop4(context, &s->packet, &s->recipe, &s->way);
    if (step == STEP_ONE_WAY)
        return v6 ? one_way6(context, &s->packet, s->recipe.backend, 0)
                  : one_way4(context, &s->packet, s->recipe.backend, 0);
    if (!step)
        step = way_out(&s->packet, &s->recipe, &s->way, &out);
    if ((__u16)step == FLB_DROP_too_big)
        return FLB_DROP_too_big;
    if (step)
        return step;
    count_packet(s->recipe.backend, s->way.direction, s->packet.length);
    step = hook_rewrite_network(v6, context, &s->packet, &s->recipe, out);
    if (!step)
        s->verdict = hook_send(context, out);
    return step;
}

__attribute__((noinline)) int forward_network4(hook_context* context, struct slow* s)
{
    return s ? forward_network(0, context, s) : FLB_DROP_not_configured;
}

__attribute__((noinline)) int forward_network6(hook_context* context, struct slow* s)
{
    return s ? forward_network(1, context, s) : FLB_DROP_not_configured;
}

/* ICMP messages, fragments that are not the first, and what is broken: what parse gave up with `step`. */
FLB_INLINE int aside(const int v6, hook_context* context, const struct packet* p, int step)
{
    __u32 zero = 0;
    struct slow* s = bpf_map_lookup_elem(&slow_memory, &zero);

    if (step > 0) {
        sample_unparsed(v6, p, (__u32)step);
        return step;
    }
    if (!s || !is_for_us(context))
        return STEP_PASS;
    s->packet = *p;
    if (step == STEP_ICMP) {
        for (int i = 0; i < FLOW_KEY_WORDS(v6); i++)
            s->packet.key.w[i] = 0;
        s->packet.protocol = v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP;
    }
    s->packet.key.w[v6 ? 0 : 1] = 0; /* no ports */
    s->packet.tcp_flags = 0;
    s->way.direction = FROM_CLIENT;
    s->way.orphan = 0;
    s->way.decided = 1; /* a backend that is down gets what is on its way to it */
    if (step == STEP_ICMP)
        step = v6 ? icmp6(context, s) : icmp4(context, s);
    else
        step = v6 ? fragment_follow6(context, s) : fragment_follow4(context, s);
    if (step == STEP_TUNNEL)
        step = v6 ? icmp_tunnel6(context, s) : icmp_tunnel4(context, s);
    else if (!step)
        step = v6 ? forward_network6(context, s) : forward_network4(context, s);
    if (step > 0 && step < SENT)
        sample_drop(v6, &s->packet, (__u32)step, 0);
    return step ? step : SENT | s->verdict;
}

static __attribute__((noinline)) int aside4(hook_context* context, const struct packet* p, int step)
{
    return aside(0, context, p, step);
}

static __attribute__((noinline)) int aside6(hook_context* context, const struct packet* p, int step)
{
    return aside(1, context, p, step);
}

FLB_INLINE int pipeline(hook_context* context)
{
    struct packet p __attribute__((aligned(8)));
    struct parse_input in;
    int v6 = 0, verdict = HOOK_DROP, step;

    hook_input(context, &in);
    step = parse(&in, &p, &v6);
    if (step && hook_pull(context)) {
        hook_input(context, &in);
        step = parse(&in, &p, &v6);
    }
    if (step > 0 && !is_for_us(context))
        step = STEP_PASS;
    if (step) {
        if (step != STEP_PASS)
            step = v6 ? aside6(context, &p, step) : aside4(context, &p, step);
        return finish(step, verdict);
    }
    step = v6 ? forward(1, context, &p, &verdict) : forward(0, context, &p, &verdict);
    if (STEP_IS_RESET(step))
        step = v6 ? answer_with_reset(1, context, &p, STEP_RESET_REASON(step), &verdict)
                  : answer_with_reset(0, context, &p, STEP_RESET_REASON(step), &verdict);
    return finish(step, verdict);
}

#endif
