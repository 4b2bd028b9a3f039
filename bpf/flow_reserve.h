/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Insertion into the flow table: survey of the candidate sets, what may be replaced, reserve, publish. The rules are in
 * flow.h.
 */
#ifndef FEATHERLB_FLOW_RESERVE_H
#define FEATHERLB_FLOW_RESERVE_H

#include "flow.h"

#define FLOW_LOCK_TRIES 256
#define FLOW_ATTEMPTS 2 /* surveys of the sets before a reservation gives up */

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
    /* what the entry was, for flow_settle */
    __u32 counted; /* by its source (rule 7) */
    __u64 client;
    __u32 backend;
    __u32 replaced; /* its state */
};

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

/* Is the connection of a reply's entry still going on? One whose owner is about to be published is. */
FLB_INLINE enum flow_liveness flow_reply_liveness(
    const int v6, struct flb_flow* reply, __u32 now, const struct flb_settings* settings)
{
    struct flow_ref owner;

    owner.f = flow_at(v6, atomic_load(&reply->pair));
    if (!owner.f)
        return FLOW_GONE;
    owner.ctl = atomic_load(&owner.f->ctl);
    if (flow_generation(owner.ctl) != atomic_load(&reply->aux) || flow_state(owner.ctl) == FLB_FLOW_EMPTY ||
        flow_is_reply(flow_state(owner.ctl)) || flow_has_expired(owner.ctl, now, settings))
        return FLOW_GONE;
    if (!flow_is_closed(flow_state(owner.ctl)))
        return FLOW_ALIVE; /* an RST may be forged */
    return (__s32)(now - (__u32)owner.ctl) < FLB_YOUNG_TICKS ? FLOW_CLOSING : FLOW_AT_REST;
}

/* Another processor has published this reply's entry, and will publish its owner's next. */
FLB_INLINE int flow_owner_is_coming(const int v6, struct flb_flow* reply)
{
    struct flb_flow* owner = flow_at(v6, atomic_load(&reply->pair));

    return owner && flow_state(atomic_load(&owner->ctl)) == FLB_FLOW_BUSY;
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

        if (liveness == FLOW_ALIVE && flow_owner_is_coming(v6, f))
            return FLOW_CONTENDED;
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
    request->counted = (s.ctl & FLB_CTL_COUNTED) != 0;
    request->replaced = flow_state(s.ctl);
    request->backend = atomic_load(&f->backend);
    if (request->counted)
        request->client = flow_client_high(v6, f);
    if (!atomic_swap_if(&f->ctl, s.ctl,
            (__u64)request->generation << FLB_CTL_GENERATION_SHIFT | (s.ctl & (FLB_CTL_LOCK | FLB_CTL_MARK)) |
                (__u64)FLB_FLOW_BUSY << FLB_CTL_STATE_SHIFT | request->now))
        return FLOW_CONTENDED;
    flow_write_key(v6, f, &request->key);
    request->index = (s.place < FLB_WAYS ? first_index : second_index) * FLB_WAYS + (s.place & (FLB_WAYS - 1));
    return FLOW_OK;
}

/* Reserves an entry for request->key: afterwards it is BUSY, holds the key and belongs to the caller, who calls
 * flow_settle, fills it and calls flow_publish, or gives it back by flow_cancel. */
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

/* Counts down what the reserved entry was: not by flow_reserve itself, which has no stack to spare. */
FLB_INLINE void flow_settle(const struct flow_request* request, enum flow_result result)
{
    if (result != FLOW_OK)
        return;
    flow_moved(request->backend, request->replaced, FLB_FLOW_BUSY);
    if (request->counted)
        flow_uncount(request->backend, request->client);
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
