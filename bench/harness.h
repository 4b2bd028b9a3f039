/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What harness.bpf.c and packet/ share. */
#ifndef FEATHERLB_HARNESS_H
#define FEATHERLB_HARNESS_H

#include <linux/types.h>

#define HARNESS_TEMPLATE_BYTES 80 /* Ethernet, IPv6 and TCP without options */
#define HARNESS_PORT_BITS 12      /* 4,096 ports an address */
#define HARNESS_PORT_MASK ((1 << HARNESS_PORT_BITS) - 1)

/* Offsets in a frame without tags or options. */
#define HARNESS_ADDRESSES4 26
#define HARNESS_PORTS4 34
#define HARNESS_ADDRESSES6 22
#define HARNESS_PORTS6 54

/* Bytes that the floor `header` puts before the packet. */
#define HARNESS_OUTER_BYTES 20

struct harness_state {
    __u64 template_words[HARNESS_TEMPLATE_BYTES / 8];
    __u32 frame_bytes;
    __u32 flows; /* clients in turn */
    __u32 next;
    __u64 addresses[4]; /* both, as they lie in the template: IPv4 one word, IPv6 four */
    __u32 ports;        /* both, likewise */
    __u32 v6;
    __u32 address_base; /* last 32 bits of the client's address, host byte order */
    __u32 port_base;
    __u32 destinations; /* service addresses in turn; 1: the template's */
    __u32 next_destination;
    __u32 destination_base; /* host byte order */
    __u32 drained;          /* each packet begins when its stores are done */
    __u64 packets;
};

#endif
