/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * words: addresses and ports of a direction as the words of keys and recipes, and the checksum differences between
 * them.
 */
#ifndef FEATHERLB_WORDS_H
#define FEATHERLB_WORDS_H

#include "packet.h"

/* The two addresses and ports of a direction, in the words of struct recipe. */
struct direction_words {
    __u64 addresses[4];
    __u32 ports; /* source | destination << 16, in network byte order each */
};

FLB_INLINE __u32 decide_ports(const int v6, const struct flow_key* key)
{
    return (__u32)key->w[v6 ? 0 : 1];
}

FLB_INLINE void decide_set_source(const int v6, struct direction_words* d, const struct flb_addr* address)
{
    const __u64* words = (const __u64*)address;

    if (v6) {
        d->addresses[0] = words[0];
        d->addresses[1] = words[1];
    } else {
        d->addresses[0] = (d->addresses[0] & 0xffffffff00000000ULL) | (__u32)words[0];
    }
}

FLB_INLINE void decide_set_destination(const int v6, struct direction_words* d, const struct flb_addr* address)
{
    const __u64* words = (const __u64*)address;

    if (v6) {
        d->addresses[2] = words[0];
        d->addresses[3] = words[1];
    } else {
        d->addresses[0] = (__u32)d->addresses[0] | words[0] << 32;
    }
}

FLB_INLINE void decide_from_key(const int v6, struct direction_words* d, const struct flow_key* key)
{
    for (int i = 0; i < FLOW_ADDRESS_WORDS(v6); i++)
        d->addresses[i] = key->w[v6 ? i + 1 : i];
    d->ports = decide_ports(v6, key);
}

/* A backend without a port of its own gets the one that the client's packet is addressed to. */
FLB_INLINE void decide_set_port(struct direction_words* d, __be16 port)
{
    if (port)
        d->ports = (d->ports & 0xffff) | (__u32)port << 16;
}

/* The key of the packets that answer packets which left as `d`. */
FLB_INLINE void decide_reply_key(const int v6, struct flow_key* key, const struct direction_words* d, __u8 protocol)
{
    __u64 ports = (d->ports >> 16 | d->ports << 16) | (__u64)protocol << 32;

    if (v6) {
        key->w[0] = ports;
        key->w[1] = d->addresses[2];
        key->w[2] = d->addresses[3];
        key->w[3] = d->addresses[0];
        key->w[4] = d->addresses[1];
    } else {
        key->w[0] = d->addresses[0] >> 32 | d->addresses[0] << 32;
        key->w[1] = ports;
    }
}

/* Sum of the 16-bit words of `a` less those of `b`, in one's complement. */
FLB_INLINE __u16 decide_delta(const int v6, const __u64* a, const struct flow_key* b)
{
    __u64 sum = 0;

    for (int i = 0; i < FLOW_ADDRESS_WORDS(v6); i++) {
        __u64 old = ~b->w[v6 ? i + 1 : i];

        sum += (__u32)a[i] + (a[i] >> 32) + (__u32)old + (old >> 32);
    }
    return (__u16)fold16(sum);
}

/* The recipe that turns packet p into direction `d`. */
FLB_INLINE void decide_recipe(
    const int v6, struct recipe* r, const struct packet* p, const struct direction_words* d, __u32 backend)
{
    for (int i = 0; i < FLOW_ADDRESS_WORDS(v6); i++)
        r->addresses[i] = d->addresses[i];
    r->sport = (__be16)d->ports;
    r->dport = (__be16)(d->ports >> 16);
    r->addresses_delta = decide_delta(v6, d->addresses, &p->key);
    r->ports_delta = (__u16)fold16((__u64)d->ports + (__u32)~decide_ports(v6, &p->key));
    r->backend = backend;
}

#endif
