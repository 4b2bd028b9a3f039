// SPDX-License-Identifier: Apache-2.0
// Packets that are none of ours go on unchanged: XDP_PASS, and TC_ACT_UNSPEC so that other programs see them.
#include <algorithm>

#include "harness.h"

namespace featherlb::packet {
namespace {

class NotOurs : public Harness {
protected:
    void SetUp() override
    {
        Harness::SetUp();
        serve(1, {.backends = {1}});
        serve(2, {.forward = FLB_DNAT, .backends = {2}});
    }
    // An Ethernet frame with this type and payload.
    [[nodiscard]] static Bytes frame(const Mac& to, unsigned type, const Bytes& payload)
    {
        Bytes out(to.begin(), to.end());
        const Mac from = client_mac();
        out.insert(out.end(), from.begin(), from.end());
        out.push_back(static_cast<std::uint8_t>(type >> 8));
        out.push_back(static_cast<std::uint8_t>(type));
        out.insert(out.end(), payload.begin(), payload.end());
        out.resize(std::max<std::size_t>(out.size(), 60));
        return out;
    }
    // The bytes of a TCP packet with another protocol number.
    [[nodiscard]] Bytes with_protocol(const Frame& f, std::uint8_t protocol) const
    {
        Bytes bytes = to_bytes(f);
        bytes[14 + (v6() ? 6 : 9)] = protocol;
        return bytes;
    }
};
INSTANTIATE_TEST_SUITE_P(hooks, NotOurs, every_way, name_of);

TEST_P(NotOurs, other_protocols_of_layer_2)
{
    constexpr Mac everybody = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    for (const unsigned type : {0x0806u, 0x88ccu, 0x8847u, 0x8863u, 0x0026u, 0xffffu, 0x0000u}) {
        expect_pass("broadcast", frame(everybody, type, pattern(46)));
        expect_pass("to us", frame(clients().mac, type, pattern(46)));
        Bytes tagged =
            frame(clients().mac, tag_q, {0, 5, static_cast<std::uint8_t>(type >> 8), static_cast<std::uint8_t>(type)});
        expect_pass("under a tag", tagged);
    }
    expect_pass("an empty frame", frame(clients().mac, 0x0800, {}));
}

TEST_P(NotOurs, other_protocols_to_the_service_address)
{
    for (const unsigned protocol : {1u, 2u, 4u, 41u, 47u, 58u, 59u, 89u, 112u, 132u, 136u, 255u})
        expect_pass("protocol " + std::to_string(protocol),
            with_protocol(Connection{*this}.syn(), static_cast<std::uint8_t>(protocol)));
    if (v6()) { // behind extension headers
        Frame f = Connection{*this}.syn();
        f.extensions = {hop_by_hop(), destination_options()};
        Bytes bytes = to_bytes(f);
        bytes[14 + 40 + 8] = 58;
        expect_pass("ICMPv6", bytes);
    }
}

TEST_P(NotOurs, other_addresses_and_ports)
{
    Frame f = Connection{*this}.syn();
    f.destination = stranger();
    expect_pass("another address", f);
    f = Connection{*this}.syn();
    f.dport = 22;
    expect_pass("another port of the service address", f);
    f.dport = 0;
    expect_pass("port 0", f);
    f = Connection{*this}.syn();
    f.destination = client(77);
    f.source = service_address(1);
    f.sport = service_port;
    expect_pass("from the service address", f);
    f = Connection{*this}.syn();
    f.destination = snat_address();
    expect_pass("to our source address", f);
    f.destination = backend_address(2);
    expect_pass("to a backend", f);
    EXPECT_EQ(entries().size(), 0u);
}

TEST_P(NotOurs, the_protocol_is_part_of_a_listener)
{
    listen(service_address(1), 53, protocol_udp, 1);
    Frame f = Connection{*this}.syn();
    f.dport = 53;
    expect_pass("TCP where UDP is served", f);
    Connection udp{.h = *this, .protocol = protocol_udp};
    f = udp.request(0, pattern(9));
    f.dport = 53;
    expect_out("UDP", f, Verdict::redirect, udp.forwarded(f));
}

TEST_P(NotOurs, an_address_that_only_looks_like_ours_to_the_prefilter)
{
    for (std::uint8_t& kinds : plane().prefilter().kinds)
        kinds = 0xff;
    Frame f = Connection{*this}.syn();
    f.destination = stranger();
    expect_pass("another address", f);
    f = Connection{*this}.request_data(tcp_ack);
    f.destination = stranger();
    expect_pass("a later segment", f);
}

TEST_P(NotOurs, without_a_prefilter_bit_nothing_is_looked_at)
{
    for (std::uint8_t& kinds : plane().prefilter().kinds)
        kinds = 0;
    expect_pass("SYN", Connection{*this}.syn());
    expect_pass("dnat backend", Connection{.h = *this, .service = 2, .backend = 2}.kept().answer_data(tcp_ack));
}

TEST_P(NotOurs, frames_for_another_station)
{
    const Connection c{*this};
    Frame known = c.request_data(tcp_ack, pattern(9));
    Frame f = c.syn();
    for (const Mac& to :
        {Mac{2, 0, 0, 0, 0, 9}, Mac{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, Mac{1, 0, 0x5e, 0, 0, 1}, Mac{}}) {
        f.to = to;
        expect_pass("SYN", f);
    }
    EXPECT_EQ(entries().size(), 0u);
    play(c.handshake());
    known.to = {2, 0, 0, 0, 0, 9};
    expect_pass("a segment of a known connection", known);
    Bytes broken = to_bytes(known);
    broken.resize(network_offset(known) + (v6() ? 45 : 25));
    expect_pass("a broken packet", broken);
}

TEST_P(NotOurs, what_is_wrong_with_other_peoples_packets_is_not_judged)
{
    Frame f = Connection{*this}.syn();
    f.destination = stranger();
    f.ttl = 1;
    expect_pass("TTL 1", f);
    f.length = 9;
    expect_pass("a length", f);
    f.length.reset();
    f.tcp_words = 1;
    expect_pass("a TCP header", f);
    f.tcp_words.reset();
    f.flags = 0;
    expect_pass("flags", f);
    if (!v6()) {
        f.fragment = 0x2000;
        expect_pass("a fragment", f);
        f.header_words = 2;
        expect_pass("a header length", f);
    }
}

} // namespace
} // namespace featherlb::packet
