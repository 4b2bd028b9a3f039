/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Puts connections of another flow table into this one, by the rules of flow.h, while packets come. Run by
 * BPF_PROG_TEST_RUN, never attached: a daemon that dies cannot leave a lock behind. A raw tracepoint's program, because
 * that is not preempted while it runs.
 */
#include "kernel.h"

#include "featherlb/copy.h"

#include "packet.h"

#include "admit.h"
#include "flow_reserve.h"
#include "load.h"

struct flb_copy flb_copies[FLB_COPIES];

__attribute__((noinline)) int copy_reserve4(struct flow_request* request)
{
    return request ? flow_reserve(0, request) : FLOW_CONTENDED;
}

__attribute__((noinline)) int copy_reserve6(struct flow_request* request)
{
    return request ? flow_reserve(1, request) : FLOW_CONTENDED;
}

FLB_INLINE int copy_reserve(const int v6, struct flow_request* request, const __u64* key, __u32 mode)
{
    int result;

    for (int i = 0; i < FLOW_KEY_WORDS(v6); i++)
        request->key.w[i] = key[i];
    request->now = flow_now();
    request->mode = mode;
    result = v6 ? copy_reserve6(request) : copy_reserve4(request);
    flow_settle(request, (enum flow_result)result);
    return result;
}

FLB_INLINE __u32 copy_result(int result)
{
    switch (result) {
    case FLOW_OK:
        return FLB_COPY_DONE;
    case FLOW_FULL:
        return FLB_COPY_FULL;
    case FLOW_CONTENDED:
        return FLB_COPY_CONTENDED;
    default:
        return FLB_COPY_KNOWN;
    }
}

FLB_INLINE void copy_fill(
    const int v6, struct flb_flow* f, const struct flb_copy_entry* from, __u32 backend, __u32 pair, __u32 aux)
{
    atomic_store(&f->sport, from->sport);
    atomic_store(&f->dport, from->dport);
    atomic_store(&f->addresses_delta, from->addresses_delta);
    atomic_store(&f->ports_delta, from->ports_delta);
    for (int i = 0; i < FLOW_ADDRESS_WORDS(v6); i++)
        atomic_store(&flow_words(f)[FLOW_KEY_WORDS(v6) + i], from->addresses[i]);
    atomic_store((__u64*)&f->hop, *(const __u64*)&from->hop);
    atomic_store((__u32*)f->hop.vlan, *(const __u32*)from->hop.vlan);
    atomic_store(&f->backend, backend);
    atomic_store(&f->pair, pair);
    atomic_store(&f->aux, aux);
}

/* Publishes a reserved entry with the age and the count that it has. */
FLB_INLINE void copy_publish(struct flb_flow* f, __u32 state, __u32 age, __u64 bits)
{
    __u32 reserved = (__u32)atomic_load(&f->ctl); /* age of a busy entry: nobody else changes it */

    atomic_xor(&f->ctl, (__u64)(FLB_FLOW_BUSY ^ state) << FLB_CTL_STATE_SHIFT | (reserved ^ age) | bits);
}

FLB_INLINE __u32 copy_insert(const int v6, struct flb_copy* c)
{
    struct flow_request request = {};
    struct flb_flow* reply = 0;
    struct flb_flow* owner;
    __u32 reply_index = FLB_NO_PAIR;
    __u64 counted = 0;
    int result;

    if (c->reply_state) {
        result = copy_reserve(v6, &request, c->reply.key, FLOW_REPLY_ANY);
        if (result)
            return copy_result(result);
        reply_index = request.index;
        reply = flow_at(v6, reply_index);
    }
    result = copy_reserve(v6, &request, c->owner.key, FLOW_OWNER);
    owner = flow_at(v6, request.index);
    if (result || !owner) {
        if (reply)
            flow_cancel(reply);
        return copy_result(result);
    }
    if (c->counted && admit_count(c->backend, flow_client_high(v6, owner), 0) == ADMIT_COUNTED)
        counted = FLB_CTL_COUNTED;
    c->index = request.index;
    c->generation = request.generation;
    copy_fill(v6, owner, &c->owner, c->backend, reply_index, c->aux);
    flow_moved(c->backend, FLB_FLOW_BUSY, c->state);
    /* Whose packets may come already: a proven owner needs no reply's entry, but a reply without an owner is let go. */
    if (flow_is_proven(c->state))
        copy_publish(owner, c->state, c->age, counted);
    if (reply) {
        copy_fill(v6, reply, &c->reply, c->backend, request.index, request.generation);
        copy_publish(reply, c->reply_state, c->reply_age, 0);
    }
    if (!flow_is_proven(c->state))
        copy_publish(owner, c->state, c->age, counted);
    return FLB_COPY_DONE;
}

/* The owner that was inserted, if it is as it was then. */
FLB_INLINE int copy_find(const int v6, const struct flb_copy* c, struct flow_ref* owner)
{
    owner->v6 = (__u32)v6;
    owner->index = c->index;
    owner->f = flow_at(v6, c->index);
    if (!owner->f)
        return 0;
    owner->ctl = atomic_load(&owner->f->ctl);
    return flow_generation(owner->ctl) == c->generation && flow_state(owner->ctl) == c->seen;
}

FLB_INLINE int copy_is_newer(__u32 age, __u64 ctl)
{
    return (__s32)(age - (__u32)ctl) > 0;
}

/* One that is proven stays so. */
FLB_INLINE void copy_advance_reply(struct flow_ref* reply, const struct flb_copy* c)
{
    __u32 state = flow_state(reply->ctl);

    if (flow_is_proven(c->reply_state) && !flow_is_proven(state))
        state = c->reply_state;
    if (state != flow_state(reply->ctl) || copy_is_newer(c->reply_age, reply->ctl))
        flow_advance_reply(reply, state, c->reply_age);
}

FLB_INLINE __u32 copy_advance(const int v6, struct flb_copy* c)
{
    struct flb_flow* f = flow_at(v6, c->index);
    __u32 aux = f ? atomic_load(&f->aux) : 0; /* of this owner, if it is found now */
    __u64 counted = 0;
    struct flow_ref owner, reply;

    if (!copy_find(v6, c, &owner))
        return FLB_COPY_GONE;
    if (c->reply_state && flow_reply(v6, &owner, &reply))
        copy_advance_reply(&reply, c); /* before its owner is proven */
    if (c->state == c->seen) {         /* nothing but its age */
        if (copy_is_newer(c->age, owner.ctl))
            flow_touch(&owner, c->age);
        return FLB_COPY_DONE;
    }
    if (c->counted && !(owner.ctl & FLB_CTL_COUNTED) &&
        admit_count(c->backend, flow_client_high(v6, owner.f), 0) == ADMIT_COUNTED)
        counted = FLB_CTL_COUNTED;
    __sync_val_compare_and_swap(&owner.f->aux, aux, c->aux);
    if (flow_advance_with(&owner, c->state, c->age, counted))
        return FLB_COPY_DONE;
    if (counted)
        admit_uncount(c->backend, flow_client_high(v6, owner.f));
    return FLB_COPY_GONE;
}

FLB_INLINE __u32 copy_release(const int v6, struct flb_copy* c)
{
    struct flow_ref owner, reply;
    int paired;

    if (!copy_find(v6, c, &owner))
        return FLB_COPY_GONE;
    paired = flow_reply(v6, &owner, &reply);
    if (!flow_advance(&owner, FLB_FLOW_EMPTY, (__u32)owner.ctl))
        return FLB_COPY_GONE;
    if (paired)
        flow_advance_reply(&reply, FLB_FLOW_EMPTY, (__u32)reply.ctl);
    return FLB_COPY_DONE;
}

FLB_INLINE __u32 copy_one(const int v6, struct flb_copy* c)
{
    switch (c->what) {
    case FLB_COPY_INSERT:
        return copy_insert(v6, c);
    case FLB_COPY_ADVANCE:
        return copy_advance(v6, c);
    default:
        return copy_release(v6, c);
    }
}

/* Global functions are verified once, by themselves. */
__attribute__((noinline)) int copy_one4(__u32 number)
{
    if (number < FLB_COPIES)
        flb_copies[number].result = copy_one(0, &flb_copies[number]);
    return 0;
}

__attribute__((noinline)) int copy_one6(__u32 number)
{
    if (number < FLB_COPIES)
        flb_copies[number].result = copy_one(1, &flb_copies[number]);
    return 0;
}

SEC("raw_tp")
int flb_copy(struct bpf_raw_tracepoint_args* context)
{
    __u64 count = context->args[0];

    FLOW_ROLLED
    for (__u32 i = 0; i < FLB_COPIES && i < count; i++) {
        if (flb_copies[i].v6)
            copy_one6(i);
        else
            copy_one4(i);
    }
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
