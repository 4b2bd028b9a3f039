/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The flow table: find, touch, advance, release; flow_reserve.h has insertion. Free of BPF helpers: who includes it
 * gives `flow_first_way(v6, set)` (the memory of a set, or null), `flow_load()` (sizes and seed), `flow_settings()`
 * (the timeouts), `flow_uncount(backend, client)` (see 7) and `flow_moved(backend, before, after)` (see 8), so the same
 * code runs in the kernel and under ThreadSanitizer on the host.
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
 *     by programs (copy.bpf.c is one, too), which neither sleep nor die; waiting is bounded.
 *  5. A connection is two entries. The reply's is reserved first, and thereby the port; then the owner's; then
 *     both are filled and published, the reply first (but copy.bpf.c: of a connection that is proven, which gets
 *     packets already, the owner). If the owner's cannot be had, the reply's is released. reply.pair and reply.aux name
 *     the owner's place and generation: if they differ, the reply is an orphan and free to be taken; an owner that is
 *     BUSY with that generation is about to come. The owner alone carries the connection's state.
 *  6. User space may die anywhere. The sweeper only ever swaps an expired entry to EMPTY; a command to end connections
 *     swaps an owner of TCP to KILLED, and one of UDP, and its reply, to EMPTY.
 *  7. An owner that is counted as an open connection carries FLB_CTL_COUNTED, set by the swap that makes it proven.
 *     Whoever swaps the bit away counts down, exactly once: flow_advance, a reservation (flow_settle), user space.
 *     What names the source is read before the swap: afterwards the entry may be another's, and if the swap succeeds,
 *     it was whole.
 *  8. A backend's open connections are the owners that name it in a state of FLB_FLOW_LOAD. Nothing but the state says
 *     so: who publishes such an owner counts up, before it does; whoever swaps one to a state that is none of those
 *     counts down, exactly once: flow_advance, a reservation (flow_settle), user space. The backend is read before the
 *     swap, as in 7. A processor that lies between its swap and its count makes the count one too high for that moment,
 *     and user space that dies there for ever: src/kernel/load_audit.h finds that.
 */
#ifndef FEATHERLB_FLOW_H
#define FEATHERLB_FLOW_H

#include "flow_word.h"

#define FLOW_ADDRESS_WORDS(v6) ((v6) ? 4 : 1) /* both addresses, in 64-bit words */
#define FLOW_KEY_WORDS(v6) ((v6) ? 5 : 2)
#define FLOW_ENTRY_SIZE(v6) ((v6) ? sizeof(struct flb_flow6) : sizeof(struct flb_flow4))
#define FLOW_ADVANCE_TRIES 2

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
    __u32 v6;
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

    atomic_order_loads();
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

        atomic_order_loads();
        if (!flow_key_equal(v6, f, key) || !flow_is_live(ctl))
            continue;
        ref->f = f;
        ref->ctl = ctl;
        ref->v6 = v6;
        ref->index = set * FLB_WAYS + ((start + i) & (FLB_WAYS - 1));
        return 1;
    }
    *mark = atomic_load(&first->ctl) & FLB_CTL_MARK;
    return 0;
}

/* The live entry of a key with this hash, in `ref`. An entry that is being replaced at this moment may be missed. */
FLB_INLINE int flow_find_hashed(const int v6, const struct flow_key* key, __u64 hash, struct flow_ref* ref)
{
    __u64 mark;

    if (flow_find_in_set(v6, key, flow_first_set(v6, hash), (__u32)hash, ref, &mark))
        return 1;
    if (!mark)
        return 0;
    return flow_find_in_set(v6, key, flow_second_set(v6, hash), (__u32)hash, ref, &mark);
}

FLB_INLINE int flow_find(const int v6, const struct flow_key* key, struct flow_ref* ref)
{
    return flow_find_hashed(v6, key, flow_hash(v6, key), ref);
}

/* The client of an owner's entry: its address, in memory order, IPv4 in the first four bytes of `high`. */
FLB_INLINE __u64 flow_client_high(const int v6, struct flb_flow* owner)
{
    __u64 word = atomic_load(&flow_words(owner)[v6 ? 1 : 0]);

    return v6 ? word : (__u32)word;
}

FLB_INLINE __u64 flow_client_low(const int v6, struct flb_flow* owner)
{
    return v6 ? atomic_load(&flow_words(owner)[2]) : 0;
}

/* Moves a live entry to `state` if its generation still is the one that `ref` saw and its state has not changed
 * meanwhile; sets `bits` with it, and fails where one of them is set already. Keeps ref up to date. True: *seen is what
 * was swapped. Alone only for what never counts or stays counted: see rules 7 and 8. */
FLB_INLINE int flow_swap(struct flow_ref* ref, __u32 state, __u32 now, __u64 bits, __u64* seen)
{
    FLOW_ROLLED
    for (int i = 0; i < FLOW_ADVANCE_TRIES; i++) {
        __u64 wanted = flow_with_state(ref->ctl, state, now) | bits;
        __u64 ctl;

        if (ref->ctl & bits)
            return 0;
        *seen = ref->ctl;
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

/* The same for any entry: counts down where the bit goes, or the state. */
FLB_INLINE int flow_advance_with(struct flow_ref* ref, __u32 state, __u32 now, __u64 bits)
{
    __u64 client = flow_client_high((int)ref->v6, ref->f);
    __u32 backend = atomic_load(&ref->f->backend);
    __u64 seen;

    if (!flow_swap(ref, state, now, bits, &seen))
        return 0;
    flow_moved(backend, flow_state(seen), state);
    if (seen & ~ref->ctl & FLB_CTL_COUNTED)
        flow_uncount(backend, client);
    return 1;
}

FLB_INLINE int flow_advance(struct flow_ref* ref, __u32 state, __u32 now)
{
    return flow_advance_with(ref, state, now, 0);
}

/* Of the backend's direction, which never counts. */
FLB_INLINE int flow_advance_reply(struct flow_ref* reply, __u32 state, __u32 now)
{
    __u64 seen;

    return flow_swap(reply, state, now, 0, &seen);
}

/* Only the age is written. */
FLB_INLINE int flow_touch(struct flow_ref* ref, __u32 now)
{
    __u64 seen;

    return flow_swap(ref, flow_state(ref->ctl), now, 0, &seen);
}

/* Frees the entry that `ref` saw, unless somebody else has taken or changed it. */
FLB_INLINE void flow_release(struct flow_ref* ref)
{
    flow_advance(ref, FLB_FLOW_EMPTY, (__u32)ref->ctl);
}

/* The owner of a reply's entry; 0 for an orphan. */
FLB_INLINE int flow_owner(const int v6, struct flb_flow* reply, struct flow_ref* owner)
{
    owner->v6 = v6;
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
    reply->v6 = v6;
    reply->index = atomic_load(&owner->f->pair);
    reply->f = flow_at(v6, reply->index);
    if (!reply->f)
        return 0;
    reply->ctl = atomic_load(&reply->f->ctl);
    return flow_is_reply(flow_state(reply->ctl)) && atomic_load(&reply->f->pair) == owner->index &&
           atomic_load(&reply->f->aux) == flow_generation(owner->ctl);
}

#endif
