/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The facts that the packet programs (bpf/, C) and the daemon (src/, C++) share: layouts of map values,
 * limits, flags, states, reasons. Nothing of this is written anywhere else.
 *
 * Rules: fixed-width types only, padding is explicit and zero, fields in network byte order are __be*.
 * Sizes and offsets are asserted at the end, for both compilers. A changed layout is a new FLB_ABI.
 */
#ifndef FEATHERLB_ABI_H
#define FEATHERLB_ABI_H

#include <linux/types.h>

#include "featherlb/reasons.h"

#ifdef FEATHERLB_OTHER_LAYOUT /* a build that only tests make, to upgrade to and from: some fields change places */
#define FLB_ABI 1004
#define FLB_OR(ours, other) other
#else
#define FLB_ABI 4
#define FLB_OR(ours, other) ours
#endif

/* ---- limits ------------------------------------------------------------------------------------------ */
#define FLB_WAYS 4               /* entries in a set of the flow table */
#define FLB_IFACE_SLOTS 4096     /* interface records; slot = ifindex % FLB_IFACE_SLOTS */
#define FLB_MAX_VLANS 2          /* tags on a frame: none, 802.1Q, or 802.1ad outside and 802.1Q inside */
#define FLB_SLOTS_PER_CHUNK 16   /* slot table: backend numbers in one map value */
#define FLB_PREFILTER_SIZE 65536 /* bytes, one for each hash of an address */
#define FLB_NAME_MAX 64          /* bytes of a service name, terminator included */
#define FLB_MAX_REASONS 64       /* room for reasons in one processor's counters */
#define FLB_YOUNG_TICKS 2        /* within so many every handshake has made its round trip */
#define FLB_SNAT_TRIES 16        /* ports that are tried for a new connection before it is dropped */
#define FLB_FRAGMENTS 16384      /* datagrams in fragments that are followed at the same time */
#define FLB_FRAGMENT_IDS 4096    /* counters of identifications; a power of two */
#define FLB_FRAGMENT_TICKS 30    /* the fragments of a datagram follow its first one within that */
#define FLB_LIMIT_WAYS 4         /* sources in a set of `limit_counts` */
#define FLB_RATE_WAYS 8          /* sources in a set of `limit_rates` */
#define FLB_MAX_EVENTS 8         /* room for events in one processor's counters */
#define FLB_MAX_LISTENERS 262144 /* addresses and ports that services listen on, and addresses for fragments */
#define FLB_MAX_SOURCES 131072   /* addresses and ports that `dnat` backends answer from */
#define FLB_MOST_COMPARED 1024   /* backends of a service whose pick compares them all */

/* ---- addresses ---------------------------------------------------------------------------------------- */
/* 16 bytes for both families: IPv4 stands in the first four, the rest is zero. The family stands elsewhere. */
struct flb_addr {
    __u8 bytes[16];
};

#define FLB_IPV4 4
#define FLB_IPV6 6

/* A way out of the machine on layer 2: who gets the frame, on which interface, under which tags.
 * `link` packs the interface's slot (bits 0-11), the number of tags (12-13), and whether the outer (14) or
 * inner (15) tag is 802.1ad rather than 802.1Q. mac and link are one aligned 64-bit word: the daemon changes
 * them by one store. All zero: not known. */
struct flb_hop {
    __u8 mac[6];
    __u16 link;
    __u16 vlan[FLB_MAX_VLANS]; /* TCI in host byte order, outer first; 0 where there is none */
};
#define FLB_LINK_SLOT 0x0fff
#define FLB_LINK_TAGS_SHIFT 12
#define FLB_LINK_TAGS 0x3000
#define FLB_LINK_OUTER_AD 0x4000
#define FLB_LINK_INNER_AD 0x8000

/* ---- tables that the daemon writes and the programs read --------------------------------------------- */

/* Map `ifaces`, index ifindex % FLB_IFACE_SLOTS. */
struct flb_iface {
    __u8 mac[6];   /* ours; source of frames that leave here */
    __u16 mtu;     /* largest IP packet; 65535 for anything larger; 0: no such interface */
    __u32 ifindex; /* 0: no such interface */
    __u32 flags;   /* FLB_IFACE_* */
    __u8 pad[16];
};
#define FLB_IFACE_ATTACHED 1u /* one of our programs runs on its ingress */
#define FLB_IFACE_REDIRECT 2u /* XDP_TX loses frames on this driver (veth): redirect to itself instead */
/* A veth whose other end is in another network namespace: TC hands frames over to it without the queue between them. */
#define FLB_IFACE_PEER 4u

/* Hash map `listeners`: what a client's packet is addressed to -> the service. */
struct flb_listener_key {
    struct flb_addr address;
    __be16 port;
    __u8 protocol; /* IPPROTO_TCP or IPPROTO_UDP */
    __u8 family;   /* FLB_IPV4 or FLB_IPV6 */
};
struct flb_listener {
    __u32 service; /* index in `services` */
    __u32 flags;   /* none yet */
};
/* Rows for fragments that came before their first one: family | FLB_FAMILY_ADDRESS and port 0 say that something
 * listens at this address under this protocol, that connections to backends come from it, or (protocol IPIP) that a
 * tunnel leads there. No packet is looked up
 * under such a family. `service` is 0. */
#define FLB_FAMILY_ADDRESS 0x80

/* Hash map `sources`, key as above but a backend's address and port: a packet of a `dnat` backend for which
 * there is no flow leaves as the service. */
struct flb_source {
    struct flb_addr address; /* of the service */
    __be16 port;
    __u16 pad;
    __u32 backend;
};

enum flb_forward { FLB_SNAT = 0, FLB_DNAT = 1, FLB_DSR = 2, FLB_IPIP = 3 };

/* How the kernel turns a new connection into an index of the service's slot table. */
enum flb_pick {
    FLB_PICK_TURN = 0,   /* a counter shared by all processors, modulo the length: (weighted) round robin */
    FLB_PICK_RANDOM = 1, /* uniform over the slots */
    FLB_PICK_HASH_5TUPLE = 2,
    FLB_PICK_HASH_ADDRESSES = 3,
    /* The slots are the backends that take connections, each once; by their records in `backend_loads`: */
    FLB_PICK_LEAST = 4,   /* fewest open connections for their weight, of all of them */
    FLB_PICK_TWO = 5,     /* of two at random */
    FLB_PICK_RESPONSE = 6 /* least response time * (open + 1) / weight, of all of them */
};

/* Map `services`. */
struct flb_service {
    __u64 slots;          /* offset << 32 | length, in backend numbers of map `slots`; swapped by one store; 0: none */
    __u32 flags;          /* FLB_SERVICE_* */
    __u8 family;          /* FLB_IPV4 or FLB_IPV6, of the listeners; but in `ipip` also of the backends */
    __u8 forward;         /* enum flb_forward */
    __u8 pick;            /* enum flb_pick */
    __u8 affinity_prefix; /* bits of a client's address that one pin stands for */
    __u64 pick_seed;      /* configured; the same on every balancer */
    __u32 FLB_OR(affinity_ticks, refused_ticks); /* a pin lives that long after its last use; 0: no affinity */
    __u32 FLB_OR(refused_ticks, affinity_ticks); /* a backend that refused is avoided that long; 0: it is not */
    __u32 source_rate;                           /* new connections a minute that one source may open; 0: any number */
    __u32 source_burst;                          /* that it may open at once after a pause */
    __u32 source_connections;                    /* open, proven connections that one source may have; 0: any number */
    __u8 pad[20];
};
#define FLB_SERVICE_VALID 1u
#define FLB_SERVICE_REFUSE 2u /* no backend is up, and clients shall be told: RST for a SYN */
/* A SYN that its backend has not answered goes to another one when it is repeated. */
#define FLB_SERVICE_SYN_FAILOVER 4u
#define FLB_SERVICE_LISTS 8u /* it has `allow` or `deny` */
/* Response times are measured: from the client's first payload to the backend's, or from SYN to SYN-ACK. */
#define FLB_SERVICE_MEASURE_FIRST_BYTE 16u
#define FLB_SERVICE_MEASURE_HANDSHAKE 32u

/* LPM trie `prefixes`: whether clients of a network may open connections to a service with FLB_SERVICE_LISTS. The
 * most specific prefix decides; where there is none, they may. */
struct flb_prefix_key {
    __u32 bits; /* 32, for the service, and those of the address */
    __u32 service;
    struct flb_addr address;
};
struct flb_prefix {
    __u16 allow;  /* 0: denied */
    __u16 family; /* enum flb_family, for a daemon that adopts the rule: the service's record may not say it yet */
};

/* Map `limit_counts`: open, proven connections by source. bpf/limit.h has the rules. */
struct flb_limit_count {
    __u64 ctl;    /* connections 0-23, being claimed 24, generation 25-63 */
    __u64 source; /* who, and of which service: limit_identity() */
};
struct flb_limit_set {
    struct flb_limit_count way[FLB_LIMIT_WAYS];
};

/* Map `limit_rates`: when the connections that a source has opened will have been paid for. */
struct flb_rate_set {
    __u64 way[FLB_RATE_WAYS]; /* time 0-47, in 2^-16 jiffies, and what tells sources of a set apart, 48-63 */
};

/* Hash map `pins`: the backend that a client had last, of services with affinity. The value is
 * backend << 32 | tick of its last use, one word. */
struct flb_pin_key {
    __u32 service;
    __u32 pad;
    struct flb_addr address; /* first `affinity_prefix` bits of the client's, the rest is zero */
};

/* Map `slots`: the slot tables of all services, one after another. */
struct flb_slot_chunk {
    __u32 backend[FLB_SLOTS_PER_CHUNK]; /* index in `backends` */
};

/* Map `backends`: one cache line. Index 0 is never used. */
struct flb_backend {
    struct flb_addr address;
    struct flb_hop hop; /* next hop towards it; all zero while unresolved */
    __be16 port;        /* 0: the one that the client's packet is addressed to */
    __u16 mtu;          /* of the route to it */
    __u32 flags;        /* FLB_BACKEND_* */
    __u32 service;      /* index in `services` */
    __u32 snat_first;   /* index in `snat_addresses` of the addresses that connections to it may come from; `ipip`: of
                         * the outer source */
    __u32 snat_count;   /* 0 where the service does not need one */
    __u8 pad[16];
};
#define FLB_BACKEND_VALID 1u
#define FLB_BACKEND_UP 2u       /* takes new connections */
#define FLB_BACKEND_DRAINING 4u /* takes no new connections, keeps the ones it has */
#define FLB_BACKEND_IPV6 8u     /* its address is IPv6: for a daemon that adopts the record */
/* What is to become of the connections of a backend that is down; the daemon compiles it from `on_backend_down`. */
#define FLB_BACKEND_RESET 16u      /* TCP: the client is answered with RST */
#define FLB_BACKEND_REHASH_TCP 32u /* packets of known flows are treated as of unknown ones */
#define FLB_BACKEND_REHASH_UDP 64u
/* Its packets may come by another side than its hop, even by the client's: a `snat` address lives there. */
#define FLB_BACKEND_ANY_SIDE 256u
#define FLB_BACKEND_DOWN 128u /* by its health check, used or not: for a daemon that adopts the record */
#define FLB_BACKEND_DSR 512u  /* as the service's `forward`: the fast path reads this record anyway */
#define FLB_BACKEND_IPIP 1024u
#define FLB_BACKEND_ONE_WAY (FLB_BACKEND_DSR | FLB_BACKEND_IPIP)

/* Map `backend_marks`, index as in `backends`: what the programs learned of a backend; written only when it refuses a
 * connection (RST for a SYN). */
struct flb_backend_mark {
    __u64 avoid_until; /* ticks since boot, all 64 bits: until then new connections go to others, if there are any */
    __u64 refused;     /* connections, since the number stands for this backend */
};

/* Map `backend_loads`, index as in `backends`: what a pick weighs. */
struct flb_backend_load {
    __u32 open;     /* owners in the flow table in a state of FLB_FLOW_LOAD: rule 8 of bpf/flow.h */
    __u32 weight;   /* in hundredths, slow start included; written by the daemon; together with `open` one word */
    __u64 response; /* smoothed response time and when it was measured, as in bpf/response.h; 0: none yet */
};

/* Maps `service_responses` and `backend_responses`, index as in `services` and `backends`. */
#define FLB_RESPONSE_BUCKETS 30
struct flb_response_histogram {
    __u64 count[FLB_RESPONSE_BUCKETS]; /* bucket i: below 2^i microseconds, and not in one before it; the last: the rest
                                        */
    __u64 sum_us;
    __u64 smoothed; /* of a service: as flb_backend_load.response, over all its backends */
};

/* Map `snat_addresses`: sources of connections to backends; `ipip`: of the outer header. */
struct flb_snat_address {
    struct flb_addr address;
    __u8 bits; /* `ipip`: so many are fixed, the rest is filled from the flow's hash; 0: all are */
    __u8 pad[FLB_OR(7, 15)];
};

/* Map `prefilter`: for each hash of an address (flb_prefilter_index), what an address with this hash may be.
 * 0 means: certainly nothing of ours. */
#define FLB_DIRECT_SECTION ".data." /* and the name of the map: sections that stand for maps of one value */
struct flb_prefilter {
    __u8 kinds[FLB_PREFILTER_SIZE];
};
#define FLB_KIND_LISTENER 1u /* as destination: a service may listen there */
#define FLB_KIND_SNAT 2u     /* as destination: replies to our source addresses */
#define FLB_KIND_BACKEND 4u  /* as source: a `dnat` backend */
#define FLB_KIND_TUNNEL 8u   /* as destination of a packet that an ICMP error quotes: an `ipip` backend */

/* Map `names`: the service's name, for a daemon that adopts what is pinned. The programs do not read it. */
struct flb_name {
    char text[FLB_NAME_MAX];
};

/* ---- the flow table ----------------------------------------------------------------------------------- */
/* The protocol between processors is written down in bpf/flow.h. */

/* State of a pair, kept in the control word of the client's direction (the owner). */
enum flb_flow_state {
    FLB_FLOW_EMPTY = 0,
    FLB_FLOW_BUSY = 1,      /* claimed, contents not yet valid */
    FLB_FLOW_SYN = 2,       /* client's SYN seen */
    FLB_FLOW_SYN_ACK = 3,   /* backend's SYN-ACK seen */
    FLB_FLOW_MIDSTREAM = 4, /* picked up without a SYN (dnat, dsr, ipip) */
    FLB_FLOW_UDP_NEW = 5,   /* no reply yet */
    FLB_FLOW_UDP_REPLIED = 6,
    FLB_FLOW_REPLY_NEW = 7,    /* entry of the backend's direction; its owner is not proven */
    FLB_FLOW_SUPERSEDED = 8,   /* entry of the direction of a backend that the client's SYN left for another one: what
                                * it still sends is dropped */
    FLB_FLOW_ESTABLISHED = 16, /* proven from here on */
    FLB_FLOW_FIN_CLIENT = 17,  /* the client closed its half */
    FLB_FLOW_FIN_BACKEND = 18,
    FLB_FLOW_UDP_STREAM = 19,
    FLB_FLOW_AWAITING = 20,       /* established, and measured: the client's first payload has not come yet */
    FLB_FLOW_MEASURING = 21,      /* it has come; the backend's has not */
    FLB_FLOW_REPLY = 22,          /* entry of the backend's direction; its owner was proven */
    FLB_FLOW_REPLY_MEASURED = 23, /* the same, while the owner waits for the backend's first payload */
    FLB_FLOW_CLOSED_CLIENT = 24,  /* both closed, the client first (it waits in TIME_WAIT); replaceable at once */
    FLB_FLOW_CLOSED_BACKEND = 25,
    FLB_FLOW_CLOSED_ONE_WAY = 26, /* dsr, ipip: the client closed its half, the backend's is not seen; replaceable */
    FLB_FLOW_RESET = 27,          /* RST seen; only shortens the timeout */
    FLB_FLOW_KILLED = 28,         /* TCP, ended by an operator: both sides are answered with RST; replaceable */
    FLB_FLOW_STATES = 32
};
/* The states, as bits, in which an owner is one of the open connections that `backend_loads` counts. */
/* States of entries of the backend's direction. */
#define FLB_FLOW_REPLIES                                                                                               \
    (1u << FLB_FLOW_REPLY_NEW | 1u << FLB_FLOW_SUPERSEDED | 1u << FLB_FLOW_REPLY | 1u << FLB_FLOW_REPLY_MEASURED)
#define FLB_FLOW_LOAD                                                                                                  \
    (1u << FLB_FLOW_SYN | 1u << FLB_FLOW_SYN_ACK | 1u << FLB_FLOW_MIDSTREAM | 1u << FLB_FLOW_UDP_NEW |                 \
        1u << FLB_FLOW_UDP_REPLIED | 1u << FLB_FLOW_ESTABLISHED | 1u << FLB_FLOW_FIN_CLIENT |                          \
        1u << FLB_FLOW_FIN_BACKEND | 1u << FLB_FLOW_UDP_STREAM | 1u << FLB_FLOW_AWAITING | 1u << FLB_FLOW_MEASURING)

/* Control word: age 0-31 (ticks, when last seen), state 32-38, counted 39, overflow mark 40, lock 41, generation
 * 42-63. */
#define FLB_CTL_STATE_SHIFT 32
#define FLB_CTL_STATE (0x7fULL << 32)
#define FLB_CTL_COUNTED (1ULL << 39) /* owner: it is in its source's count of open connections */
#define FLB_CTL_MARK (1ULL << 40)    /* in way 0: a key of this set lives, or once lived, in its second set */
#define FLB_CTL_LOCK (1ULL << 41)    /* in way 0: an insertion into this set is under way */
#define FLB_CTL_GENERATION_SHIFT 42

/* What both families share: the first 40 bytes of an entry. Each direction of a connection has one. */
struct flb_flow {
    __u64 ctl;
    __u32 FLB_OR(backend, pair); /* index in `backends` */
    __u32 FLB_OR(pair, backend); /* the other direction's entry: set * FLB_WAYS + way; FLB_NO_PAIR: there is none */
    __be16 sport;                /* new source port */
    __be16 dport;                /* new destination port */
    __u16 addresses_delta;       /* one's complement sum that the new addresses add to a checksum */
    __u16 ports_delta;           /* and the new ports */
    struct flb_hop hop;          /* where the client's frames come from, in both entries: in the owner to notice that
                                  * it changed, in the reply to send there */
    __u32 aux; /* owner: sequence number that proves the client (state SYN_ACK), before that the jiffies
                * when the flow was made, low 32 bits, or microseconds (bpf/measure.h); without a pair: the
                * time when it was made, in units of 1,024 nanoseconds, low 32 bits;
                * reply: generation of the owner */
};
#define FLB_NO_PAIR 0xffffffffu /* `dsr`, `ipip`: the backend's answers do not come by here */

struct flb_tuple4 {
    __be32 saddr;
    __be32 daddr;
    __be16 sport;
    __be16 dport;
    __u8 protocol;
    __u8 pad[3];
};
struct flb_flow4 {
    struct flb_flow f;
    struct flb_tuple4 key; /* addresses and ports as they arrive */
    __be32 saddr;          /* new addresses */
    __be32 daddr;
};
struct flb_set4 {
    struct flb_flow4 way[FLB_WAYS];
};

struct flb_tuple6 {
    __be16 sport;
    __be16 dport;
    __u8 protocol;
    __u8 pad[3];
    struct flb_addr saddr;
    struct flb_addr daddr;
};
struct flb_flow6 {
    struct flb_flow f;
    struct flb_tuple6 key;
    struct flb_addr saddr;
    struct flb_addr daddr;
    __u8 pad[16];
};
struct flb_set6 {
    struct flb_flow6 way[FLB_WAYS];
};

/* ---- fragments and ICMP ------------------------------------------------------------------------------- */

enum flb_fragment_kind { FLB_FRAGMENT_FORWARD = 1, FLB_FRAGMENT_PASS = 2 };

/* LRU hash map `fragments`: what the first fragment of a datagram left for those that follow. */
struct flb_fragment_key {
    struct flb_addr source; /* as they arrive */
    struct flb_addr destination;
    __be32 id;
    __u8 protocol; /* IPv4; 0 for IPv6, where the identification alone names the datagram */
    __u8 family;   /* FLB_IPV4 or FLB_IPV6 */
    __u8 pad[2];
};
struct flb_fragment {
    __u64 addresses[4]; /* new source and destination, as in a recipe */
    struct flb_hop hop; /* to the client; towards a backend its record is asked */
    __u32 backend;
    __u32 ticks; /* when the first one came */
    __be32 id;   /* new identification; IPv4: in the first two bytes */
    __u16 addresses_delta;
    __u8 kind;      /* enum flb_fragment_kind */
    __u8 direction; /* 0 from the client, 1 from the backend */
};

/* Map `icmp_budgets`, index processor: the ICMP errors that it may still make. */
struct flb_icmp_budget {
    __u64 next_ns; /* monotonic time at which the last one would have been due, had they come evenly */
    __u64 pad[7];
};
#define FLB_ICMP_INTERVAL_NS 1000000ULL /* a thousand a second on each processor */
#define FLB_ICMP_BURST 50               /* that many at once after a pause */

/* ---- settings ----------------------------------------------------------------------------------------- */

/* Map `settings`, one value: what a reload may change. */
struct flb_settings {
    __u32 abi;                      /* FLB_ABI */
    __u32 tick_shift;               /* a tick, the unit of ages, is 2^tick_shift jiffies, about a second */
    __u32 timeout[FLB_FLOW_STATES]; /* ticks; by state of the owner */
    __u16 snat_port_first;          /* host byte order */
    __u16 snat_port_count;
    __u32 snat_stride;   /* step through the (address, port) pairs; coprime to their number */
    __u64 flow_seed[2];  /* of the flow table's hash; never changes while the table lives */
    __u32 boot_id;       /* low bits of the kernel's boot id: pins do not outlive a boot */
    __u32 hz;            /* jiffies in a second, as measured */
    __u64 sampled;       /* what is asked for: samples.h */
    __u32 sampled_until; /* tick */
    __u32 copying_until; /* tick: until then packets of unknown connections are held back, see bpf/copying.h; 0: no */
    __u8 pad[8];
};

/* Constants of a loaded program (.rodata `flb_load`): sizes of the maps that it is loaded with. */
struct flb_load {
    __u64 flow_seed[2];
    __u32 flow4_sets;
    __u32 flow6_sets;
    __u32 max_backends;
    __u32 processors; /* possible ones: stride of the counters */
    __u32 tick_shift;
    __u32 limit_sets;
    __u32 rate_sets;
    __u8 pad[4];
};

/* ---- counters ----------------------------------------------------------------------------------------- */

/* Map `backend_counters`, index processor * max_backends + backend: only that processor writes it. */
struct flb_backend_counters {
    __u64 packets[2]; /* [0] from clients, [1] from the backend */
    __u64 bytes[2];   /* of IP packets, as received */
    __u64 connections;
    __u64 pad[3];
};

/* Map `drop_counters`, index processor. */
struct flb_drop_counters {
    __u64 packets[FLB_MAX_REASONS]; /* by enum flb_drop_reason */
    __u64 events[FLB_MAX_EVENTS];   /* by enum flb_event */
};

/* Map `fragment_ids`: the next identification towards the pairs of addresses that share a counter. Values are __u64. */

/* Maps `service_turns` and `backend_ports`, index as in `services` and `backends`: counters that all processors
 * share, written once a connection. Values are __u64. */

/* ---- hashes ------------------------------------------------------------------------------------------- */

/* Index into flb_prefilter. `folded`: the address as one 32-bit word as it lies in memory; IPv6: the exclusive
 * or of its four words, each rotated by its position times 5. */
static inline __u32 flb_prefilter_index(__u32 folded)
{
    return (folded * 0x9e3779b1u) >> 16;
}

static inline __u32 flb_fold_ipv6(__u32 a, __u32 b, __u32 c, __u32 d)
{
    return a ^ (b << 5 | b >> 27) ^ (c << 10 | c >> 22) ^ (d << 15 | d >> 17);
}

/* ---- asserted on both sides --------------------------------------------------------------------------- */
#ifdef __cplusplus
#define FLB_ASSERT(condition) static_assert(condition, #condition)
#else
#define FLB_ASSERT(condition) _Static_assert(condition, #condition)
#endif

FLB_ASSERT(FLB_DROP_REASON_COUNT <= FLB_MAX_REASONS);
FLB_ASSERT(sizeof(struct flb_addr) == 16);
FLB_ASSERT(sizeof(struct flb_hop) == 10 || sizeof(struct flb_hop) == 12);
FLB_ASSERT(sizeof(struct flb_iface) == 32);
FLB_ASSERT(sizeof(struct flb_listener_key) == 20);
FLB_ASSERT(sizeof(struct flb_source) == 24);
FLB_ASSERT(sizeof(struct flb_service) == 64);
FLB_ASSERT(sizeof(struct flb_slot_chunk) == 64);
FLB_ASSERT(FLB_EVENT_COUNT <= FLB_MAX_EVENTS);
FLB_ASSERT(sizeof(struct flb_prefix_key) == 24);
FLB_ASSERT(sizeof(struct flb_limit_set) == 64);
FLB_ASSERT(sizeof(struct flb_rate_set) == 64);
FLB_ASSERT(sizeof(struct flb_pin_key) == 24);
FLB_ASSERT(sizeof(struct flb_backend) == 64);
FLB_ASSERT(sizeof(struct flb_backend_mark) == 16);
FLB_ASSERT(sizeof(struct flb_snat_address) == FLB_OR(24, 32));
FLB_ASSERT(sizeof(struct flb_backend_load) == 16);
FLB_ASSERT(sizeof(struct flb_response_histogram) == 256);
FLB_ASSERT(sizeof(struct flb_flow) == 40);
FLB_ASSERT(sizeof(struct flb_tuple4) == 16);
FLB_ASSERT(sizeof(struct flb_flow4) == 64);
FLB_ASSERT(sizeof(struct flb_tuple6) == 40);
FLB_ASSERT(sizeof(struct flb_flow6) == 128);
FLB_ASSERT(sizeof(struct flb_fragment_key) == 40);
FLB_ASSERT(sizeof(struct flb_fragment) == 64);
FLB_ASSERT(sizeof(struct flb_icmp_budget) == 64);
FLB_ASSERT(sizeof(struct flb_settings) == 192);
FLB_ASSERT(sizeof(struct flb_backend_counters) == 64);
FLB_ASSERT(sizeof(struct flb_drop_counters) == FLB_MAX_REASONS * 8 + 64);

#endif
