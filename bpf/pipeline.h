/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The way of a packet, the same for both hooks:
 *   parse -> prefilter -> flow look-up -> hit: follow, count, replay, send
 *                                      -> miss: decide (listener, pick, both recipes, store), then the same.
 * Aside from it: ICMP errors about packets of ours, fragments that follow their first one.
 * A step answers STEP_NEXT or why it ends here; `finish` alone turns that into verdict and counter.
 */
#ifndef FEATHERLB_PIPELINE_H
#define FEATHERLB_PIPELINE_H

#include "kernel.h"

#include "parse.h"

#include "answer.h"
#include "failover.h"
#include "fragment.h"
#include "hook.h"
#include "icmp.h"
#include "reset.h"

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

/* The way back to a client of whom no frame was ever seen: the kernel's routes. Nothing has been rewritten yet, so
 * the packet may still be left to the stack: the host may talk to its backends too. */
FLB_INLINE int route_back(const int v6, hook_context* context, const struct packet* p, struct recipe* r)
{
    struct bpf_fib_lookup fib = {};
    long result;

    fib.ifindex = context->ingress_ifindex;
    fib.tot_len = p->segment;
    if (v6) {
        fib.family = 10; /* AF_INET6 */
        *(__u64*)&fib.ipv6_src[0] = r->addresses[0];
        *(__u64*)&fib.ipv6_src[2] = r->addresses[1];
        *(__u64*)&fib.ipv6_dst[0] = r->addresses[2];
        *(__u64*)&fib.ipv6_dst[2] = r->addresses[3];
    } else {
        fib.family = 2; /* AF_INET */
        fib.ipv4_src = (__be32)r->addresses[0];
        fib.ipv4_dst = (__be32)(r->addresses[0] >> 32);
    }
    result = bpf_fib_lookup(context, &fib, sizeof(fib), 0);
    if (result == BPF_FIB_LKUP_RET_FRAG_NEEDED)
        return ANSWER_TOO_BIG(fib.mtu_result);
    if (result == BPF_FIB_LKUP_RET_NOT_FWDED || result == BPF_FIB_LKUP_RET_FWD_DISABLED)
        return STEP_PASS; /* to this host itself, or to nobody that it would forward to: the stack knows which */
    if (result != BPF_FIB_LKUP_RET_SUCCESS)
        return FLB_DROP_no_return_path;
    __builtin_memcpy(r->to.mac, fib.dmac, ETH_ALEN);
    r->to.link = (__u16)(fib.ifindex & FLB_LINK_SLOT);
    r->to.vlan[0] = 0;
    r->to.vlan[1] = 0;
    return STEP_NEXT;
}

static __attribute__((noinline)) int route_back4(hook_context* context, const struct packet* p, struct recipe* r)
{
    return route_back(0, context, p, r);
}

static __attribute__((noinline)) int route_back6(hook_context* context, const struct packet* p, struct recipe* r)
{
    return route_back(1, context, p, r);
}

/* Where the packet goes next: r->to, and the largest packet that fits there. STEP_DOWN: not there, see failover.h. */
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
    if ((backend->flags & FAILOVER_FLAGS) != FLB_BACKEND_VALID) {
        int step = failover_check(p, way, backend->flags);

        if (step)
            return step;
    }
    *(__u64*)&r->to = atomic_load((__u64*)&backend->hop);
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
 * the stack; the first fragment of a datagram. */
FLB_INLINE int exception(
    const int v6, hook_context* context, const struct packet* p, const struct recipe* r, __u32 direction, int step)
{
    __u16 reason = (__u16)step;

    if (reason == FLB_DROP_ttl_exceeded || reason == FLB_DROP_too_big)
        return answer_packet(v6, context, p, r, direction, step);
    if (step == STEP_PASS && p->fragment)
        return v6 ? fragment_pass6(context, p) : fragment_pass4(context, p);
    if (step)
        return step;
    return v6 ? fragment_first6(context, p, r, direction) : fragment_first4(context, p, r, direction);
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
        if (step)
            return except(v6, context, p, &r, way.direction, step);
    }
    if (p->ttl <= 1)
        return except(v6, context, p, &r, way.direction, FLB_DROP_ttl_exceeded);
    hook_segment(context, p);
    step = next_hop(v6, context, p, &r, &way);
    if (step == STEP_DOWN) {
        step = reconsider(v6, p, step, &r, &way);
        if (!step)
            step = v6 ? next_hop6(context, p, &r, &way) : next_hop4(context, p, &r, &way);
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
        return step;
    *verdict = hook_send(context, out);
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

/* ICMP messages, and fragments that are not the first: what parse gave up with `step`. */
FLB_INLINE int aside(const int v6, hook_context* context, const struct packet* p, int step)
{
    __u32 zero = 0;
    struct slow* s = bpf_map_lookup_elem(&slow_memory, &zero);

    if (!s || !is_for_us(context))
        return STEP_PASS;
    s->packet = *p;
    s->way.direction = FROM_CLIENT;
    s->way.orphan = 0;
    s->way.decided = 1; /* a backend that is down gets what is on its way to it */
    if (step == STEP_ICMP)
        step = v6 ? icmp6(context, s) : icmp4(context, s);
    else
        step = v6 ? fragment_follow6(context, s) : fragment_follow4(context, s);
    if (!step)
        step = v6 ? forward_network6(context, s) : forward_network4(context, s);
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
        if (step < STEP_PASS)
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
