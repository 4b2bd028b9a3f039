/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The few operations on shared words that flow.h and limit.h need, for BPF and, so that the same code runs on the
 * host, for C++. Compare-and-swap and the fetch-and-modify operations are full barriers on both.
 */
#ifndef FEATHERLB_ATOMIC_H
#define FEATHERLB_ATOMIC_H

#include "featherlb/abi.h"

#ifdef __bpf__

#define FLB_INLINE static __always_inline

#define atomic_load(p) (*(volatile const typeof(*(p))*)(p))
#define atomic_store(p, v) (*(volatile typeof(*(p))*)(p) = (v))

/* The result is given to an empty asm so that the compiler keeps the fetching form: the other one is not a
 * barrier on arm64. */
#define atomic_xor(p, v)                                                                                               \
    do {                                                                                                               \
        __u64 before_ = __sync_fetch_and_xor((p), (v));                                                                \
        asm volatile("" ::"r"(before_));                                                                               \
    } while (0)
#define atomic_and(p, v)                                                                                               \
    do {                                                                                                               \
        __u64 before_ = __sync_fetch_and_and((p), (v));                                                                \
        asm volatile("" ::"r"(before_));                                                                               \
    } while (0)
#define atomic_or(p, v)                                                                                                \
    do {                                                                                                               \
        __u64 before_ = __sync_fetch_and_or((p), (v));                                                                 \
        asm volatile("" ::"r"(before_));                                                                               \
    } while (0)

/* Later loads stay behind earlier ones. x86-64 keeps that order by itself; elsewhere an atomic operation on the
 * stack is the only barrier that BPF has. */
FLB_INLINE void atomic_order_loads(void)
{
#ifdef FEATHERLB_WEAK_MEMORY
    __u64 anything = 0;

    atomic_xor(&anything, 0);
#endif
    asm volatile("" ::: "memory");
}

#else

#define FLB_INLINE static inline

#define atomic_load(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define atomic_store(p, v) __atomic_store_n((p), (v), __ATOMIC_RELAXED)
#define atomic_xor(p, v) ((void)__sync_fetch_and_xor((p), (v)))
#define atomic_and(p, v) ((void)__sync_fetch_and_and((p), (v)))
#define atomic_or(p, v) ((void)__sync_fetch_and_or((p), (v)))

FLB_INLINE void atomic_order_loads(void)
{
    /* atomic_load acquires here */
}

#endif

/* Eight bytes at an address that is a multiple of eight, by one load, whatever they are declared as: of a member of a
 * struct that is less aligned, clang would make two. */
FLB_INLINE __u64 atomic_load_word(const void* p)
{
    return atomic_load((const __u64*)p);
}

FLB_INLINE int atomic_swap_if(__u64* word, __u64 expected, __u64 wanted)
{
    return __sync_val_compare_and_swap(word, expected, wanted) == expected;
}

#endif
