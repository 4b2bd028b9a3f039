/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Samples: what the packet programs tell, packet by packet, while the daemon asks for it: drops, and backends given to
 * connections. By the rules of abi.h.
 *
 * Asked for is what has its bit in flb_settings.sampled, until the tick flb_settings.sampled_until; the daemon moves
 * that forward as long as somebody listens, so sampling ends by itself where the daemon ends.
 */
#ifndef FEATHERLB_SAMPLES_H
#define FEATHERLB_SAMPLES_H

#include "featherlb/abi.h"

#define FLB_SAMPLES_BYTES 262144   /* of the ring buffer; a power of two */
#define FLB_SAMPLE_WINDOW_SHIFT 4  /* a window is 2^-4 ticks, about 1/16 s */
#define FLB_SAMPLES_IN_WINDOW 16   /* on one processor, of one reason */
#define FLB_SAMPLED_DECISIONS 1ULL /* bit 0: FLB_DROP_none; the others are those of the reasons */

enum flb_sample_kind {
    FLB_SAMPLE_DROP = 0,
    FLB_SAMPLE_NEW = 1,  /* a connection got its backend */
    FLB_SAMPLE_MOVED = 2 /* and another one: the first is down, or did not answer the SYN */
};

/* A record of the ring buffer `samples`. */
struct flb_sample {
    __u64 time_ns;               /* monotonic */
    struct flb_addr source;      /* of the packet, as it arrived; of an ICMP error: of what would answer the packet */
    struct flb_addr destination; /* that it quotes */
    __be16 sport;                /* 0: not known */
    __be16 dport;
    __u32 backend;  /* 0: none, or not known */
    __u16 slot;     /* of the interface that it came in by: its number modulo FLB_IFACE_SLOTS */
    __u8 kind;      /* enum flb_sample_kind */
    __u8 reason;    /* enum flb_drop_reason; FLB_DROP_none unless the kind is a drop */
    __u8 family;    /* FLB_IPV4 or FLB_IPV6 */
    __u8 protocol;  /* IPPROTO_*; 0: not known */
    __u8 tcp_flags; /* 0 where it is not TCP */
    __u8 pad;
};

/* Map `sample_budgets`, index processor * FLB_MAX_REASONS + reason (FLB_DROP_none: all decisions): only that processor
 * writes it. */
struct flb_sample_budget {
    __u32 window; /* in which `taken` was counted; low 32 bits */
    __u32 taken;
    __u64 left_out; /* asked for, but not told: too many in a window, or no room */
};

FLB_ASSERT(FLB_MAX_REASONS <= 64); /* bits of flb_settings.sampled */
FLB_ASSERT(sizeof(struct flb_sample) == 56);
FLB_ASSERT(sizeof(struct flb_sample_budget) == 16);

#endif
