/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What floors.bpf.c and the rest of packet/ share. */
#ifndef FEATHERLB_BENCH_FLOORS_H
#define FEATHERLB_BENCH_FLOORS_H

#include <linux/types.h>

#include "featherlb/abi.h"

#define FLOOR_LINES FLB_WAYS
#define FLOOR_OUTER_BYTES 34 /* Ethernet and IPv4 */

/* As large as a set of the flow table of IPv4. */
struct floor_line {
    __u64 word[8];
};
struct floor_set {
    struct floor_line line[FLOOR_LINES];
};
FLB_ASSERT(sizeof(struct floor_set) == sizeof(struct flb_set4));

/* From 10.3.0.1 to 10.2.0.0, TTL 64, 104 bytes: for a frame of 98. */
static const __u8 floor_outer[FLOOR_OUTER_BYTES] = {2, 0, 0, 0, 0x10, 0, 2, 0, 0, 0, 0, 1, 8, 0, /* */
    0x45, 0, 0, 104, 0, 0, 0x40, 0, 64, 4, 0x26, 0x8d, 10, 3, 0, 1, 10, 2, 0, 0};

#endif
