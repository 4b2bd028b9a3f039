// SPDX-License-Identifier: Apache-2.0
// bpf/parse.h on the host: what it finds in good frames, what it answers to bad ones, and the kept corpus of the
// fuzzer, which compares it with a second parser.
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

#include <gtest/gtest.h>

#include "fuzz/packet_invariants.h"

namespace featherlb::fuzz {
namespace {

using Bytes = std::vector<std::uint8_t>;

Bytes operator+(Bytes a, const Bytes& b)
{
    a.insert(a.end(), b.begin(), b.end());
    return a;
}

Bytes zeros(std::size_t n)
{
    return Bytes(n);
}

const Bytes macs = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2};
const Bytes tcp = {0x9c, 0x40, 0, 80, 0, 0, 0x03, 0xe8, 0, 0, 0x13, 0x88, 0x50, 0x12, 0, 0, 0, 0, 0, 0};
const Bytes udp = {0x9c, 0x40, 0, 53, 0, 8, 0, 0};

Bytes ipv4(std::uint8_t protocol, const Bytes& rest, const Bytes& options = {}, std::uint16_t fragment = 0)
{
    const std::size_t length = 20 + options.size() + rest.size();
    Bytes out = {static_cast<std::uint8_t>(0x45 + options.size() / 4), 0, static_cast<std::uint8_t>(length >> 8),
        static_cast<std::uint8_t>(length), 0, 0, static_cast<std::uint8_t>(fragment >> 8),
        static_cast<std::uint8_t>(fragment), 61, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2};
    return out + options + rest;
}

Bytes ipv6(std::uint8_t next, const Bytes& rest)
{
    Bytes out = {
        0x60, 0, 0, 0, static_cast<std::uint8_t>(rest.size() >> 8), static_cast<std::uint8_t>(rest.size()), next, 62};
    for (unsigned host = 1; host <= 2; host++)
        out = out + Bytes{0xfd, 0} + zeros(13) + Bytes{static_cast<std::uint8_t>(host)};
    return out + rest;
}

Parsed parse_bytes(const Bytes& frame, Situation situation = {})
{
    if (!situation.readable)
        situation.readable = static_cast<std::uint32_t>(frame.size());
    return parse_frame(frame, situation);
}

const Bytes type4 = {0x08, 0x00}, type6 = {0x86, 0xdd};

TEST(Parse, finds_tcp_over_ipv4)
{
    const Parsed parsed = parse_bytes(macs + type4 + ipv4(6, tcp));
    ASSERT_EQ(parsed.step, STEP_NEXT);
    const packet& p = parsed.found;
    EXPECT_EQ(parsed.v6, 0);
    EXPECT_EQ(p.l3, 14u);
    EXPECT_EQ(p.l4, 34u);
    EXPECT_EQ(p.length, 40u);
    EXPECT_EQ(p.segment, 40u);
    EXPECT_EQ(p.ttl, 61);
    EXPECT_EQ(p.seq, 1000u);
    EXPECT_EQ(p.ack, 5000u);
    EXPECT_EQ(p.tcp_flags, 0x12);
    EXPECT_EQ(p.transport, 20);
    EXPECT_EQ(p.from.mac[5], 2);
    EXPECT_EQ(p.from.link, 7);
}

TEST(Parse, finds_udp_behind_options_of_every_length)
{
    for (std::size_t words = 0; words <= 10; words++) {
        const Parsed parsed = parse_bytes(macs + type4 + ipv4(17, udp, zeros(words * 4)));
        ASSERT_EQ(parsed.step, STEP_NEXT);
        EXPECT_EQ(parsed.found.l4, 34 + words * 4);
    }
}

TEST(Parse, follows_extension_headers_within_bounds)
{
    const auto options = [](std::uint8_t next, std::size_t units) {
        return Bytes{next, static_cast<std::uint8_t>(units)} + zeros(6 + units * 8);
    };
    Bytes chain = options(6, 0);
    for (int extensions = 1; extensions < 6; extensions++)
        chain = options(60, 0) + chain;
    EXPECT_EQ(parse_bytes(macs + type6 + ipv6(60, chain + tcp)).step, STEP_NEXT);
    EXPECT_EQ(parse_bytes(macs + type6 + ipv6(60, options(60, 0) + chain + tcp)).step, FLB_DROP_extension_headers);
    EXPECT_EQ(parse_bytes(macs + type6 + ipv6(0, options(17, 200) + udp)).found.l4, 54u + 201 * 8);
    EXPECT_EQ(parse_bytes(macs + type6 + ipv6(0, options(60, 200) + options(17, 100) + udp)).step,
        FLB_DROP_extension_headers);
    EXPECT_EQ(parse_bytes(macs + type6 + ipv6(0, options(58, 0) + zeros(8))).step, STEP_ICMP);
    EXPECT_EQ(parse_bytes(macs + type6 + ipv6(59, {})).step, STEP_PASS);
}

TEST(Parse, knows_fragments)
{
    const auto header = [](std::uint8_t low) { return Bytes{6, 0, 0, low, 0, 0, 0, 1}; };
    EXPECT_EQ(parse_bytes(macs + type6 + ipv6(44, header(0) + tcp)).found.fragment, 0) << "atomic";
    EXPECT_EQ(parse_bytes(macs + type6 + ipv6(44, header(1) + tcp)).found.fragment, IS_FRAGMENT);
    EXPECT_EQ(parse_bytes(macs + type6 + ipv6(44, header(1) + tcp)).found.fragment_at, 54);
    EXPECT_EQ(parse_bytes(macs + type6 + ipv6(44, header(9) + tcp)).step, STEP_FOLLOWER);
    EXPECT_EQ(parse_bytes(macs + type4 + ipv4(6, tcp, {}, 0x4000)).found.fragment, 0) << "don't fragment";
    EXPECT_EQ(parse_bytes(macs + type4 + ipv4(6, tcp, {}, 0x2000)).found.fragment, IS_FRAGMENT);
    EXPECT_EQ(parse_bytes(macs + type4 + ipv4(6, tcp, {}, 0x2001)).step, STEP_FOLLOWER);
    EXPECT_EQ(parse_bytes(macs + type4 + ipv4(6, tcp, {}, 0x0001)).step, STEP_FOLLOWER);
}

TEST(Parse, records_tags_wherever_they_are)
{
    const Bytes packet4 = type4 + ipv4(17, udp);
    const Bytes q = {0x81, 0x00, 0x60, 0x07}, ad = {0x88, 0xa8, 0x00, 0x09};
    const auto link = [](const Parsed& parsed) { return parsed.found.from.link; };
    EXPECT_EQ(link(parse_bytes(macs + packet4)), 7);
    EXPECT_EQ(link(parse_bytes(macs + q + packet4)), 7 | 1 << FLB_LINK_TAGS_SHIFT);
    EXPECT_EQ(link(parse_bytes(macs + ad + q + packet4)), 7 | 2 << FLB_LINK_TAGS_SHIFT | FLB_LINK_OUTER_AD);
    EXPECT_EQ(link(parse_bytes(macs + q + ad + packet4)), 7 | 2 << FLB_LINK_TAGS_SHIFT | FLB_LINK_INNER_AD);
    const Parsed metadata = parse_bytes(macs + q + packet4, {.outer_tci = 9, .outer_protocol = ETH_P_8021AD});
    EXPECT_EQ(link(metadata), 7 | 2 << FLB_LINK_TAGS_SHIFT | FLB_LINK_OUTER_AD);
    EXPECT_EQ(metadata.found.from.vlan[0], 9);
    EXPECT_EQ(metadata.found.from.vlan[1], 0x6007);
    EXPECT_EQ(metadata.found.l3, 18u);
    EXPECT_EQ(parse_bytes(macs + ad + q + q + packet4).step, STEP_PASS);
    EXPECT_EQ(parse_bytes(macs + ad + q + packet4, {.outer_tci = 1, .outer_protocol = ETH_P_8021Q}).step, STEP_PASS);
}

TEST(Parse, a_length_of_zero_is_good_for_gso_alone)
{
    Bytes four = macs + type4 + ipv4(6, tcp), six = macs + type6 + ipv6(6, tcp);
    four[14 + 2] = four[14 + 3] = six[14 + 4] = six[14 + 5] = 0;
    EXPECT_EQ(parse_bytes(four).step, FLB_DROP_bad_length);
    EXPECT_GT(parse_bytes(six).step, 0);
    EXPECT_EQ(parse_bytes(four, {.gso = 1000}).found.length, 40u);
    EXPECT_EQ(parse_bytes(six, {.gso = 1000}).found.length, 60u);
}

TEST(Parse, every_truncation_is_refused)
{
    for (const Bytes& frame : {macs + type4 + ipv4(6, tcp, zeros(8)), macs + type4 + ipv4(17, udp),
             macs + type6 + ipv6(6, tcp), macs + type6 + ipv6(60, Bytes{17, 0} + zeros(6) + udp)}) {
        ASSERT_EQ(parse_bytes(frame).step, STEP_NEXT);
        for (std::uint32_t size = 1; size < frame.size(); size++) {
            EXPECT_NE(parse_bytes(Bytes(frame.begin(), frame.begin() + size)).step, STEP_NEXT) << size;
            EXPECT_NE(parse_bytes(frame, {.readable = size}).step, STEP_NEXT) << size << " in reach";
        }
    }
}

TEST(Parse, the_kept_corpus_of_the_fuzzer)
{
    namespace fs = std::filesystem;
    // From the root of the repository, else where this was compiled (a compiler cache may name another place).
    fs::path root = "tests";
    if (!fs::exists(root / "fuzz/corpus/packet"))
        root = fs::path(FEATHERLB_SOURCE_DIR) / "tests";
    unsigned files = 0;
    for (const auto& entry : fs::directory_iterator(root / "fuzz/corpus/packet")) {
        std::ifstream in(entry.path(), std::ios::binary);
        const Bytes bytes{std::istreambuf_iterator<char>(in), {}};
        EXPECT_EQ(check_packet(bytes), "") << entry.path();
        files++;
    }
    EXPECT_GE(files, 40u);
}

} // namespace
} // namespace featherlb::fuzz
