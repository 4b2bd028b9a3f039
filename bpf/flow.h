/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The flow table: find, reserve, publish, touch, advance, release. Free of BPF helpers: who includes it gives
 * `flow_first_way(v6, set)` (the memory of a set, or null), `flow_load()` (sizes and seed) and `flow_settings()`
 * (the timeouts), so the same code runs in the kernel and under ThreadSanitizer on the host.
 *
 * Layout. A map value is a set of FLB_WAYS entries. A key has two candidate sets; the second is looked at only
 * if way 0 of the first carries FLB_CTL_MARK, which is set, for ever, when a key first has to go to its second
 * set. Within a set the search begins at the way that the hash names, so most keys are found in the first line.
 *
 * Concurrency. One 64-bit word of an entry, `ctl`, is shared: {generation 22, lock 1, mark 1, counted 1, state 7,
 * age 32}.
 *  1. Every change of ctl is one compare-and-swap, or an atomic and/or/xor of bits that only its holder changes.
 *  2. Who wants an entry swaps {state, generation} to {BUSY, generation + 1}; the others leave BUSY entries alone.
 *     Then it writes key and recipe with plain stores, and publishes by exchanging BUSY for a state (a full
 *     barrier). The generation grows only here; 2^22 replacements of one entry within the reading of one packet,
 *     or an orphan that waits for 2^22 of them, do not happen.
 *  3. A reader loads ctl, compares the key, reads the recipe and loads ctl again: the same generation, not BUSY
 *     and not EMPTY, means that nothing was torn. Loads are kept in order (atomic_order_loads).
 *  4. A key is inserted only under the lock bit of way 0 of its first set, so two processors that insert the same
 *     key end with one entry. The lock excludes insertions of keys with this first set, nothing else: claims by
 *     other keys (as their second set), touches and releases go on by 1. It is held for one reservation and only
 *     by packet programs, which neither sleep nor die; waiting is bounded.
 *  5. A connection is two entries. The reply's is reserved first, and thereby the port; then the owner's; then
 *     both are filled and published, the reply first. If the owner's cannot be had, the reply's is released.
 *     reply.pair and reply.aux name the owner's place and generation: if they differ, the reply is an orphan and
 *     free to be taken. The owner alone carries the connection's state.
 *  6. User space (the sweeper) only ever swaps an expired entry to EMPTY, and may die anywhere.
 */
#ifndef FEATHERLB_FLOW_H
#define FEATHERLB_FLOW_H

#include "flow_word.h"

#define FLOW_ADDRESS_WORDS(v6) ((v6) ? 4 : 1) /* both addresses, in 64-bit words */
#define FLOW_KEY_WORDS(v6) ((v6) ? 5 : 2)
#define FLOW_ENTRY_SIZE(v6) ((v6) ? sizeof(struct flb_flow6) : sizeof(struct flb_flow4))
#define FLOW_LOCK_TRIES 256
#define FLOW_ADVANCE_TRIES 2
#define FLOW_ATTEMPTS 2 /* surveys of the sets before a reservation gives up */

/* Slow loops stay loops: unrolled they cost stack and the verifier's time. */
#ifdef __clang__
#define FLOW_ROLLED _Pragma("clang loop unroll(disable)")
#define FLOW_UNROLLED _Pragma("clang loop unroll(full)")
#else
#define FLOW_ROLLED
#define FLOW_UNROLLED
#endif

/* A key as the words that it has in an entry, behind struct flb_flow: IPv4 {addresses, ports and protocol},
 * IPv6 {ports and protocol, source, source, destination, destination}. */
struct flow_key {
    __u64 w[5];
};

/* An entry as it was seen: valid as long as its generation stands. */
struct flow_ref {
    struct flb_flow* f;
    __u64 ctl;
    __u32 index; /* set * FLB_WAYS + way */
};

enum flow_result { FLOW_OK = 0, FLOW_EXISTS, FLOW_RESTING, FLOW_FULL, FLOW_CONTENDED, FLOW_TAKEN };

enum flow_mode {
    FLOW_OWNER = 0,
    FLOW_REPLY_FRESH = 1,  /* a key whose connection has closed and not expired counts as taken (FLOW_RESTING) */
    FLOW_REPLY_RESTED = 2, /* one whose connection has just closed: its last packets may be on their way */
    FLOW_REPLY_ANY = 3,    /* that of any closed connection is free */
    FLOW_REPLY_TAKE = 4    /* a connection that is not proven gives up its key, too */
};

struct flow_request {
    struct flow_key key;
    __u32 now;  /* ticks */
    __u32 mode; /* enum flow_mode */
    /* answers */
    __u32 index;
    __u32 generation; /* of the entry as reserved */
    __u32 evicted;    /* a young entry that was not proven had to give way */
    __u32 taken;      /* FLOW_REPLY_TAKE: the key was one's that was not proven */
    __u32 pad;
};

FLB_INLINE __u64 flow_hash(const int v6, const struct flow_key* key)
{
    const __u64 multiplier = flow_load()->flow_seed[1] | 1;
    __u64 h = flow_load()->flow_seed[0];

    for (int i = 0; i < FLOW_KEY_WORDS(v6); i++) {
        h = (h ^ key->w[i]) * multiplier;
        h ^= h >> 32;
    }
    h *= 0xff51afd7ed558ccdULL; /* or clients in a row crowd some sets under about one seed in sixty */
    h ^= h >> 32;
    return h;
}

FLB_INLINE __u32 flow_sets(const int v6)
{
    return v6 ? flow_load()->flow6_sets : flow_load()->flow4_sets;
}

FLB_INLINE __u32 flow_first_set(const int v6, __u64 hash)
{
    return (__u32)((hash >> 32) * flow_sets(v6) >> 32);
}

FLB_INLINE __u32 flow_second_set(const int v6, __u64 hash)
{
    return (__u32)((hash * 0x9e3779b97f4a7c15ULL >> 32) * flow_sets(v6) >> 32);
}

FLB_INLINE struct flb_flow* flow_way(const int v6, struct flb_flow* first, __u32 way)
{
    return (struct flb_flow*)((char*)first + (way & (FLB_WAYS - 1)) * FLOW_ENTRY_SIZE(v6));
}

FLB_INLINE struct flb_flow* flow_at(const int v6, __u32 index)
{
    struct flb_flow* first = flow_first_way(v6, index / FLB_WAYS);

    return first ? flow_way(v6, first, index) : 0;
}

FLB_INLINE __u64* flow_words(struct flb_flow* f)
{
    return (__u64*)(f + 1); /* the key, then the new addresses */
}

FLB_INLINE int flow_key_equal(const int v6, struct flb_flow* f, const struct flow_key* key)
{
    for (int i = 0; i < FLOW_KEY_WORDS(v6); i++)
        if (atomic_load(&flow_words(f)[i]) != key->w[i])
            return 0;
    return 1;
}

/* Has the entry kept the generation that `ref` saw? To be asked after the recipe was read. */
FLB_INLINE int flow_is_whole(const struct flow_ref* ref)
{
    __u64 ctl;

    atomic_order_loads(flow_load()->weak_memory);
    ctl = atomic_load(&ref->f->ctl);
    return flow_generation(ctl) == flow_generation(ref->ctl) && flow_is_live(ctl);
}

/* Looks for a live entry in one set; `start` is the way to begin with. */
FLB_INLINE int flow_find_in_set(
    const int v6, const struct flow_key* key, __u32 set, __u32 start, struct flow_ref* ref, __u64* mark)
{
    struct flb_flow* first = flow_first_way(v6, set);

    *mark = 0;
    if (!first)
        return 0;
    FLOW_UNROLLED
    for (__u32 i = 0; i < FLB_WAYS; i++) {
        struct flb_flow* f = flow_way(v6, first, start + i);
        __u64 ctl = atomic_load(&f->ctl);

        atomic_order_loads(flow_load()->weak_memory);
        if (!flow_key_equal(v6, f, key) || !flow_is_live(ctl))
            continue;
        ref->f = f;
        ref->ctl = ctl;
        ref->index = set * FLB_WAYS + ((start + i) & (FLB_WAYS - 1));
        return 1;
    }
    *mark = atomic_load(&first->ctl) & FLB_CTL_MARK;
    return 0;
}

/* The live entry of a key, in `ref`. An entry that is being replaced at this moment may be missed. */
FLB_INLINE int flow_find(const int v6, const struct flow_key* key, struct flow_ref* ref)
{
    __u64 hash = flow_hash(v6, key);
    __u64 mark;

    if (flow_find_in_set(v6, key, flow_first_set(v6, hash), (__u32)hash, ref, &mark))
        return 1;
    if (!mark)
        return 0;
    return flow_find_in_set(v6, key, flow_second_set(v6, hash), (__u32)hash, ref, &mark);
}

/* Moves a live entry to `state` if its generation still is the one that `ref` saw and its state has not changed
 * meanwhile. Keeps ref up to date. */
FLB_INLINE int flow_advance(struct flow_ref* ref, __u32 state, __u32 now)
{
    FLOW_ROLLED
    for (int i = 0; i < FLOW_ADVANCE_TRIES; i++) {
        __u64 wanted = flow_with_state(ref->ctl, state, now);
        __u64 ctl;

        if (atomic_swap_if(&ref->f->ctl, ref->ctl, wanted)) {
            ref->ctl = wanted;
            return 1;
        }
        ctl = atomic_load(&ref->f->ctl); /* a touch, a mark or a lock came between */
        if (flow_generation(ctl) != flow_generation(ref->ctl) || flow_state(ctl) != flow_state(ref->ctl))
            return 0;
        ref->ctl = ctl;
    }
    return 0;
}

/* Frees the entry that `ref` saw, unless somebody else has taken or changed it. */
FLB_INLINE void flow_release(struct flow_ref* ref)
{
    flow_advance(ref, FLB_FLOW_EMPTY, (__u32)ref->ctl);
}

/* The owner of a reply's entry; 0 for an orphan. */
FLB_INLINE int flow_owner(const int v6, struct flb_flow* reply, struct flow_ref* owner)
{
    owner->index = atomic_load(&reply->pair);
    owner->f = flow_at(v6, owner->index);
    if (!owner->f)
        return 0;
    owner->ctl = atomic_load(&owner->f->ctl);
    return flow_generation(owner->ctl) == atomic_load(&reply->aux) && flow_is_live(owner->ctl) &&
           !flow_is_reply(flow_state(owner->ctl));
}

/* The reply's entry of an owner; 0 where it has been replaced. */
FLB_INLINE int flow_reply(const int v6, const struct flow_ref* owner, struct flow_ref* reply)
{
    reply->index = atomic_load(&owner->f->pair);
    reply->f = flow_at(v6, reply->index);
    if (!reply->f)
        return 0;
    reply->ctl = atomic_load(&reply->f->ctl);
    return flow_is_reply(flow_state(reply->ctl)) && atomic_load(&reply->f->pair) == owner->index &&
           atomic_load(&reply->f->aux) == flow_generation(owner->ctl);
}

/* ---- insertion ------------------------------------------------------------------------------------------ */

FLB_INLINE int flow_lock(struct flb_flow* first)
{
    FLOW_ROLLED
    for (int i = 0; i < FLOW_LOCK_TRIES; i++) {
        __u64 ctl = atomic_load(&first->ctl);

        if (!(ctl & FLB_CTL_LOCK) && atomic_swap_if(&first->ctl, ctl, ctl | FLB_CTL_LOCK))
            return 1;
    }
    return 0;
}

FLB_INLINE void flow_unlock(struct flb_flow* first)
{
    atomic_and(&first->ctl, ~FLB_CTL_LOCK);
}

/* What a look over the candidate ways found; places are 0-3 in the first set, 4-7 in the second. */
#define FLOW_NOWHERE 8
struct flow_survey {
    __u64 ctl; /* of `place` */
    __u64 oldest_ctl;
    __u32 place; /* of the key itself if `exists`, else of an entry that may be taken */
    __u32 exists;
    __u32 oldest; /* place of the oldest entry that is not proven, or closed just now: its last ACK may be on its way */
    __s32 oldest_rank; /* twice its ticks; of the same tick, a closed one gives way first */
};

FLB_INLINE void flow_survey_set(const int v6, struct flb_flow* first, const struct flow_request* request, __u32 start,
    __u32 base, const struct flb_settings* settings, struct flow_survey* s)
{
    FLOW_ROLLED
    for (__u32 i = 0; i < FLB_WAYS; i++) {
        __u32 way = (start + i) & (FLB_WAYS - 1);
        struct flb_flow* f = flow_way(v6, first, way);
        __u64 ctl = atomic_load(&f->ctl);
        __u32 state = flow_state(ctl);
        __s32 idle = (__s32)(request->now - (__u32)ctl);

        if (state != FLB_FLOW_EMPTY && flow_key_equal(v6, f, &request->key)) {
            s->exists = 1;
            s->place = base + way;
            s->ctl = ctl;
            return;
        }
        if (state == FLB_FLOW_BUSY)
            continue;
        if (state == FLB_FLOW_EMPTY || (flow_is_closed(state) && idle >= FLB_YOUNG_TICKS) ||
            (!flow_is_reply(state) && flow_has_expired(ctl, request->now, settings))) {
            if (s->place == FLOW_NOWHERE || (state == FLB_FLOW_EMPTY && flow_state(s->ctl) != FLB_FLOW_EMPTY)) {
                s->place = base + way;
                s->ctl = ctl;
            }
        } else if (!flow_is_proven(state) || flow_is_closed(state)) {
            __s32 rank = 2 * idle + flow_is_closed(state);

            if (rank <= s->oldest_rank)
                continue;
            s->oldest = base + way;
            s->oldest_rank = rank;
            s->oldest_ctl = ctl;
        }
    }
}

enum flow_liveness { FLOW_GONE, FLOW_AT_REST, FLOW_CLOSING, FLOW_ALIVE };

/* Is the connection of a reply's entry still going on? */
FLB_INLINE enum flow_liveness flow_reply_liveness(
    const int v6, struct flb_flow* reply, __u32 now, const struct flb_settings* settings)
{
    struct flow_ref owner;

    if (!flow_owner(v6, reply, &owner) || flow_has_expired(owner.ctl, now, settings))
        return FLOW_GONE;
    if (!flow_is_closed(flow_state(owner.ctl)))
        return FLOW_ALIVE; /* an RST may be forged */
    return (__s32)(now - (__u32)owner.ctl) < FLB_YOUNG_TICKS ? FLOW_CLOSING : FLOW_AT_REST;
}

/* A reply's entry of this set whose connection is over. The owner's line is read for those only that are proven
 * or have been silent for long: an unproven one is judged by its own age, as long as it is young. */
FLB_INLINE void flow_survey_replies(const int v6, struct flb_flow* first, __u32 base, __u32 now,
    const struct flb_settings* settings, struct flow_survey* s)
{
    FLOW_ROLLED
    for (__u32 way = 0; way < FLB_WAYS; way++) {
        struct flb_flow* f = flow_way(v6, first, way);
        __u64 ctl = atomic_load(&f->ctl);
        enum flow_liveness liveness;

        if (!flow_is_reply(flow_state(ctl)) ||
            (!flow_is_proven(flow_state(ctl)) && !flow_has_expired(ctl, now, settings)))
            continue;
        liveness = flow_reply_liveness(v6, f, now, settings);
        if (liveness == FLOW_ALIVE)
            continue;
        if (liveness == FLOW_CLOSING) {
            if (s->oldest == FLOW_NOWHERE) { /* better than none */
                s->oldest = base + way;
                s->oldest_ctl = ctl;
                s->oldest_rank = 2 * FLB_YOUNG_TICKS;
            }
            continue;
        }
        s->place = base + way;
        s->ctl = ctl;
        return;
    }
}

/* May the entry that holds this very key be taken? An owner is proven only after its reply's entry was marked so:
 * who takes a REPLY_NEW entry by a compare-and-swap does not take it from a proven connection. */
FLB_INLINE enum flow_result flow_may_replace(const int v6, struct flb_flow* f, __u64 ctl,
    const struct flow_request* request, const struct flb_settings* settings)
{
    __u32 state = flow_state(ctl);

    if (state == FLB_FLOW_BUSY)
        return FLOW_CONTENDED;        /* somebody is storing this very key */
    if (state == FLB_FLOW_SUPERSEDED) /* its backend may still know the connection */
        return request->mode == FLOW_REPLY_FRESH && !flow_has_expired(ctl, request->now, settings) ? FLOW_RESTING
                                                                                                   : FLOW_OK;
    if (flow_is_reply(state)) {
        enum flow_liveness liveness = flow_reply_liveness(v6, f, request->now, settings);

        if (liveness == FLOW_ALIVE && request->mode == FLOW_REPLY_TAKE && state == FLB_FLOW_REPLY_NEW)
            return FLOW_TAKEN;
        if (liveness == FLOW_ALIVE || request->mode == FLOW_OWNER)
            return liveness == FLOW_GONE ? FLOW_OK : FLOW_EXISTS;
        if (liveness == FLOW_CLOSING)
            return request->mode < FLOW_REPLY_ANY ? FLOW_RESTING : FLOW_OK;
        return liveness == FLOW_AT_REST && request->mode == FLOW_REPLY_FRESH ? FLOW_RESTING : FLOW_OK;
    }
    return flow_has_expired(ctl, request->now, settings) ? FLOW_OK : FLOW_EXISTS;
}

FLB_INLINE void flow_write_key(const int v6, struct flb_flow* f, const struct flow_key* key)
{
    for (int i = 0; i < FLOW_KEY_WORDS(v6); i++)
        atomic_store(&flow_words(f)[i], key->w[i]);
}

/* One attempt at a reservation, under the lock of `first`. */
FLB_INLINE enum flow_result flow_reserve_once(const int v6, struct flb_flow* first, __u32 first_index,
    __u32 second_index, __u32 start, struct flow_request* request, const struct flb_settings* settings)
{
    struct flow_survey s = {};
    struct flb_flow* second = flow_first_way(v6, second_index);
    struct flb_flow* f;

    s.place = FLOW_NOWHERE;
    s.oldest = FLOW_NOWHERE;
    s.oldest_rank = -8; /* another processor may be a tick ahead */
    request->evicted = 0;
    request->taken = 0;
    if (!second)
        return FLOW_FULL;
    flow_survey_set(v6, first, request, start, 0, settings, &s);
    if (!s.exists && (s.place == FLOW_NOWHERE || (atomic_load(&first->ctl) & FLB_CTL_MARK)))
        flow_survey_set(v6, second, request, start, FLB_WAYS, settings, &s);
    if (s.place == FLOW_NOWHERE)
        flow_survey_replies(v6, first, 0, request->now, settings, &s);
    if (s.place == FLOW_NOWHERE)
        flow_survey_replies(v6, second, FLB_WAYS, request->now, settings, &s);
    if (s.place == FLOW_NOWHERE) {
        s.place = s.oldest;
        s.ctl = s.oldest_ctl;
        request->evicted = s.oldest_rank < 2 * FLB_YOUNG_TICKS && !(s.oldest_rank & 1);
    }
    if (s.place == FLOW_NOWHERE)
        return FLOW_FULL;

    f = flow_way(v6, s.place < FLB_WAYS ? first : second, s.place);
    if (s.exists) {
        enum flow_result result = flow_may_replace(v6, f, s.ctl, request, settings);

        if (result == FLOW_TAKEN) {
            request->taken = 1;
            request->evicted = (__s32)(request->now - (__u32)s.ctl) < FLB_YOUNG_TICKS;
        } else if (result != FLOW_OK) {
            return result;
        }
    }
    if (s.place >= FLB_WAYS)
        atomic_or(&first->ctl, FLB_CTL_MARK); /* before the key can be found there */
    request->generation = (flow_generation(s.ctl) + 1) & (0xffffffffu >> (FLB_CTL_GENERATION_SHIFT - 32));
    if (!atomic_swap_if(&f->ctl, s.ctl,
            (__u64)request->generation << FLB_CTL_GENERATION_SHIFT | (s.ctl & (FLB_CTL_LOCK | FLB_CTL_MARK)) |
                (__u64)FLB_FLOW_BUSY << FLB_CTL_STATE_SHIFT | request->now))
        return FLOW_CONTENDED;
    flow_write_key(v6, f, &request->key);
    request->index = (s.place < FLB_WAYS ? first_index : second_index) * FLB_WAYS + (s.place & (FLB_WAYS - 1));
    return FLOW_OK;
}

/* Reserves an entry for request->key: afterwards it is BUSY, holds the key and belongs to the caller, who fills
 * it and calls flow_publish, or gives it back by flow_cancel. */
FLB_INLINE enum flow_result flow_reserve(const int v6, struct flow_request* request)
{
    __u64 hash = flow_hash(v6, &request->key);
    __u32 first_index = flow_first_set(v6, hash);
    struct flb_flow* first = flow_first_way(v6, first_index);
    const struct flb_settings* settings = flow_settings();
    enum flow_result result = FLOW_CONTENDED;

    if (!first || !settings || !flow_lock(first))
        return FLOW_CONTENDED;
    FLOW_ROLLED
    for (int i = 0; i < FLOW_ATTEMPTS && result == FLOW_CONTENDED; i++)
        result = flow_reserve_once(v6, first, first_index, flow_second_set(v6, hash), (__u32)hash, request, settings);
    flow_unlock(first);
    return result;
}

FLB_INLINE void flow_publish(struct flb_flow* f, __u32 state)
{
    atomic_xor(&f->ctl, (__u64)(FLB_FLOW_BUSY ^ state) << FLB_CTL_STATE_SHIFT);
}

FLB_INLINE void flow_cancel(struct flb_flow* f)
{
    flow_publish(f, FLB_FLOW_EMPTY);
}

#endif
