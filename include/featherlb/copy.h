/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Copies of connections into a fresh flow table: what the daemon asks of bpf/copy.bpf.c, which inserts, moves on and
 * takes out by the rules of bpf/flow.h, beside the packet programs. By the rules of abi.h; nothing of this is pinned.
 */
#ifndef FEATHERLB_COPY_H
#define FEATHERLB_COPY_H

#include "featherlb/abi.h"

#define FLB_COPIES 128 /* at a time */

enum flb_copy_what {
    FLB_COPY_INSERT = 0,
    FLB_COPY_ADVANCE = 1, /* an owner that was inserted and is still in `seen`: to another state, or another age */
    FLB_COPY_RELEASE = 2  /* the same, with its reply: out of the table */
};
enum flb_copy_result {
    FLB_COPY_DONE = 0,
    FLB_COPY_KNOWN = 1, /* INSERT: an entry with the owner's or the reply's key is there */
    FLB_COPY_FULL = 2,
    FLB_COPY_GONE = 3,     /* it has been replaced, or moved on by a packet */
    FLB_COPY_CONTENDED = 4 /* to be asked again */
};

/* An entry but for its control word and what places it in a table. */
struct flb_copy_entry {
    __u64 key[5];       /* as the words of an entry, behind struct flb_flow */
    __u64 addresses[4]; /* and those behind these */
    struct flb_hop hop;
    __be16 sport;
    __be16 dport;
    __u16 addresses_delta;
    __u16 ports_delta;
    __u16 pad[2];
};

struct flb_copy {
    __u32 what;   /* enum flb_copy_what */
    __u32 result; /* enum flb_copy_result */
    __u32 v6;
    __u32 backend;
    __u32 state; /* of the owner, enum flb_flow_state */
    __u32 age;
    __u32 aux;
    __u32 counted;     /* it is in its source's count */
    __u32 reply_state; /* FLB_FLOW_EMPTY: there is none, the flow is one way */
    __u32 reply_age;
    __u32 index; /* of the owner in this table: answered by INSERT */
    __u32 generation;
    __u32 seen; /* ADVANCE and RELEASE: the state that the owner must be in */
    __u32 pad;
    struct flb_copy_entry owner; /* INSERT alone reads what is in these */
    struct flb_copy_entry reply;
};

FLB_ASSERT(sizeof(struct flb_copy_entry) == 96);
FLB_ASSERT(sizeof(struct flb_copy) == 248);

#endif
