// SPDX-License-Identifier: Apache-2.0
// Headers of all shapes: IPv4 options, IPv6 extension headers, TCP options, payloads of every length, padding, and
// the checksums that come out.
#include "harness.h"

namespace featherlb::packet {
namespace {

class Headers : public Harness {
protected:
    // A connection of which both directions have seen packets of this form.
    void play_with(const Connection& c, const std::function<void(Frame&)>& change)
    {
        const auto changed = [&change](Frame frame) {
            change(frame);
            return frame;
        };
        if (c.protocol == protocol_udp) {
            play({c.there("question", changed(c.request(0, pattern(9)))),
                c.back("answer", changed(c.answer(0, pattern(10)))),
                c.there("question", changed(c.request(0, pattern(11))))});
            return;
        }
        play({c.there("SYN", changed(c.syn())), c.back("SYN-ACK", changed(c.syn_ack())),
            c.there("ACK", changed(c.first_ack())), c.there("data", changed(c.request_data(tcp_ack, pattern(9)))),
            c.back("data", changed(c.answer_data(tcp_ack, pattern(10))))});
    }
    void play_both(const std::function<void(Frame&)>& change)
    {
        for (const flb_forward forward : {FLB_SNAT, FLB_DNAT}) {
            use({});
            serve(1, {.forward = forward});
            Connection c = connection(forward);
            play_with(c, change);
            c.protocol = protocol_udp;
            if (forward == FLB_SNAT)
                c.outside_port++;
            play_with(c, change);
        }
    }
};
INSTANTIATE_TEST_SUITE_P(hooks, Headers, every_way, name_of);
class HeadersIpv4 : public Headers {};
INSTANTIATE_TEST_SUITE_P(hooks, HeadersIpv4, ipv4_ways, name_of);
class HeadersIpv6 : public Headers {};
INSTANTIATE_TEST_SUITE_P(hooks, HeadersIpv6, ipv6_ways, name_of);

TEST_P(HeadersIpv4, options_of_every_length_are_kept)
{
    for (std::size_t length = 4; length <= 40; length += 4)
        play_both([length](Frame& f) { f.options.assign(length, 1); }); // no-operations
}

TEST_P(HeadersIpv4, every_bit_that_is_not_ours_is_kept)
{
    play_both([](Frame& f) { f.tos = 0xff; });
    play_both([](Frame& f) { f.id = 0; });
    play_both([](Frame& f) { f.fragment = 0; });
    play_both([](Frame& f) { f.fragment = 0x8000; });
}

TEST_P(HeadersIpv6, traffic_class_and_flow_label_are_kept)
{
    play_both([](Frame& f) { f.tos = 0xff; });
    play_both([](Frame& f) { f.flow_label = 0xfffff; });
}

TEST_P(HeadersIpv6, extension_headers_are_followed)
{
    const std::vector<std::vector<Extension>> chains = {
        {hop_by_hop()},
        {destination_options()},
        {destination_options(10)},
        {routing()},
        {authentication()},
        {fragment(0, false)}, // atomic, RFC 6946
        {hop_by_hop(), destination_options(), routing(), fragment(0, false), authentication(), destination_options(1)},
    };
    for (const std::vector<Extension>& chain : chains)
        play_both([&chain](Frame& f) { f.extensions = chain; });
}

TEST_P(HeadersIpv6, more_extension_headers_than_are_followed_are_dropped_by_name)
{
    serve(1);
    Frame syn = Connection{*this}.syn();
    syn.extensions.assign(7, destination_options());
    expect_drop("seven", syn, FLB_DROP_extension_headers);
    syn.extensions.assign(6, destination_options(31)); // 6 * 256 bytes still are within reach
    syn.extensions.resize(5);
    const Connection c{*this};
    play({c.there("five long ones", syn)});
    syn.extensions.assign(2, destination_options(130));
    expect_drop("beyond reach", syn, FLB_DROP_extension_headers);
}

TEST_P(Headers, tcp_options_are_kept)
{
    play_both([](Frame& f) {
        if (f.is_tcp())
            f.tcp_options = timestamps();
    });
    play_both([](Frame& f) {
        if (f.is_tcp())
            f.tcp_options.assign(40, 1);
    });
}

TEST_P(Headers, all_tcp_flags_and_the_window_are_kept)
{
    serve(1);
    const Connection c{*this};
    play(c.handshake());
    Frame data = c.request_data(tcp_ack | tcp_psh | 0xe0); // URG, ECE, CWR
    data.window = 0;
    play({c.there("URG, ECE, CWR", data)});
}

TEST_P(Headers, payloads_of_every_length)
{
    serve(1);
    const Connection tcp{*this};
    Connection udp{.h = *this, .protocol = protocol_udp};
    udp.outside_port++;
    play(tcp.handshake());
    play({udp.there("question", udp.request())});
    const std::size_t most = v6() ? 1440 : 1460;
    for (std::size_t length = 0; length <= most && !HasFailure(); length++) {
        play({tcp.there("TCP", tcp.request_data(tcp_ack, pattern(length))),
            tcp.back("TCP", tcp.answer_data(tcp_ack, pattern(length))),
            udp.there("UDP", udp.request(0, pattern(length))), udp.back("UDP", udp.answer(0, pattern(length)))});
    }
}

TEST_P(Headers, padding_behind_the_packet_is_neither_counted_nor_changed)
{
    play_both([](Frame& f) { f = padded(f); });
    play_both([](Frame& f) { f.padding = pattern(17); });
}

TEST_P(Headers, packets_larger_than_a_page_of_headers)
{
    serve(1);
    iface(clients()).mtu = iface(backends()).mtu = backend(1).mtu = 9000;
    const Connection c{*this};
    play(c.handshake());
    play({c.there("3,000 bytes", c.request_data(tcp_ack, pattern(3000))),
        c.back("3,000 bytes", c.answer_data(tcp_ack, pattern(3001)))});
}

// ---- checksums ---------------------------------------------------------------------------------------------

TEST_P(HeadersIpv4, no_udp_checksum_stays_none)
{
    serve(1);
    const Connection c{.h = *this, .protocol = protocol_udp};
    Frame question = c.request(0, pattern(20)), answer = c.answer(0, pattern(21));
    question.without_checksum = answer.without_checksum = true;
    play({c.there("first", question), c.back("answer", answer), c.there("second", question)});
    EXPECT_EQ(transport_checksum(question, run(question).bytes), 0);
}

// Payloads for which the checksum that leaves is any of the values where one's complement has two zeros.
TEST_P(Headers, checksums_at_the_edges)
{
    serve(1);
    const Connection tcp{*this};
    Connection udp{.h = *this, .protocol = protocol_udp};
    udp.outside_port++;
    play(tcp.handshake());
    play({udp.there("question", udp.request())});
    for (const Connection& c : {tcp, udp}) {
        unsigned found = 0;
        for (unsigned word = 0; word <= 0xffff; word++) {
            const Bytes payload = {static_cast<std::uint8_t>(word >> 8), static_cast<std::uint8_t>(word)};
            const Frame in = c.request_data(tcp_ack, payload), out = c.forwarded(in);
            const std::uint16_t before = transport_checksum(in, to_bytes(in)),
                                after = transport_checksum(out, to_bytes(out));
            for (const unsigned edge : {0x0000u, 0xffffu, 0x0001u, 0xfffeu}) {
                if (before != edge && after != edge)
                    continue;
                found++;
                play({c.there("at an edge", in)});
            }
        }
        EXPECT_GE(found, 6u);
    }
}

TEST_P(Headers, a_wrong_checksum_stays_wrong)
{
    serve(1);
    const Connection c{*this};
    play(c.handshake());
    const Frame in = c.request_data(tcp_ack, pattern(50)), out = c.forwarded(in);
    Bytes broken = to_bytes(in), expected = to_bytes(out);
    broken[transport_offset(in) + 30] ^= 0x40;
    expected[transport_offset(out) + 30] ^= 0x40;
    EXPECT_TRUE(same(expected, run(broken).bytes));
}

// Addresses and ports of which the sums are extreme.
TEST_P(Headers, addresses_and_ports_at_the_edges)
{
    for (const flb_forward forward : {FLB_SNAT, FLB_DNAT}) {
        for (const std::uint16_t port : {std::uint16_t{1}, std::uint16_t{0xffff}, std::uint16_t{0x8000}}) {
            for (const unsigned host : {0u, 0xffffu, 0x100u}) {
                use({});
                serve(1, {.forward = forward});
                set_ports(port, 1, 1);
                Connection c = connection(forward);
                c.client = address(255, host);
                if (forward == FLB_SNAT)
                    c.outside_port = port;
                else
                    c.outside = c.client;
                play(c.handshake());
            }
        }
    }
}

// dnat to the service's own port: the ports do not change, their delta is a zero.
TEST_P(Headers, a_recipe_that_changes_no_port)
{
    serve(1, {.forward = FLB_DNAT});
    backend(1).port = static_cast<__be16>(service_port << 8);
    const Connection c = Connection{*this}.kept();
    Frame out = c.forwarded(c.syn());
    out.dport = service_port;
    expect_out("SYN", c.syn(), sent(clients(), backends()), out);
    Frame answer = c.syn_ack();
    answer.sport = service_port;
    expect_out("SYN-ACK", answer, sent(backends(), clients()), c.returned(answer));
}

} // namespace
} // namespace featherlb::packet
