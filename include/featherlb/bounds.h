/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * What chunks of slots have at least to do, for picks that compare backends: bpf/bounds.h has the rules. By the rules
 * of abi.h; but nobody has to keep it: a daemon may begin with maps of zeros at any time.
 */
#ifndef FEATHERLB_BOUNDS_LAYOUT_H
#define FEATHERLB_BOUNDS_LAYOUT_H

#include "featherlb/abi.h"

#define FLB_CHUNKS_BOUNDED 8 /* chunks whose bounds are one map value: a cache line */

/* Map `slot_bounds`: for each chunk of `slots`, of a service that picks by FLB_PICK_LEAST, less than which none of its
 * backends has to do: open connections 0-21, weight in hundredths less one 22-39, version 40-63. */
struct flb_slot_bounds {
    __u64 chunk[FLB_CHUNKS_BOUNDED];
};
#define FLB_BOUND_OPEN ((1ULL << 22) - 1)
#define FLB_BOUND_WEIGHT_SHIFT 22
#define FLB_BOUND_WEIGHT ((1ULL << 18) - 1)
#define FLB_BOUND_VERSION (1ULL << 40)
#define FLB_BOUND_VERSIONS (~0ULL << 40)

/* Map `backend_chunks`, index as in `backends`: the chunk that its slot is in, and one; 0: nobody keeps a bound. Values
 * are __u64. */

FLB_ASSERT(sizeof(struct flb_slot_bounds) == 64);

#endif
