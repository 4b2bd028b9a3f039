/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * What one source may do: how many connections it may have open, and how fast it may open new ones. Free of BPF
 * helpers, and shared with the daemon, which gives back what expired: who includes it gives flow_load() (sizes and
 * seed), limit_set_at(index) and limit_rate_at(index) (the memory of a set, or null).
 *
 * A source is a service and a client's first 64 bits (an IPv4 address, an IPv6 /64), mixed into one word: for a given
 * service two clients never share a word, and what they share in sets depends on the table's seed.
 *
 * Counts. A source has two candidate sets of FLB_LIMIT_WAYS entries. An entry is free while its count is 0.
 *  1. Every change of ctl is one compare-and-swap, but for the publishing, which only the claimer does.
 *  2. Who wants a free entry swaps {generation, 0} to {generation + 1, claimed}, stores the source, and exchanges
 *     the mark for a count of 1 (a full barrier). The others leave claimed entries alone.
 *  3. To count up or down: load ctl, load the source, swap {generation, n} to {generation, n +- 1}. As the generation
 *     grows with each claim, success means that the source was that of the entry.
 *  4. Two processors may claim for the same source at the same moment: the count is the sum over the candidate ways,
 *     and either entry may be counted down. So a limit may be passed by the number of processors at that moment.
 *  5. A daemon that dies between freeing a flow and counting down leaves the count one too high until the table goes.
 *
 * Rates. One word a source: the time until which its connections have been paid for, one interval each (GCRA, the
 * leaky bucket as a meter, ITU-T I.371). A source whose time has passed is as good as unknown; where there is no room,
 * the one that is nearest to that gives way. So a flood of new sources never makes a busy one forgotten.
 */
#ifndef FEATHERLB_LIMIT_H
#define FEATHERLB_LIMIT_H

#include "atomic.h"

#define LIMIT_COUNT 0xffffffULL
#define LIMIT_CLAIMED (1ULL << 24)
#define LIMIT_GENERATION (1ULL << 25) /* the lowest bit of it */
#define LIMIT_ANY 0xffffffu           /* more than a service may be given as its limit */

#define LIMIT_ADD_TRIES 8
#define LIMIT_REMOVE_TRIES 64
#define LIMIT_RATE_TRIES 4

#define LIMIT_TIME_BITS 48
#define LIMIT_FARTHEST (1LL << 38) /* that a source can be ahead: more than an hour at 1,000 jiffies a second */
#define LIMIT_TIME ((1ULL << LIMIT_TIME_BITS) - 1)
#define LIMIT_JIFFY_SHIFT 16 /* time is counted in parts of a jiffy */

#ifdef __clang__
#define LIMIT_ROLLED _Pragma("clang loop unroll(disable)")
#else
#define LIMIT_ROLLED
#endif

/* In the kernel each attempt is a function of its own, which the verifier looks at once. */
#ifdef __bpf__
#define LIMIT_FUNCTION __attribute__((noinline))
#else
#define LIMIT_FUNCTION static inline
#endif

enum limit_result { LIMIT_COUNTED = 0, LIMIT_REACHED, LIMIT_NO_ROOM, LIMIT_AGAIN };

/* A bijection of 64-bit words. */
FLB_INLINE __u64 limit_mix(__u64 h)
{
    h ^= h >> 32;
    h *= 0xd6e8feb86659fd93ULL;
    h ^= h >> 32;
    h *= 0xd6e8feb86659fd93ULL;
    return h ^ h >> 32;
}

/* `client`: an IPv4 address, or the first eight bytes of an IPv6 address, as it lies in memory. */
FLB_INLINE __u64 limit_identity(__u32 service, __u64 client)
{
    __u64 h = limit_mix(client ^ flow_load()->flow_seed[0]);

    return limit_mix(h ^ ((__u64)service * 0x9e3779b97f4a7c15ULL + flow_load()->flow_seed[1]));
}

/* Entry 0 to 2 * FLB_LIMIT_WAYS - 1 of a source's candidates; a source whose second set is its first has none
 * there. */
FLB_INLINE struct flb_limit_count* limit_way(__u64 identity, __u32 number)
{
    const __u64 sets = flow_load()->limit_sets;
    __u32 first = (__u32)((identity >> 32) * sets >> 32);
    __u32 second = (__u32)((identity * 0x9e3779b97f4a7c15ULL >> 32) * sets >> 32);
    struct flb_limit_set* set = 0;

    if (number < FLB_LIMIT_WAYS)
        set = limit_set_at(first);
    else if (second != first)
        set = limit_set_at(second);
    return set ? &set->way[number & (FLB_LIMIT_WAYS - 1)] : 0;
}

FLB_INLINE __u32 limit_count_of(__u64 ctl)
{
    return ctl & LIMIT_CLAIMED ? 0 : (__u32)(ctl & LIMIT_COUNT);
}

/* What a look over the candidates found. */
struct limit_survey {
    struct flb_limit_count* own;  /* the source's; 0: it has none */
    struct flb_limit_count* free; /* in the set that has more of them */
    __u64 own_ctl;
    __u64 free_ctl;
    __u32 total;
    __s32 room; /* free entries of the first set less those of the second */
};

FLB_INLINE void limit_look(__u64 identity, struct limit_survey* s)
{
    s->own = 0;
    s->free = 0;
    s->own_ctl = 0;
    s->free_ctl = 0;
    s->total = 0;
    s->room = 0;
    LIMIT_ROLLED
    for (__u32 i = 0; i < 2 * FLB_LIMIT_WAYS; i++) {
        struct flb_limit_count* entry = limit_way(identity, i);
        __u64 ctl;

        if (!entry)
            continue;
        ctl = atomic_load(&entry->ctl);
        atomic_order_loads();
        if (ctl & LIMIT_CLAIMED)
            continue;
        if (!(ctl & LIMIT_COUNT)) {
            s->room += i < FLB_LIMIT_WAYS ? 1 : -1;
            if (s->room == (i < FLB_LIMIT_WAYS ? 1 : -1)) {
                s->free = entry;
                s->free_ctl = ctl;
            }
        } else if (atomic_load(&entry->source) == identity) {
            s->own = entry;
            s->own_ctl = ctl;
            s->total += limit_count_of(ctl);
        }
    }
}

/* Open connections of the source. */
LIMIT_FUNCTION __u32 limit_total(__u64 identity)
{
    struct limit_survey s;

    limit_look(identity, &s);
    return s.total;
}

LIMIT_FUNCTION int limit_try_add(__u64 identity, __u32 limit)
{
    struct limit_survey s;

    limit_look(identity, &s);
    if (s.total >= limit)
        return LIMIT_REACHED;
    if (s.own)
        return atomic_swap_if(&s.own->ctl, s.own_ctl, s.own_ctl + 1) ? LIMIT_COUNTED : LIMIT_AGAIN;
    if (!s.free)
        return LIMIT_NO_ROOM;
    if (!atomic_swap_if(&s.free->ctl, s.free_ctl, (s.free_ctl + LIMIT_GENERATION) | LIMIT_CLAIMED))
        return LIMIT_AGAIN;
    atomic_store(&s.free->source, identity);
    atomic_xor(&s.free->ctl, LIMIT_CLAIMED | 1);
    return LIMIT_COUNTED;
}

/* Counts one more, unless there are `limit` already. */
FLB_INLINE enum limit_result limit_add(__u64 identity, __u32 limit)
{
    int result = LIMIT_AGAIN;

    LIMIT_ROLLED
    for (int i = 0; i < LIMIT_ADD_TRIES && result == LIMIT_AGAIN; i++)
        result = limit_try_add(identity, limit);
    return result == LIMIT_AGAIN ? LIMIT_NO_ROOM : (enum limit_result)result;
}

LIMIT_FUNCTION int limit_try_remove(__u64 identity)
{
    struct limit_survey s;

    limit_look(identity, &s);
    if (!s.own)
        return LIMIT_NO_ROOM;
    return atomic_swap_if(&s.own->ctl, s.own_ctl, s.own_ctl - 1) ? LIMIT_COUNTED : LIMIT_AGAIN;
}

/* Counts one less; false where there is none. */
FLB_INLINE int limit_remove(__u64 identity)
{
    int result = LIMIT_AGAIN;

    LIMIT_ROLLED
    for (int i = 0; i < LIMIT_REMOVE_TRIES && result == LIMIT_AGAIN; i++)
        result = limit_try_remove(identity);
    return result == LIMIT_COUNTED;
}

/* How far the time of a word lies ahead of `now`; negative: behind. */
FLB_INLINE __s64 limit_ahead(__u64 word, __u64 now)
{
    return (__s64)((word - now) << (64 - LIMIT_TIME_BITS)) >> (64 - LIMIT_TIME_BITS);
}

/* The time that one connection costs. `a_minute` is not 0. */
FLB_INLINE __u64 limit_interval(__u32 hz, __u32 a_minute)
{
    __u64 interval = ((__u64)hz * 60 << LIMIT_JIFFY_SHIFT) / a_minute;

    return interval ? interval : 1;
}

/* LIMIT_COUNTED, LIMIT_REACHED or LIMIT_AGAIN. */
LIMIT_FUNCTION int limit_try_take(__u64 identity, __u64 now, __u64 interval, __u32 burst)
{
    struct flb_rate_set* set = limit_rate_at((__u32)((identity >> 32) * flow_load()->rate_sets >> 32));
    const __u64 tag = identity << LIMIT_TIME_BITS;
    const __s64 allowed = (__s64)(interval * burst);
    __u64 seen = 0;
    __s64 least = LIMIT_FARTHEST + 1;
    __u32 place = 0;

    if (!set)
        return LIMIT_COUNTED;
    LIMIT_ROLLED
    for (__u32 way = 0; way < FLB_RATE_WAYS; way++) {
        __u64 word = atomic_load(&set->way[way]);
        __s64 ahead = limit_ahead(word, now);
        int own = !((word ^ tag) >> LIMIT_TIME_BITS);

        if (!word || ahead < 0 || ahead > LIMIT_FARTHEST)
            ahead = -1; /* passed, or never used */
        if (own || ahead < least) {
            seen = word;
            least = ahead;
            place = way;
        }
        if (own)
            break;
    }
    /* another source's time is not ours; our own is not ahead by more than it can be, but after the limit changed */
    if (least < 0 || least > allowed || (seen ^ tag) >> LIMIT_TIME_BITS)
        least = 0;
    if (least + (__s64)interval > allowed)
        return LIMIT_REACHED;
    return atomic_swap_if(
               &set->way[place & (FLB_RATE_WAYS - 1)], seen, tag | ((now + (__u64)least + interval) & LIMIT_TIME))
               ? LIMIT_COUNTED
               : LIMIT_AGAIN;
}

/* May the source open one more connection now? If so, it is charged. `burst` * `interval` is far below half of what
 * the clock holds (LIMIT_TIME_BITS), which the daemon sees to. Where others take from this very set as fast as we
 * look, it may not. */
FLB_INLINE int limit_take(__u64 identity, __u64 jiffies, __u64 interval, __u32 burst)
{
    const __u64 now = jiffies << LIMIT_JIFFY_SHIFT & LIMIT_TIME;
    int result = LIMIT_AGAIN;

    LIMIT_ROLLED
    for (int i = 0; i < LIMIT_RATE_TRIES && result == LIMIT_AGAIN; i++)
        result = limit_try_take(identity, now, interval, burst);
    return result == LIMIT_COUNTED;
}

#endif
