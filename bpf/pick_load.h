/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * pick_load: the picks that compare backends by what they have to do at this moment. Their slots are the backends that
 * take connections, each once. docs/algorithms.md has the definitions. What other processors pick at the same moment
 * is not in the counts yet.
 */
#ifndef FEATHERLB_PICK_LOAD_H
#define FEATHERLB_PICK_LOAD_H

#include "load.h"
#include "marks.h"
#include "measure.h"
#include "slots.h"

#define PICK_ANY 0xffffffffu      /* no backend's number */
#define PICK_MOST_TIME (1u << 26) /* quarters of a microsecond */
#define PICK_MOST_OPEN ((1u << 20) - 1)

/* Does this pick look at all backends? */
FLB_INLINE int pick_compares(__u8 pick)
{
    return pick == FLB_PICK_LEAST || pick == FLB_PICK_RESPONSE;
}

/* A search over all slots, a chunk of them at a time: the loads of its backends are then read beside each other. */
struct pick_search {
    __u64 directory;
    __u64 now;    /* ticks; 0: also backends that are avoided */
    __u32 number; /* of the slot that comes next, in map `slots`; the end stands for the first one */
    __u32 left;   /* slots that have not been looked at; of equal backends the one that comes first has it */
    __u32 but;    /* a backend that is not wanted */
    __u32 clock;  /* by response time: now, see response.h; else 0 */
    __u32 mean;
    /* the best so far */
    __u32 backend;
    __u32 left_then;
    __u32 weight;
    __u64 cost;
};

/* Response time times connections, the new one included: below 2^46, so that a weight's product fits. */
FLB_INLINE __u64 pick_response_cost(__u64 response, __u32 mean, __u32 clock, __u32 open)
{
    __u64 time = (response_now(response, mean, clock) >> 2) + 1;

    if (time > PICK_MOST_TIME)
        time = PICK_MOST_TIME;
    return time * ((open < PICK_MOST_OPEN ? open : PICK_MOST_OPEN) + 1);
}

static long pick_weigh(__u32 round, void* context)
{
    struct pick_search* s = context;
    const __u32 first = (__u32)(s->directory >> 32), end = first + (__u32)s->directory;
    const __u32 number = s->number < end ? s->number : first;
    const __u32 chunk_index = number / FLB_SLOTS_PER_CHUNK;
    struct flb_slot_chunk* chunk = bpf_map_lookup_elem(&slots, &chunk_index);
    __u32 left = s->left;

    if (!chunk)
        return 1;
    FLOW_ROLLED
    for (__u32 i = number % FLB_SLOTS_PER_CHUNK; i < FLB_SLOTS_PER_CHUNK; i++) {
        struct flb_backend_load* load;
        __u64 word, cost;
        __u32 backend;

        if (!left || chunk_index * FLB_SLOTS_PER_CHUNK + i >= end)
            break;
        left--;
        backend = atomic_load(&chunk->backend[bounded(i, FLB_SLOTS_PER_CHUNK - 1)]);
        if (!backend || backend == s->but || (s->now && mark_is_avoided(backend, s->now)))
            continue;
        load = bpf_map_lookup_elem(&backend_loads, &backend);
        if (!load)
            continue;
        word = atomic_load((__u64*)&load->open);
        cost = load_open(word);
        if (s->clock)
            cost = pick_response_cost(atomic_load(&load->response), s->mean, s->clock, (__u32)cost);
        if (s->backend && cost * s->weight >= s->cost * load_weight(word))
            continue;
        s->backend = backend;
        s->left_then = left;
        s->cost = cost;
        s->weight = load_weight(word);
    }
    s->left = left;
    s->number = (chunk_index + 1) * FLB_SLOTS_PER_CHUNK;
    return !left;
}

/* The one with less load for its weight; of equals the first. */
FLB_INLINE __u32 pick_lighter(__u32 a, __u32 b)
{
    const __u64 load_a = load_word(a), load_b = load_word(b);

    return (__u64)load_open(load_b) * load_weight(load_a) < (__u64)load_open(load_a) * load_weight(load_b) ? b : a;
}

/* The lighter of two backends at random. */
FLB_INLINE __u32 pick_two(__u64 directory)
{
    const __u64 random = pick_mix(0x2545f4914f6cdd1dULL, bpf_get_prandom_u32());
    const __u32 length = (__u32)directory;
    __u32 first, second;

    if (length < 2)
        return length ? pick_slot(directory, 0) : 0;
    first = pick_scale((__u32)random, length);
    second = pick_scale((__u32)(random >> 32), length - 1);
    if (second >= first)
        second++;
    first = pick_slot(directory, first);
    second = pick_slot(directory, second);
    return first && second ? pick_lighter(first, second) : first | second;
}

/* The backend with the least cost for its weight: open connections, or these and the response time. Of equal ones the
 * next after the one that was picked last: where all are equal they take turns. `but`: not this one, nor one that is
 * avoided; PICK_ANY: whichever. 0: none. */
__attribute__((noinline)) __u32 pick_least(__u32 service_index, __u32 but)
{
    struct flb_service* service = bpf_map_lookup_elem(&services, &service_index);
    __u64* turn = bpf_map_lookup_elem(&service_turns, &service_index);
    struct flb_response_histogram* responses = bpf_map_lookup_elem(&service_responses, &service_index);
    struct pick_search s = {};
    __u32 length, start;

    if (!service || !turn || !responses)
        return 0;
    s.directory = atomic_load(&service->slots);
    length = (__u32)s.directory;
    if (!length)
        return 0;
    if (service->pick == FLB_PICK_TWO)
        return pick_two(s.directory);
    s.but = but;
    s.now = but != PICK_ANY && service->refused_ticks ? marks_now() : 0;
    if (service->pick == FLB_PICK_RESPONSE) {
        s.clock = response_clock(bpf_ktime_get_ns()) | 1;
        s.mean = (__u32)atomic_load(&responses->smoothed);
    }
    /* Zero, though the verifier does not know it: until Linux 6.7 it follows a callback for one round alone, and
     * removes what is not reached in that. No backend has number 0, so nobody counts for it. */
    s.cost = load_word(0);
    s.backend = s.weight = (__u32)s.cost;
    start = (__u32)(__sync_fetch_and_add(turn, 1) % length);
    s.number = (__u32)(s.directory >> 32) + start;
    length = s.left = length < FLB_MOST_COMPARED ? length : FLB_MOST_COMPARED;
    bpf_loop(length / FLB_SLOTS_PER_CHUNK + 3, pick_weigh, &s, 0); /* its own end is the first slot's chunk in part */
    if (s.backend && length > s.left_then + 1)
        __sync_fetch_and_add(turn, length - s.left_then - 1);
    return s.backend;
}

#endif
