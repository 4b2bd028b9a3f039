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
#define PICK_CHUNKS (FLB_MOST_COMPARED / FLB_SLOTS_PER_CHUNK + 1)

/* Does this pick look at all backends? */
FLB_INLINE int pick_compares(__u8 pick)
{
    return pick == FLB_PICK_LEAST || pick == FLB_PICK_RESPONSE;
}

/* A search over the chunks of a service's slots, from the one on in which it begins. In memory of its own: the stack is
 * too small, and there the verifier would follow what is in it from round to round. */
struct pick_search {
    __u32 length; /* of the slots, and the number of the first one: the service's directory */
    __u32 first;
    __u64 now;     /* ticks; 0: also backends that are avoided */
    __u32 start;   /* number of the slot from which on equal backends have it, in the order of slots */
    __u32 chunk;   /* that comes next */
    __u32 left;    /* chunks that have not been looked at */
    __u32 but;     /* a backend that is not wanted; PICK_ANY: all are, and none is avoided */
    __u32 bounded; /* bounds are kept for its chunks */
    __u32 clock;   /* by response time: now, see response.h; else 0 */
    __u32 mean;
    /* the best so far */
    __u32 backend;
    __u64 weight;
    __u64 cost;
    __u64 behind; /* 1: its turn comes after that of all in other chunks */
    /* the best of the last chunk */
    __u64 least;
    __u64 least_weight;
    __u32 least_slot;
    __u32 slot; /* of the best so far */
};
_Static_assert(sizeof(struct pick_search) <= FLB_PICK_BYTES, "struct pick_search");

/* Response time times connections, the new one included: below 2^46, so that a weight's product fits. */
FLB_INLINE __u64 pick_response_cost(__u64 response, __u32 mean, __u32 clock, __u32 open)
{
    __u64 time = (response_now(response, mean, clock) >> 2) + 1;

    if (time > PICK_MOST_TIME)
        time = PICK_MOST_TIME;
    return time * ((open < PICK_MOST_OPEN ? open : PICK_MOST_OPEN) + 1);
}

/* On to the next chunk. 1: there is none. */
FLB_INLINE int pick_go_on(struct pick_search* s)
{
    const __u32 last = s->first + s->length - 1;

    s->chunk = s->chunk == last / FLB_SLOTS_PER_CHUNK ? s->first / FLB_SLOTS_PER_CHUNK : s->chunk + 1;
    return !--s->left;
}

FLB_INLINE int pick_is_better(const struct pick_search* s, __u64 cost, __u64 weight)
{
    return cost * s->weight < s->cost * weight + s->behind;
}

/* Is this the chunk that the search begins in? There are slots before the first one in it, whose turn is the last. */
FLB_INLINE int pick_begins_in(const struct pick_search* s)
{
    return s->chunk == s->start / FLB_SLOTS_PER_CHUNK;
}

/* The best of the chunk. A function of its own, so that the verifier follows it once, not for each round. */
__attribute__((noinline)) int pick_of_chunk(struct pick_search* s)
{
    const __u32 chunk_index = s ? s->chunk : 0;
    struct flb_slot_chunk* chunk = bpf_map_lookup_elem(&slots, &chunk_index);
    __u32 number, backend_least = 0, slot_least = 0;
    __u64 least = 1, weight = 0;

    if (!s || !chunk)
        return 0;
    number = chunk_index * FLB_SLOTS_PER_CHUNK + (pick_begins_in(s) ? s->start % FLB_SLOTS_PER_CHUNK : 0);
    FLOW_ROLLED
    for (__u32 i = 0; i < FLB_SLOTS_PER_CHUNK; i++, number++) {
        struct flb_backend_load* load;
        __u64 word, cost;
        __u32 backend;

        if (number / FLB_SLOTS_PER_CHUNK != chunk_index)
            number -= FLB_SLOTS_PER_CHUNK; /* to those before the first one */
        if (number - s->first >= s->length)
            continue;
        backend = atomic_load(&chunk->backend[bounded(number, FLB_SLOTS_PER_CHUNK - 1)]);
        if (!backend)
            continue;
        if (s->but != PICK_ANY && (backend == s->but || (s->now && mark_is_avoided(backend, s->now))))
            continue;
        load = bpf_map_lookup_elem(&backend_loads, &backend);
        if (!load)
            continue;
        word = atomic_load((__u64*)&load->open);
        cost = load_open(word);
        if (s->clock)
            cost = pick_response_cost(atomic_load(&load->response), s->mean, s->clock, (__u32)cost);
        if (cost * weight >= least * load_weight(word))
            continue;
        least = cost;
        weight = load_weight(word);
        backend_least = backend;
        slot_least = number;
    }
    s->least = least;
    s->least_weight = weight;
    s->least_slot = slot_least;
    return backend_least;
}

/* Goes over the bounds of one map value, to the first chunk that may have a better backend, and looks at that. */
static long pick_weigh(__u32 round, void* context)
{
    struct pick_search* s = *(struct pick_search**)context;
    struct flb_slot_bounds* bounds;
    __u64* bound = 0;
    __u64 seen = 0;
    __u32 backend;

    if (s->bounded) {
        const __u32 index = s->chunk / FLB_CHUNKS_BOUNDED;

        bounds = bpf_map_lookup_elem(&slot_bounds, &index);
        if (!bounds)
            return 1;
        FLOW_ROLLED
        for (__u32 i = 0; i < FLB_CHUNKS_BOUNDED; i++) {
            bound = &bounds->chunk[bounded(s->chunk, FLB_CHUNKS_BOUNDED - 1)];
            seen = atomic_load(bound);
            if (pick_is_better(s, bound_open(seen), bound_weight(seen)))
                break;
            if (pick_go_on(s))
                return 1;
            if (s->chunk / FLB_CHUNKS_BOUNDED != index)
                return 0;
        }
        atomic_order_loads();
    }
    backend = pick_of_chunk(s);
    if (backend && bound && s->but == PICK_ANY) {
        const __u64 wanted = (seen & FLB_BOUND_VERSIONS) | bound_of(s->least, s->least_weight);

        if (wanted != seen)
            atomic_swap_if(bound, seen, wanted);
    }
    if (backend && pick_is_better(s, s->least, s->least_weight)) {
        s->cost = s->least;
        s->weight = s->least_weight;
        s->backend = backend;
        s->slot = s->least_slot;
        s->behind = pick_begins_in(s) && s->slot < s->start;
    }
    return pick_go_on(s);
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

/* Fills the search in: 0: there is nothing to search. A function of its own for the sake of the stack. */
__attribute__((noinline)) int pick_begin(__u32 service_index, __u32 but)
{
    struct flb_service* service = bpf_map_lookup_elem(&services, &service_index);
    __u64* turn = bpf_map_lookup_elem(&service_turns, &service_index);
    struct flb_response_histogram* responses = bpf_map_lookup_elem(&service_responses, &service_index);
    const __u32 zero = 0;
    struct pick_search* s = bpf_map_lookup_elem(&pick_memory, &zero);
    __u64 directory;

    if (!s)
        return 0;
    s->backend = 0;
    if (!service || !turn || !responses)
        return 0;
    directory = atomic_load(&service->slots);
    s->first = (__u32)(directory >> 32);
    s->length = (__u32)directory;
    if (!s->length)
        return 0;
    if (service->pick == FLB_PICK_TWO) {
        s->backend = pick_two(directory);
        return 0;
    }
    s->but = but;
    s->now = but != PICK_ANY && service->refused_ticks ? marks_now() : 0;
    s->clock = service->pick == FLB_PICK_RESPONSE ? response_clock(bpf_ktime_get_ns()) | 1 : 0;
    s->mean = (__u32)atomic_load(&responses->smoothed);
    s->start = s->first + (__u32)(__sync_fetch_and_add(turn, 1) % s->length);
    s->chunk = s->start / FLB_SLOTS_PER_CHUNK;
    s->left = (s->first + s->length - 1) / FLB_SLOTS_PER_CHUNK - s->first / FLB_SLOTS_PER_CHUNK + 1;
    if (s->left > PICK_CHUNKS)
        s->left = PICK_CHUNKS;
    s->bounded = s->left > 1 && service->pick == FLB_PICK_LEAST;
    s->weight = s->behind = 0;
    s->cost = 1; /* by no weight: anything is better */
    return 1;
}

/* The backend with the least cost for its weight: open connections, or these and the response time. Of equal ones the
 * next after the one that was picked last: where all are equal they take turns. `but`: not this one, nor one that is
 * avoided; PICK_ANY: whichever. 0: none. */
__attribute__((noinline)) __u32 pick_least(__u32 service_index, __u32 but)
{
    const __u32 zero = 0;
    struct pick_search* s = bpf_map_lookup_elem(&pick_memory, &zero);
    __u64* turn;

    if (!s)
        return 0;
    if (!pick_begin(service_index, but))
        return s->backend;
    bpf_loop(PICK_CHUNKS + PICK_CHUNKS / FLB_CHUNKS_BOUNDED + 3, pick_weigh, &s, 0);
    turn = bpf_map_lookup_elem(&service_turns, &service_index);
    if (turn && s->backend && s->slot != s->start)
        __sync_fetch_and_add(turn, s->slot - s->start + (s->slot < s->start ? s->length : 0));
    return s->backend;
}

#endif
