// SPDX-License-Identifier: Apache-2.0
// bpf/parse.h on the host, and what must hold of its answer for any bytes. Shared by the fuzzer and the unit test that
// runs the kept corpus. Beside the parser of the packet path stands a second one, written from the RFCs for clarity,
// without its bounds and shortcuts; both must find the same.
#pragma once

#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "unit/flow_table_memory.h"

namespace featherlb::fuzz {
inline bool everything_is_ours = true; // the prefilter's answer
}

static inline int may_be_ours(__u32, __u32)
{
    return featherlb::fuzz::everything_is_ours;
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wunknown-pragmas"
#pragma GCC diagnostic ignored "-Wshadow"
#include "parse.h"
#pragma GCC diagnostic pop

namespace featherlb::fuzz {

using ByteSpan = std::span<const std::uint8_t>;

struct Parsed {
    int step = 0;
    int v6 = 0;
    packet found{};
};

// How the frame lies before the program.
struct Situation {
    std::uint32_t readable = 0; // bytes that can be read directly; the whole frame in XDP
    std::uint32_t gso = 0;
    std::uint16_t outer_tci = 0;
    std::uint16_t outer_protocol = 0; // a tag in metadata; 0: none
};

// Runs the parser on a copy of exactly the readable bytes, so that a sanitizer sees a read beyond them. Like in the
// kernel, the network header lies on four bytes (NET_IP_ALIGN).
inline Parsed parse_frame(ByteSpan frame, const Situation& situation)
{
    const std::size_t size = std::min<std::size_t>(situation.readable, frame.size());
    const std::unique_ptr<std::uint8_t[]> copy(new std::uint8_t[2 + size]);
    std::copy_n(frame.begin(), size, copy.get() + 2);
    parse_input in{};
    in.data = copy.get() + 2;
    in.end = copy.get() + 2 + size;
    in.frame = static_cast<__u32>(frame.size());
    in.ifindex = 7;
    in.gso = situation.gso;
    in.outer_tci = situation.outer_tci;
    in.outer_protocol = situation.outer_protocol;
    Parsed result;
    alignas(8) packet p{};
    result.step = parse(&in, &p, &result.v6);
    result.found = p;
    return result;
}

// ---- the second parser -------------------------------------------------------------------------------------

inline unsigned read16(ByteSpan b, std::size_t at)
{
    return static_cast<unsigned>(b[at]) << 8 | b[at + 1];
}

// What a packet that may be forwarded looks like; nothing: it is passed or dropped.
struct Expected {
    bool v6 = false;
    std::size_t l3 = 0, l4 = 0, length = 0, transport = 0;
    std::uint8_t protocol = 0, ttl = 0;
    bool fragment = false;
};

inline std::optional<std::size_t> skip_tags(ByteSpan f, bool tag_in_metadata, unsigned* type)
{
    std::size_t at = 12, tags = tag_in_metadata ? 1 : 0;
    if (f.size() < 14)
        return std::nullopt;
    while (read16(f, at) == 0x8100 || read16(f, at) == 0x88a8) {
        if (++tags > 2 || f.size() < at + 6)
            return std::nullopt;
        at += 4;
    }
    *type = read16(f, at);
    return at + 2;
}

// Fills protocol, l4 and fragment of an IPv6 packet.
inline bool skip_extensions(ByteSpan f, Expected* e)
{
    e->protocol = f[e->l3 + 6];
    e->l4 = e->l3 + 40;
    for (int followed = 0; e->protocol != 6 && e->protocol != 17; followed++) {
        if (followed == 6 || e->l4 > 0x7ff || f.size() < e->l4 + 8)
            return false;
        const std::uint8_t next = f[e->l4], units = f[e->l4 + 1];
        switch (e->protocol) {
        case 0:
        case 43:
        case 60:
            e->l4 += (std::size_t{units} + 1) * 8;
            break;
        case 51:
            e->l4 += (std::size_t{units} + 2) * 4;
            break;
        case 44:
            if (read16(f, e->l4 + 2) >> 3)
                return false;
            e->fragment = read16(f, e->l4 + 2) & 1;
            e->l4 += 8;
            break;
        default:
            return false;
        }
        e->protocol = next;
    }
    return e->l4 <= 0x7ff;
}

inline bool read_network(ByteSpan f, const Situation& situation, Expected* e)
{
    const std::size_t room = f.size() - e->l3;
    if (room < (e->v6 ? 40u : 20u) || f[e->l3] >> 4 != (e->v6 ? 6 : 4))
        return false;
    if (e->v6) {
        e->ttl = f[e->l3 + 7];
        e->length = read16(f, e->l3 + 4) + 40u;
        if (e->length == 40 && situation.gso)
            e->length = room;
        if (!skip_extensions(f, e))
            return false;
    } else {
        const std::size_t header = std::size_t{f[e->l3] & 15u} * 4;
        e->protocol = f[e->l3 + 9];
        e->ttl = f[e->l3 + 8];
        e->length = read16(f, e->l3 + 2);
        if (e->length == 0 && situation.gso)
            e->length = room;
        e->fragment = read16(f, e->l3 + 6) & 0x2000;
        e->l4 = e->l3 + header;
        if (header < 20 || (e->protocol != 6 && e->protocol != 17) || (read16(f, e->l3 + 6) & 0x1fff))
            return false;
    }
    return e->length <= room && e->l4 <= e->l3 + e->length;
}

inline std::optional<Expected> expect(ByteSpan f, const Situation& situation)
{
    Expected e;
    unsigned type = 0;
    const auto l3 = skip_tags(f, situation.outer_protocol != 0, &type);
    if (!l3 || (type != 0x0800 && type != 0x86dd))
        return std::nullopt;
    e.l3 = *l3;
    e.v6 = type == 0x86dd;
    if (!read_network(f, situation, &e))
        return std::nullopt;
    const std::size_t payload = e.l3 + e.length - e.l4;
    if (e.protocol == 6) {
        if (payload < 20)
            return std::nullopt;
        e.transport = std::size_t{f[e.l4 + 12] / 16u} * 4;
        return e.transport >= 20 && e.transport <= payload ? std::optional(e) : std::nullopt;
    }
    if (payload < 8)
        return std::nullopt;
    const unsigned length = read16(f, e.l4 + 4);
    e.transport = 8;
    return e.fragment || (length >= 8 && length <= payload) ? std::optional(e) : std::nullopt;
}

// ---- the comparison ----------------------------------------------------------------------------------------

inline std::string check_key(ByteSpan f, const Parsed& parsed, const Expected& e)
{
    const __u64* w = parsed.found.key.w;
    const std::uint8_t* words = reinterpret_cast<const std::uint8_t*>(w);
    const std::size_t addresses = e.v6 ? 32 : 8;
    const std::uint8_t* at = e.v6 ? words + 8 : words;
    const std::uint8_t* ports = e.v6 ? words : words + 8;
    if (std::memcmp(at, &f[e.l3 + (e.v6 ? 8 : 12)], addresses) != 0)
        return "addresses of the key";
    if (std::memcmp(ports, &f[e.l4], 4) != 0 || ports[4] != e.protocol || ports[5] || ports[6] || ports[7])
        return "ports and protocol of the key";
    return {};
}

// Empty, or what is wrong.
inline std::string check_answer(ByteSpan f, const Situation& situation, const Parsed& parsed)
{
    const std::optional<Expected> e = expect(f, situation);
    if ((parsed.step < STEP_PASS && parsed.step != STEP_ICMP && parsed.step != STEP_FOLLOWER) ||
        parsed.step >= FLB_DROP_REASON_COUNT)
        return "an answer that does not exist";
    if ((parsed.step == STEP_NEXT) != e.has_value())
        return e ? "refused a good packet, step " + std::to_string(parsed.step) : "took a bad packet";
    if (!e)
        return {};
    const packet& p = parsed.found;
    if ((parsed.v6 != 0) != e->v6 || p.l3 != e->l3 || p.l4 != e->l4 || p.length != e->length)
        return "family, offsets or length";
    if (p.protocol != e->protocol || p.ttl != e->ttl || (p.fragment != 0) != e->fragment || p.transport != e->transport)
        return "protocol, TTL, fragment or header length";
    if (p.segment != std::min<std::size_t>(e->length, 0xffff))
        return "segment";
    if (e->protocol == 6 && p.tcp_flags != f[e->l4 + 13])
        return "TCP flags";
    return check_key(f, parsed, *e);
}

// The first six bytes are the situation, the rest is the frame.
inline std::string check_packet(ByteSpan input)
{
    constexpr std::size_t header = 6;
    if (input.size() < header)
        return {};
    const ByteSpan frame = input.subspan(header);
    Situation whole;
    whole.readable = static_cast<std::uint32_t>(frame.size());
    whole.gso = input[0] & 1 ? 1000 : 0;
    if (input[0] & 2) {
        whole.outer_protocol = input[0] & 4 ? ETH_P_8021AD : ETH_P_8021Q;
        whole.outer_tci = static_cast<std::uint16_t>(read16(input, 2));
    }
    everything_is_ours = true;
    const Parsed parsed = parse_frame(frame, whole);
    if (std::string wrong = check_answer(frame, whole, parsed); !wrong.empty())
        return wrong;

    // With less in reach it finds the same or nothing.
    Situation part = whole;
    part.readable = read16(input, 4) % (whole.readable + 1);
    const Parsed partial = parse_frame(frame, part);
    if (partial.step == STEP_NEXT &&
        (parsed.step != STEP_NEXT || std::memcmp(&partial.found.key, &parsed.found.key, parsed.v6 ? 40 : 16) != 0))
        return "found something else in a part of the frame";

    // What is not ours is not judged.
    everything_is_ours = false;
    const int step = parse_frame(frame, whole).step;
    everything_is_ours = true;
    return step == STEP_PASS || step == STEP_ICMP ? "" : "judged a packet that is not ours";
}

} // namespace featherlb::fuzz
