/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Both ends of the throughput benchmark, and its floor. `generate` is run by BPF_PROG_TEST_RUN with live frames: it
 * makes each frame the next client's and sends it to the balancer. `sink` stands where the backends are: it counts and
 * drops, or answers SYNs while connections are opened. `answers` stands at the client's end and does the same with what
 * comes back. Everything runs on one processor, so plain additions count; bench/live_frames.py maps the state.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define KEPT_FRAMES 16
#define KEPT_BYTES 98 /* what comes in after an outer header is the same for all */
#define PORTS_PER_ADDRESS 4
#define SYN_ACK_SEQUENCE 2000

enum sink_mode { COUNT, ANSWER, KEEP };

/* live_frames.py has the same layout. */
struct generator_state {
    __u64 sent;
    __u64 arrived;  /* at the sink */
    __u64 answered; /* at the client's end */
    __u32 clients;
    __u32 next;
    __u32 first_address; /* of the clients, host byte order */
    __u32 first_port;
    __u32 device; /* that generated frames leave by */
    __u32 redirect_to;
    __u32 mode;
    __u32 kept;
    __u32 ip_sum;  /* of the header without source address and checksum, as the words lie in memory */
    __u32 tcp_sum; /* the same with pseudo header and payload, without address and port of the source */
    __u8 headers[56];
    __u8 frames[KEPT_FRAMES][KEPT_BYTES];
};

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __uint(map_flags, BPF_F_MMAPABLE);
    __type(key, __u32);
    __type(value, struct generator_state);
} state SEC(".maps");

struct headers {
    struct ethhdr ethernet;
    struct iphdr ip;
    struct tcphdr tcp;
} __attribute__((packed));

static __always_inline struct generator_state* get_state(void)
{
    __u32 zero = 0;

    return bpf_map_lookup_elem(&state, &zero);
}

static __always_inline __u16 checksum(__u32 sum)
{
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    return (__u16)~sum;
}

/* Frames are recycled, changed as the balancer left them: all of the headers is written every time. */
SEC("xdp")
int generate(struct xdp_md* context)
{
    struct generator_state* s = get_state();
    struct headers* h = (void*)(long)context->data;
    __u32 n, address, words;
    __u16 port;

    if (!s || (void*)(h + 1) > (void*)(long)context->data_end)
        return XDP_DROP;
    __builtin_memcpy(h, s->headers, sizeof(*h));
    n = s->next;
    s->next = n + 1 < s->clients ? n + 1 : 0;
    address = bpf_htonl(s->first_address + n / PORTS_PER_ADDRESS);
    port = bpf_htons((__u16)(s->first_port + n % PORTS_PER_ADDRESS));
    words = (address & 0xffff) + (address >> 16);
    h->ip.saddr = address;
    h->ip.check = checksum(s->ip_sum + words);
    h->tcp.source = port;
    h->tcp.check = checksum(s->tcp_sum + words + port);
    s->sent++;
    return (int)bpf_redirect(s->device, 0);
}

/* A SYN becomes the backend's SYN-ACK to whom it came from. */
static __always_inline void answer(struct headers* h)
{
    __u8 mac[ETH_ALEN];
    __be32 address = h->ip.saddr;
    __be16 port = h->tcp.source;
    /* What changes the checksum; addresses and ports only change places. */
    __u32 sum = (__u16)~h->tcp.check;

    sum += (__u16) ~(h->tcp.seq & 0xffff) + (__u16) ~(h->tcp.seq >> 16);
    sum += (__u16) ~(h->tcp.ack_seq & 0xffff) + (__u16) ~(h->tcp.ack_seq >> 16);
    h->tcp.ack_seq = bpf_htonl(bpf_ntohl(h->tcp.seq) + 1);
    h->tcp.seq = bpf_htonl(SYN_ACK_SEQUENCE);
    sum += (h->tcp.seq & 0xffff) + (h->tcp.seq >> 16) + (h->tcp.ack_seq & 0xffff) + (h->tcp.ack_seq >> 16);
    sum += bpf_htons(0x10); /* the ACK bit, which was not set */
    h->tcp.ack = 1;
    h->tcp.check = checksum(sum);
    __builtin_memcpy(mac, h->ethernet.h_dest, ETH_ALEN);
    __builtin_memcpy(h->ethernet.h_dest, h->ethernet.h_source, ETH_ALEN);
    __builtin_memcpy(h->ethernet.h_source, mac, ETH_ALEN);
    h->ip.saddr = h->ip.daddr;
    h->ip.daddr = address;
    h->tcp.source = h->tcp.dest;
    h->tcp.dest = port;
}

enum fate { PASSED, DROPPED, ANSWERED, KEPT };

static __always_inline enum fate fate_at_sink(struct generator_state* s, struct headers* h, void* end)
{
    if (!s || (void*)(h + 1) > end || h->ethernet.h_proto != bpf_htons(ETH_P_IP) ||
        (h->ip.protocol != IPPROTO_TCP && h->ip.protocol != IPPROTO_IPIP))
        return PASSED; /* ARP */
    s->arrived++;
    if (s->mode == COUNT)
        return DROPPED;
    if (s->mode == KEEP)
        return s->kept < KEPT_FRAMES ? KEPT : DROPPED;
    if (h->ip.protocol != IPPROTO_TCP || !h->tcp.syn || h->tcp.ack)
        return DROPPED;
    answer(h);
    return ANSWERED;
}

static __always_inline int is_answer(struct generator_state* s, struct headers* h, void* end)
{
    if (!s || (void*)(h + 1) > end || h->ethernet.h_proto != bpf_htons(ETH_P_IP) || h->ip.protocol != IPPROTO_TCP)
        return 0;
    s->answered++;
    return 1;
}

/* The same two programs for each hook: what a balancer on TC hands over to the other end of its veth is behind XDP. */
#define ENDS(section, type, sink, answers, pass, drop, back, load)                                                     \
    SEC(section)                                                                                                       \
    int sink(struct type* context)                                                                                     \
    {                                                                                                                  \
        struct generator_state* s = get_state();                                                                       \
        enum fate fate = fate_at_sink(s, (void*)(long)context->data, (void*)(long)context->data_end);                  \
                                                                                                                       \
        if (fate == PASSED)                                                                                            \
            return pass;                                                                                               \
        if (fate == ANSWERED)                                                                                          \
            return back;                                                                                               \
        if (fate == KEPT && s && !load(context, 0, s->frames[s->kept & (KEPT_FRAMES - 1)], KEPT_BYTES))                \
            s->kept++;                                                                                                 \
        return drop;                                                                                                   \
    }                                                                                                                  \
                                                                                                                       \
    SEC(section)                                                                                                       \
    int answers(struct type* context)                                                                                  \
    {                                                                                                                  \
        return is_answer(get_state(), (void*)(long)context->data, (void*)(long)context->data_end) ? drop : pass;       \
    }

ENDS("xdp", xdp_md, sink, answers, XDP_PASS, XDP_DROP, XDP_TX, bpf_xdp_load_bytes)
ENDS("tc", __sk_buff, sink_tc, answers_tc, TC_ACT_OK, TC_ACT_SHOT, (int)bpf_redirect(context->ifindex, 0),
    bpf_skb_load_bytes)

/* The floor: what every balancer that redirects does at least. */
SEC("xdp")
int redirect(struct xdp_md* context)
{
    struct generator_state* s = get_state();

    return s ? (int)bpf_redirect(s->redirect_to, 0) : XDP_DROP;
}

SEC("xdp")
int pass(struct xdp_md* context)
{
    return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
