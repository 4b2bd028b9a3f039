/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the steps hand to each other: the packet as it was parsed, and the recipe that is replayed on it.
 * Offsets instead of pointers, so both survive a helper that moves the packet.
 */
#ifndef FEATHERLB_PACKET_H
#define FEATHERLB_PACKET_H

#include "flow_reserve.h"

/* A step's answer: STEP_NEXT goes on, STEP_PASS leaves the packet to the stack, STEP_RESET(reason) answers a
 * segment with RST; STEP_SYN_AGAIN and STEP_DOWN lead to failover.h, STEP_ONE_WAY to one_way.h; STEP_ICMP (an ICMP
 * message) and STEP_FOLLOWER (a fragment that is not the first) are parse's, for icmp.h and fragment.h, and STEP_TUNNEL
 * is icmp.h's; STEP_STORED is decide.h's own; anything above 0 is an enum flb_drop_reason, or SENT with the verdict in
 * the lowest byte: the packet has been sent already. */
enum step {
    STEP_TUNNEL = -9,
    STEP_ONE_WAY = -8,
    STEP_FOLLOWER = -7,
    STEP_ICMP = -6,
    STEP_DOWN = -5,
    STEP_SYN_AGAIN = -4,
    STEP_STORED = -3,
    STEP_PASS = -1,
    STEP_NEXT = 0
};
#define SENT 0x10000000
#define STEP_RESET_LAST (-FLB_MAX_REASONS)
#define STEP_RESET(reason) (STEP_RESET_LAST - (int)(reason))
#define STEP_IS_RESET(step) ((step) < STEP_RESET_LAST)
#define STEP_RESET_REASON(step) ((__u32)(STEP_RESET_LAST - (step)))

struct packet {
    struct flow_key key;
    struct flb_hop from; /* who sent the frame, on which interface, under which tags; 8-byte aligned */
    __u16 segment;       /* largest IP packet that this becomes on the wire; differs from length under GSO */
    __u16 transport;     /* bytes of the TCP or UDP header */
    __u32 length;        /* of the IP packet */
    __u16 l3;            /* offsets from the start of the frame */
    __u16 l4;
    __u16 fragment_at; /* of IPv6's fragment header, if this is a fragment */
    __u16 pad;
    __u32 seq; /* TCP, host byte order */
    __u32 ack;
    __u8 protocol;
    __u8 ttl;
    __u8 tcp_flags;
    __u8 fragment; /* IS_FRAGMENT: the first of several */
};

#define IS_FRAGMENT 1u

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

/* A recipe as it was read from an entry, or made for a packet that leaves none. */
struct recipe {
    __u64 addresses[4]; /* new source and destination, FLOW_ADDRESS_WORDS of them */
    __be16 sport;
    __be16 dport;
    __u16 addresses_delta;
    __u16 ports_delta;
    struct flb_hop to; /* 8-byte aligned */
    __u32 backend;
};

/* Where a packet with a recipe goes. */
struct way {
    __u8 direction; /* enum direction */
    __u8 orphan;    /* towards a client of whom we know nothing: a route must be found */
    __u8 decided;   /* the backend was picked for this very packet */
    __u8 elsewhere; /* answer.h: the error goes where the recipe says, not where the packet came from */
};

/* No header begins behind these; see bounded(). */
#define L3_MASK 0x3f
#define L4_MASK 0x7ff

#define swap16(x) __builtin_bswap16(x)
#define swap32(x) __builtin_bswap32(x)

FLB_INLINE __u32 fold16(__u64 sum)
{
    sum = (sum & 0xffffffff) + (sum >> 32);
    sum = (sum & 0xffffffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    return (__u32)sum;
}

/* As 16 bits, in one multiplication: the middle digit of x * 0x100010001 is the sum of x's halves, and its carry goes
 * into the next one, which is the sum again. */
FLB_INLINE __u16 fold32(__u32 sum)
{
    return (__u16)(sum * 0x100010001ULL >> 32);
}

/* The checksum `check` after words whose one's complement difference is `delta` have changed (RFC 1624). */
FLB_INLINE __u16 checksum_add(__u16 check, __u32 delta)
{
    return (__u16)~fold32((__u32)(__u16)~check + delta);
}

/* Reads the recipe of a live entry; false if it was replaced meanwhile. */
FLB_INLINE int flow_load_recipe(const int v6, const struct flow_ref* ref, struct recipe* r)
{
    for (int i = 0; i < FLOW_ADDRESS_WORDS(v6); i++)
        r->addresses[i] = atomic_load(&flow_words(ref->f)[FLOW_KEY_WORDS(v6) + i]);
    *(__u64*)&r->sport = atomic_load((__u64*)&ref->f->sport); /* ports and deltas */
    r->backend = atomic_load(&ref->f->backend);
    *(__u64*)&r->to = atomic_load((__u64*)&ref->f->hop);
    *(__u32*)r->to.vlan = atomic_load((__u32*)ref->f->hop.vlan);
    return flow_is_whole(ref);
}

#endif
