/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The flood: run by BPF_PROG_TEST_RUN with live frames (tests/lab/tools/flood.cpp), each run makes one forged packet in
 * the frame that it is given and sends it out of the interface. Frames are used again, and come back changed, so all
 * headers are written every time. What to send is compiled in (labkit/flood.py): KIND, VIP, VIP_PORT, BACKENDS (three
 * addresses in a row begin there), BACKEND_PORT, SNAT (eight addresses in a row), TO_MAC, FROM_MAC, IFINDEX. All
 * addresses are IPv4, in host byte order. Type of service MARK tells flood from honest packets at the backends.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/tcp.h>
#include <linux/udp.h>

#include <bpf/bpf_helpers.h>

#define KIND_SYN 1
#define KIND_ACK 2
#define KIND_RST 3
#define KIND_UDP 4
#define KIND_FRAGMENT 5
#define KIND_ICMP 6
#define MARK 0x40

#define FORGED 0x0b000000u /* 11.0.0.0/8: nobody's here */

#define swap16(x) __builtin_bswap16(x)
#define swap32(x) __builtin_bswap32(x)

struct icmp_error {
    __u8 type;
    __u8 code;
    __u16 check;
    __u32 rest;
    struct iphdr ip;
    __u16 sport;
    __u16 dport;
    __u32 seq;
};

struct frame {
    struct ethhdr eth;
    struct iphdr ip;
    union {
        struct tcphdr tcp;
        struct udphdr udp;
        struct icmp_error icmp;
    };
} __attribute__((packed));

static __always_inline __u16 sum(const void* data, int bytes, __u32 begin)
{
    const __u16* words = data;
    __u32 total = begin;

#pragma unroll
    for (int i = 0; i < bytes / 2; i++)
        total += words[i];
    total = (total & 0xffff) + (total >> 16);
    total = (total & 0xffff) + (total >> 16);
    return (__u16)~total;
}

static __always_inline void network(struct iphdr* ip, __u8 protocol, __u32 from, __u32 to, __u16 bytes, __u16 fragment)
{
    ip->version = 4;
    ip->ihl = 5;
    ip->tos = MARK;
    ip->tot_len = swap16(bytes);
    ip->id = swap16((__u16)from);
    ip->frag_off = swap16(fragment);
    ip->ttl = 64;
    ip->protocol = protocol;
    ip->check = 0;
    ip->saddr = swap32(from);
    ip->daddr = swap32(to);
    ip->check = sum(ip, sizeof(*ip), 0);
}

static __always_inline __u32 pseudo(const struct iphdr* ip, __u16 bytes)
{
    return (ip->saddr & 0xffff) + (ip->saddr >> 16) + (ip->daddr & 0xffff) + (ip->daddr >> 16) + swap16(ip->protocol) +
           swap16(bytes);
}

SEC("xdp")
int flood(struct xdp_md* context)
{
    static const __u8 to[ETH_ALEN] = {TO_MAC}, from[ETH_ALEN] = {FROM_MAC};
    struct frame* f = (void*)(long)context->data;
    __u32 chance = bpf_get_prandom_u32(), more = bpf_get_prandom_u32();
    __u32 source = FORGED | (chance & 0xffffff), backend = BACKENDS + (chance >> 24) % 3;

    if ((void*)(f + 1) > (void*)(long)context->data_end)
        return XDP_ABORTED;
    __builtin_memcpy(f->eth.h_dest, to, ETH_ALEN);
    __builtin_memcpy(f->eth.h_source, from, ETH_ALEN);
    f->eth.h_proto = swap16(ETH_P_IP);
    if (KIND ==
        KIND_ICMP) { /* "port unreachable" for a packet that we would have sent to a backend, or as the service */
        struct icmp_error* e = &f->icmp;

        network(&f->ip, IPPROTO_ICMP, source, more & 1 ? VIP : SNAT + ((more >> 8) & 7), sizeof(f->ip) + sizeof(*e), 0);
        __builtin_memset(e, 0, sizeof(*e));
        e->type = 3;
        e->code = more & 2 ? 3 : 4;
        e->rest = e->code == 4 ? swap32(576) : 0;
        network(&e->ip, IPPROTO_TCP, more & 1 ? VIP : SNAT + ((more >> 8) & 7), more & 1 ? source : backend, 60, 0);
        e->sport = swap16(more & 1 ? VIP_PORT : (__u16)(1024 + (more >> 16) % 31744));
        e->dport = swap16(more & 1 ? (__u16)(more >> 16) : BACKEND_PORT);
        e->check = sum(e, sizeof(*e), 0);
    } else if (KIND == KIND_UDP) {
        /* Clients that come back (16 bits of them), and replies as if from a backend to any port of ours. */
        if (more & 1)
            network(&f->ip, IPPROTO_UDP, FORGED | (chance & 0xffff), VIP, sizeof(f->ip) + sizeof(f->udp), 0);
        else
            network(&f->ip, IPPROTO_UDP, backend, SNAT + ((more >> 8) & 7), sizeof(f->ip) + sizeof(f->udp), 0);
        f->udp.source = swap16(more & 1 ? (__u16)(0x8000 | (chance >> 30)) : BACKEND_PORT);
        f->udp.dest = swap16(more & 1 ? VIP_PORT : (__u16)(1024 + (more >> 16) % 31744));
        f->udp.len = swap16(sizeof(f->udp));
        f->udp.check = 0;
    } else if (KIND == KIND_FRAGMENT) { /* first ones, later ones, with few identifications */
        __u16 later = more & 1 ? 185 : 0;

        network(&f->ip, IPPROTO_UDP, source, VIP, sizeof(f->ip) + sizeof(f->udp), (__u16)(0x2000 | later));
        f->ip.id = swap16(more & 6);
        f->ip.check = 0;
        f->ip.check = sum(&f->ip, sizeof(f->ip), 0);
        f->udp.source = swap16((__u16)(more >> 16));
        f->udp.dest = swap16(VIP_PORT);
        f->udp.len = swap16(1480);
        f->udp.check = 0;
    } else {
        __u8 flags = KIND == KIND_SYN ? 0x02 : KIND == KIND_ACK ? 0x10 : 0x04;

        network(&f->ip, IPPROTO_TCP, source, VIP, sizeof(f->ip) + sizeof(f->tcp), 0x4000);
        f->tcp.source = swap16((__u16)more);
        f->tcp.dest = swap16(VIP_PORT);
        f->tcp.seq = more * 0x9e3779b1u;
        f->tcp.ack_seq = KIND == KIND_SYN ? 0 : chance * 0x9e3779b1u;
        ((__u16*)&f->tcp)[6] = swap16((__u16)(5 << 12 | flags));
        f->tcp.window = swap16(64240);
        f->tcp.check = 0;
        f->tcp.urg_ptr = 0;
        f->tcp.check = sum(&f->tcp, sizeof(f->tcp), pseudo(&f->ip, sizeof(f->tcp)));
    }
    return (int)bpf_redirect(IFINDEX, 0);
}

char LICENSE[] SEC("license") = "GPL";
