// SPDX-License-Identifier: Apache-2.0
// Broken packets, and packets that do not fit: passed, answered or dropped with a reason, never mangled.
#include <algorithm>

#include "harness.h"

namespace featherlb::packet {
namespace {

class Malformed : public Harness {
protected:
    // Frames of all shapes, with what each belongs to already there.
    std::vector<Frame> make_samples(flb_forward forward)
    {
        use({});
        serve(1, {.forward = forward});
        const Connection tcp = connection(forward);
        Connection udp = connection(forward, protocol_udp);
        udp.outside_port = static_cast<std::uint16_t>(udp.outside_port + (forward == FLB_SNAT ? 1 : 0));
        play(tcp.handshake());
        play({udp.there("question", udp.request()), udp.back("answer", udp.answer())});
        Frame with_options = tcp.request_data(tcp_ack | tcp_psh, pattern(30));
        with_options.tcp_options = timestamps();
        if (v6())
            with_options.extensions = {hop_by_hop(), routing(), authentication(), fragment(0, false)};
        else
            with_options.options.assign(12, 1);
        Frame tagged = udp.answer(0, pattern(20));
        tagged.tags = {{.tci = 5, .protocol = tag_ad}, {.tci = 6}};
        Frame fresh = tcp.syn();
        fresh.sport++;
        return {fresh, tcp.request_data(tcp_ack, pattern(10)), tcp.answer_data(tcp_ack, pattern(10)),
            udp.request(0, pattern(10)), with_options, tagged, padded(tcp.request_data(tcp_ack))};
    }
    static const Interface& way_in(const Frame& f) { return f.to == backends().mac ? backends() : clients(); }
    // Passed unchanged, or dropped with one reason, or forwarded (if `whole`) with nothing added.
    void expect_not_mangled(const std::string& what, const Bytes& in, const Interface& interface, bool may_forward)
    {
        const std::uint64_t drops = all_drops();
        const Outcome outcome = run(in, interface);
        switch (outcome.verdict) {
        case Verdict::pass:
            EXPECT_TRUE(same(in, outcome.bytes)) << what;
            EXPECT_EQ(all_drops(), drops) << what;
            break;
        case Verdict::drop:
            EXPECT_EQ(all_drops(), drops + 1) << what;
            break;
        default:
            EXPECT_TRUE(may_forward) << what << ": forwarded";
        }
    }
};
INSTANTIATE_TEST_SUITE_P(hooks, Malformed, every_way, name_of);
class MalformedIpv4 : public Malformed {};
INSTANTIATE_TEST_SUITE_P(hooks, MalformedIpv4, ipv4_ways, name_of);
class MalformedIpv6 : public Malformed {};
INSTANTIATE_TEST_SUITE_P(hooks, MalformedIpv6, ipv6_ways, name_of);

TEST_P(Malformed, truncated_at_every_byte)
{
    for (const flb_forward forward : {FLB_SNAT, FLB_DNAT}) {
        for (const Frame& sample : make_samples(forward)) {
            const Bytes whole = to_bytes(sample);
            const std::size_t before = entries().size(), end = network_offset(sample) + packet_length(sample);
            // The kernel runs TC's program on nothing shorter than an IP header.
            const std::size_t least = hook() == Hook::xdp ? 14 : network_offset(sample) + (v6() ? 40 : 20);
            for (std::size_t size = least; size < whole.size(); size++) {
                const Bytes part(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
                expect_not_mangled("cut to " + std::to_string(size), part, way_in(sample), size >= end);
            }
            EXPECT_EQ(entries().size(), before) << "a broken packet opens nothing";
        }
    }
}

TEST_P(Malformed, cut_within_the_packet_but_with_lengths_to_match)
{
    serve(1);
    const Frame syn = Connection{*this}.syn();
    for (std::size_t rest = 0; rest < 20; rest++) {
        Frame f = syn;
        f.length = static_cast<std::uint16_t>((v6() ? 0 : 20) + rest);
        Bytes bytes = to_bytes(f);
        bytes.resize(transport_offset(f) + rest);
        if (rest == 0 && v6())
            expect_drop("no transport", bytes, FLB_DROP_truncated);
        else
            expect_drop("cut to " + std::to_string(rest), bytes, FLB_DROP_truncated);
        bytes.resize(60 + (v6() ? 20 : 0)); // and padded: what lies behind the packet is not a header
        expect_drop("padded, cut to " + std::to_string(rest), bytes, FLB_DROP_truncated);
    }
    EXPECT_EQ(entries().size(), 0u);
}

TEST_P(Malformed, lengths_that_disagree_with_the_packet)
{
    serve(1);
    Frame f = Connection{*this}.syn();
    f.payload = pattern(20);
    const std::size_t right = packet_length(f) - (v6() ? 40 : 0);
    f.length = static_cast<std::uint16_t>(right + 1);
    expect_drop("one byte more than there is", f, FLB_DROP_bad_length);
    f.length = std::uint16_t{0xffff};
    expect_drop("much more than there is", f, FLB_DROP_bad_length);
    f.length = std::uint16_t{0};
    const std::uint64_t drops = all_drops();
    EXPECT_EQ(run(f).verdict, Verdict::drop) << "zero";
    EXPECT_EQ(all_drops(), drops + 1);
    EXPECT_EQ(entries().size(), 0u);
}

TEST_P(MalformedIpv4, header_lengths_and_versions)
{
    serve(1);
    Frame f = Connection{*this}.syn();
    for (std::uint8_t words = 0; words < 5; words++) {
        f.header_words = words;
        expect_drop("header too short", f, FLB_DROP_bad_length);
    }
    f.header_words = std::uint8_t{15};
    const std::uint64_t drops = all_drops();
    EXPECT_EQ(run(f).verdict, Verdict::drop) << "header longer than the packet";
    EXPECT_EQ(all_drops(), drops + 1);
    f.header_words.reset();
    f.length = std::uint16_t{19};
    expect_drop("total length within the header", f, FLB_DROP_bad_length);
    Bytes bytes = to_bytes(Connection{*this}.syn());
    for (const unsigned version : {0u, 5u, 6u, 15u}) {
        bytes[14] = static_cast<std::uint8_t>(version << 4 | 5);
        expect_not_mangled("version", bytes, clients(), false);
    }
    EXPECT_EQ(entries().size(), 0u);
}

TEST_P(MalformedIpv6, versions_and_extension_headers)
{
    serve(1);
    const Frame syn = Connection{*this}.syn();
    Bytes bytes = to_bytes(syn);
    for (const unsigned version : {0u, 4u, 5u, 7u, 15u}) {
        bytes[14] = static_cast<std::uint8_t>(version << 4);
        expect_not_mangled("version", bytes, clients(), false);
    }
    Frame f = syn;
    f.extensions = {destination_options()};
    bytes = to_bytes(f);
    for (unsigned length = 1; length < 256; length++) { // of the extension header, in words of 8 bytes
        bytes[14 + 40 + 1] = static_cast<std::uint8_t>(length);
        expect_not_mangled("extension header longer than the packet", bytes, clients(), false);
    }
    for (unsigned type = 0; type < 256; type++) {
        if (type == protocol_tcp || type == protocol_udp)
            continue; // it then is a whole packet of another kind
        bytes = to_bytes(f);
        bytes[14 + 40] = static_cast<std::uint8_t>(type);
        expect_not_mangled("next header", bytes, clients(), false);
    }
}

TEST_P(Malformed, tcp_header_lengths)
{
    serve(1);
    Frame f = Connection{*this}.syn();
    f.payload = pattern(8);
    for (const unsigned words : {0u, 1u, 4u, 8u, 15u}) {
        f.tcp_words = static_cast<std::uint8_t>(words);
        expect_drop("data offset " + std::to_string(words), f, FLB_DROP_bad_tcp_header);
    }
    f.tcp_words = std::uint8_t{7};
    const Connection c{*this};
    play({c.there("all of it header", f)});
}

TEST_P(Malformed, udp_lengths)
{
    serve(1);
    const Connection c{.h = *this, .protocol = protocol_udp};
    Frame f = c.request(0, pattern(10));
    for (const unsigned length : {0u, 1u, 7u, 19u, 0xffffu}) {
        f.udp_length = static_cast<std::uint16_t>(length);
        expect_drop("length " + std::to_string(length), f, FLB_DROP_bad_length);
    }
    f.udp_length = std::uint16_t{12};
    expect_not_mangled("shorter than the packet", to_bytes(f), clients(), true);
    EXPECT_LE(entries().size(), 2u);
}

TEST_P(Malformed, every_header_byte_may_be_anything)
{
    for (const Frame& sample : make_samples(FLB_SNAT)) {
        const Bytes whole = to_bytes(sample);
        for (std::size_t at = 12; at < std::min(whole.size(), transport_offset(sample) + 20); at++) {
            for (const unsigned flip : {0x01u, 0x80u, 0xffu, 0x0fu, 0xf0u}) {
                Bytes bytes = whole;
                bytes[at] = static_cast<std::uint8_t>(bytes[at] ^ flip);
                const std::uint64_t drops = all_drops();
                const Outcome outcome = run(bytes, way_in(sample));
                ASSERT_NE(outcome.verdict, Verdict::other) << "byte " << at;
                if (outcome.verdict == Verdict::pass) {
                    ASSERT_TRUE(same(bytes, outcome.bytes)) << "byte " << at;
                } else if (outcome.verdict == Verdict::drop) {
                    ASSERT_EQ(all_drops(), drops + 1) << "byte " << at;
                }
            }
        }
    }
}

// ---- packets that do not fit -------------------------------------------------------------------------------

TEST_P(Malformed, a_packet_larger_than_the_way_out_is_too_big)
{
    serve(1);
    const Connection c{*this};
    play(c.handshake());
    const std::size_t headers = packet_length(c.request_data(tcp_ack));
    const auto both = [&](std::size_t fits) {
        play({c.there("fits", c.request_data(tcp_ack, pattern(fits - headers)))});
        expect_answer("one more byte", c.request_data(tcp_ack, pattern(fits - headers + 1)), FLB_DROP_too_big,
            static_cast<std::uint32_t>(fits), service_address());
    };
    both(1500);
    backend(1).mtu = 1400; // of the route
    both(1400);
    backend(1).mtu = 1500;
    iface(backends()).mtu = 1300;
    both(1300);
    iface(clients()).mtu = 1280;
    play({c.back("fits", c.answer_data(tcp_ack, pattern(1280 - headers)))});
    expect_answer(
        "to the client", c.answer_data(tcp_ack, pattern(1281 - headers)), FLB_DROP_too_big, 1280, snat_address());
}

TEST_P(Malformed, a_packet_of_many_segments_is_judged_by_the_segments)
{
    if (hook() != Hook::tc)
        return; // XDP sees segments alone
    serve(1);
    const Connection c{*this};
    play(c.handshake());
    Frame f = c.request_data(tcp_ack, pattern(3000));
    f.tcp_options = timestamps();
    const std::size_t headers = packet_length(f) - 3000;
    const auto segment = static_cast<std::uint32_t>(1500 - headers);
    const Outcome outcome = run(to_bytes(f), clients(), segment);
    EXPECT_EQ(outcome.verdict, Verdict::redirect);
    EXPECT_TRUE(same(to_bytes(c.forwarded(f)), outcome.bytes));
    expect_answer("segments that are too large", f, FLB_DROP_too_big, 1500, service_address(), segment + 1);
    expect_answer("not cut into segments", f, FLB_DROP_too_big, 1500, service_address());
}

} // namespace
} // namespace featherlb::packet
