/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What harness.bpf.c and packet/ share. */
#ifndef FEATHERLB_HARNESS_H
#define FEATHERLB_HARNESS_H

#include <linux/types.h>

#define HARNESS_TEMPLATE_BYTES 80 /* Ethernet, IPv6 and TCP without options */
#define HARNESS_PORT_BITS 12      /* 4,096 ports an address */
#define HARNESS_PORT_MASK ((1 << HARNESS_PORT_BITS) - 1)

#define HARNESS_OFFSET_MASK 0x7f

/* Bytes that the floor `header` puts before the packet. */
#define HARNESS_OUTER_BYTES 20

struct harness_state {
    __u64 template_words[HARNESS_TEMPLATE_BYTES / 8];
    __u32 frame_bytes;
    __u32 flows; /* clients in turn */
    __u32 next;
    __u32 address_offset; /* of the last 32 bits of the client's address in the frame */
    __u32 address_base;   /* host byte order */
    __u32 port_offset;
    __u32 port_base;
    __u32 destinations; /* service addresses in turn; 1: the template's */
    __u32 next_destination;
    __u32 destination_offset; /* of the last 32 bits */
    __u32 destination_base;   /* host byte order */
    __u32 drained;            /* each packet begins when its stores are done */
    __u64 packets;
};

#endif
