/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * What the decapsulation program (bpf/decap.bpf.c) and `featherlb decap` share. None of it is pinned: both come from
 * one build, so the layouts may change at any time.
 */
#ifndef FEATHERLB_DECAP_H
#define FEATHERLB_DECAP_H

#include "featherlb/abi.h"

/* Hash map `decap_addresses`: the addresses of this host that matter. */
struct flb_decap_key {
    struct flb_addr address;
    __u32 family; /* FLB_IPV4 or FLB_IPV6 */
};
struct flb_decap_address {
    __u32 roles;
    __u32 header; /* service: bytes of the largest outer header that a SYN for it came with; written by the programs */
};
#define FLB_DECAP_OUTER 1u   /* tunnels may end here */
#define FLB_DECAP_SERVICE 2u /* may be the destination of a packet inside */

/* LPM trie `decap_sources`: networks that tunnels may come from. Not asked where the constant `any_source` is set. */
struct flb_decap_source {
    __u32 bits; /* 32, for the family, and those of the address */
    __u32 family;
    struct flb_addr address;
};

/* Hash map `decap_interfaces`, by ifindex. */
struct flb_decap_interface {
    __u32 mtu; /* of the path from the balancer, as far as the operator said; else of the interface */
    __u8 mac[6];
    __u8 pad[2];
};

/* Per-CPU array `decap_counters`, one element. */
#define FLB_DECAP_COUNTERS(X)                                                                                          \
    X(decapsulated, "packets taken out of their tunnel")                                                               \
    X(clamped, "SYN-ACKs whose MSS was lowered")                                                                       \
    X(foreign_source, "passed: a tunnel packet from a source that --from does not name")                               \
    X(not_a_service, "passed: a tunnel packet for an address inside that is no service address of this host")          \
    X(fragment, "passed: a fragment of a tunnel packet; the way from the balancer is narrower than it thinks")         \
    X(malformed, "passed: a tunnel packet with no whole IP header inside")                                             \
    X(not_possible, "passed: the kernel would not cut the outer header off")                                           \
    X(congestion, "dropped: the way reports congestion by ECN, which the packet's sender does not know")

enum flb_decap_counter {
#define X(name, text) FLB_DECAP_##name,
    FLB_DECAP_COUNTERS(X)
#undef X
        FLB_DECAP_COUNTER_COUNT
};
struct flb_decap_counts {
    __u64 packets[8];
};

FLB_ASSERT(sizeof(struct flb_decap_key) == 20);
FLB_ASSERT(sizeof(struct flb_decap_source) == 24);
FLB_ASSERT(sizeof(struct flb_decap_interface) == 12);
FLB_ASSERT(FLB_DECAP_COUNTER_COUNT <= 8);

#endif
