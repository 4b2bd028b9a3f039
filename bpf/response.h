/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Smoothed response times, as arithmetic: free of BPF helpers, and shared with the daemon and its tests.
 *
 * A smoothed time and the moment of its last sample are one word (flb_backend_load.response): sixteenths of a
 * microsecond 0-31, 2^16 nanoseconds of the monotonic clock 32-63; 0: none yet. With each sample, what was known before
 * counts for half as much for each 2^13 of these units, 0.54 s, that have passed since (an exponentially weighted
 * moving average over time, not over samples). Between samples what is known of a backend approaches, at the same pace,
 * the mean, which is the smoothed time of its service: one that was slow is tried again, and one of which nothing is
 * known is neither flooded nor left out.
 */
#ifndef FEATHERLB_RESPONSE_H
#define FEATHERLB_RESPONSE_H

#include "atomic.h"

#define RESPONSE_CLOCK_SHIFT 16 /* nanoseconds to units */
#define RESPONSE_HALF_SHIFT 13  /* units in which half is forgotten */
#define RESPONSE_PART_SHIFT 4   /* parts of a microsecond */
#define RESPONSE_ONE_SHIFT 24   /* shares are parts of 2^24 */
#define RESPONSE_ONE (1ULL << RESPONSE_ONE_SHIFT)
#define RESPONSE_AHEAD 8192u        /* units by which the clocks of processors may differ, and more */
#define RESPONSE_MOST_US (1u << 27) /* a longer one counts as that: two minutes */

FLB_INLINE __u32 response_clock(__u64 ns)
{
    return (__u32)(ns >> RESPONSE_CLOCK_SHIFT);
}

/* What still counts after so many units: 2^-x as a cubic, exact where x is whole. */
FLB_INLINE __u64 response_kept(__u32 units)
{
    const __u32 halvings = units >> RESPONSE_HALF_SHIFT;
    const __u64 x = (__u64)(units & ((1u << RESPONSE_HALF_SHIFT) - 1)) << (RESPONSE_ONE_SHIFT - RESPONSE_HALF_SHIFT);
    __u64 gone;

    if (!units || units > 0u - RESPONSE_AHEAD) /* another processor may be a unit ahead */
        return RESPONSE_ONE;
    if (halvings >= RESPONSE_ONE_SHIFT)
        return 0;
    gone = x * (2556 << 8) >> RESPONSE_ONE_SHIFT;
    gone = x * ((15096 << 8) - gone) >> RESPONSE_ONE_SHIFT;
    gone = x * ((45308 << 8) - gone) >> RESPONSE_ONE_SHIFT;
    return (RESPONSE_ONE - gone) >> halvings;
}

FLB_INLINE __u32 response_blend(__u32 known, __u32 other, __u64 kept, __u64 rounding)
{
    return (__u32)((known * kept + other * (RESPONSE_ONE - kept) + rounding) >> RESPONSE_ONE_SHIFT);
}

/* The word after a sample. What lies below a unit of the clock rounds at random: many small steps add up. */
FLB_INLINE __u64 response_add(__u64 word, __u32 sample_us, __u64 ns)
{
    const __u32 sample = (sample_us > RESPONSE_MOST_US ? RESPONSE_MOST_US : sample_us) << RESPONSE_PART_SHIFT;
    const __u32 now = response_clock(ns);
    const __u64 rounding = (__u32)((__u32)ns * 0x9e3779b1u) >> (32 - RESPONSE_ONE_SHIFT); /* as good as any number */
    __u32 value = sample, when = now;

    if (word) {
        const __u64 kept = response_kept(now - (__u32)(word >> 32));

        value = response_blend((__u32)word, sample, kept, rounding);
        if (kept == RESPONSE_ONE)
            when = (__u32)(word >> 32);
    }
    return (__u64)when << 32 | (value ? value : 1);
}

/* What is known of a backend now, in parts of a microsecond, and never 0. `mean`: the same of its service; 0: nothing.
 */
FLB_INLINE __u32 response_now(__u64 word, __u32 mean, __u32 now)
{
    __u32 value = word ? (__u32)word : mean;

    if (word && mean)
        value = response_blend((__u32)word, mean, response_kept(now - (__u32)(word >> 32)), 0);
    return value ? value : 1;
}

/* The histogram's bucket: how many bits the number of microseconds has. */
FLB_INLINE __u32 response_bucket(__u32 us)
{
    __u32 bits = 0;

    if (us >> 16) {
        bits = 16;
        us >>= 16;
    }
    if (us >> 8) {
        bits += 8;
        us >>= 8;
    }
    if (us >> 4) {
        bits += 4;
        us >>= 4;
    }
    if (us >> 2) {
        bits += 2;
        us >>= 2;
    }
    bits += us >> 1 ? 2 : us;
    return bits < FLB_RESPONSE_BUCKETS ? bits : FLB_RESPONSE_BUCKETS - 1;
}

#endif
