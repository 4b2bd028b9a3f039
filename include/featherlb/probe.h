/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * What the programs of health checks in `dsr` and `ipip` (bpf/probe.bpf.c) and the daemon share. Nothing of it is
 * pinned.
 */
#ifndef FEATHERLB_PROBE_H
#define FEATHERLB_PROBE_H

#include "featherlb/abi.h"

/* Packets of such checks carry a firewall mark: the base, and a number for the backend that is asked. */
#define FLB_PROBE_MARK 0xf1b00000u
#define FLB_PROBE_MARK_MASK 0xfff00000u
#define FLB_PROBE_MOST 0x100000u /* numbers */

/* Hash map `probes`, by mark. */
struct flb_probe {
    struct flb_addr backend; /* to whom the check's socket is connected */
    struct flb_addr service; /* what the packet is addressed to instead */
    struct flb_addr own;     /* where it comes from then, if the two differ in IP version; else from where it did */
    __u8 family;             /* of service and own: FLB_IPV4 or FLB_IPV6 */
    __u8 backend_family;
    __u8 tunnel; /* 1: with an outer header to the backend (`ipip`); 0: by its MAC (`dsr`) */
    __u8 pad;
};

/* LRU hash map `probe_ways`: what the answer to a check looks like, and what it is to become. */
struct flb_probe_way {
    struct flb_addr own;
    struct flb_addr service;
    __be16 own_port;
    __be16 service_port;
    __u32 family;
};
struct flb_probe_origin {
    struct flb_addr backend;
    struct flb_addr own; /* of the check's socket */
    __u32 family;        /* of both */
};

FLB_ASSERT(sizeof(struct flb_probe) == 52);
FLB_ASSERT(sizeof(struct flb_probe_way) == 40);
FLB_ASSERT(sizeof(struct flb_probe_origin) == 36);

#endif
