// SPDX-License-Identifier: Apache-2.0
// The main job, as chains: first and later packets, both directions, snat and dnat, one and two interfaces.
#include "harness.h"

namespace featherlb::packet {
namespace {

class Forwarding : public Harness {};
INSTANTIATE_TEST_SUITE_P(hooks, Forwarding, every_way, name_of);

TEST_P(Forwarding, snat_carries_a_tcp_connection_both_ways)
{
    serve(1);
    const Connection c{*this};
    play(c.handshake());
    play({
        c.there("data to the backend", c.request_data(tcp_ack | tcp_psh, pattern(100))),
        c.back("its acknowledgement", c.answer_data(tcp_ack)),
        c.back("data to the client", c.answer_data(tcp_ack | tcp_psh, pattern(1400))),
        c.there("more data", c.request_data(tcp_ack, pattern(1))),
    });
    expect_sound_table();
    EXPECT_EQ(entries().size(), 2u);
}

TEST_P(Forwarding, snat_carries_udp_both_ways)
{
    serve(1);
    const Connection c{.h = *this, .protocol = protocol_udp};
    play({
        c.there("question", c.request(0, pattern(30))),
        c.back("answer", c.answer(0, pattern(200))),
        c.there("second question", c.request(0, pattern(31))),
        c.back("second answer", c.answer(0, pattern(201))),
    });
    expect_sound_table();
}

TEST_P(Forwarding, dnat_keeps_the_clients_address)
{
    serve(1, {.forward = FLB_DNAT});
    const Connection tcp = Connection{*this}.kept();
    play(tcp.handshake());
    play({tcp.there("data", tcp.request_data(tcp_ack, pattern(10))),
        tcp.back("data", tcp.answer_data(tcp_ack, pattern(11)))});
    const Connection udp = Connection{.h = *this, .protocol = protocol_udp}.kept();
    play({udp.there("question", udp.request(0, pattern(7))), udp.back("answer", udp.answer(0, pattern(8)))});
    expect_sound_table();
    EXPECT_EQ(entries().size(), 4u);
}

TEST_P(Forwarding, works_on_one_interface)
{
    serve(1);
    backend(1).hop = hop(backend_mac(), clients());
    Connection c{*this};
    c.backend_side = clients();
    play(c.handshake());
    play({c.there("data", c.request_data(tcp_ack, pattern(10))), c.back("data", c.answer_data(tcp_ack, pattern(11)))});
}

TEST_P(Forwarding, redirects_to_the_same_interface_where_the_driver_loses_what_is_transmitted)
{
    serve(1);
    backend(1).hop = hop(backend_mac(), clients());
    iface(clients()).flags |= FLB_IFACE_REDIRECT;
    Connection c{*this};
    c.backend_side = clients();
    expect_out("SYN", c.syn(), Verdict::redirect, c.forwarded(c.syn()));
}

TEST_P(Forwarding, connections_do_not_mix)
{
    serve(1, {.backends = {1, 2, 3}});
    std::vector<Connection> connections;
    for (unsigned i = 0; i < 12; i++) {
        connections.push_back({.h = *this, .backend = 1 + i % 3, .client = client(i / 2)});
        connections.back().client_port = static_cast<std::uint16_t>(client_port + i);
        connections.back().outside_port = static_cast<std::uint16_t>(first_snat_port + i / 3);
    }
    for (const Connection& c : connections)
        play(c.handshake());
    for (const Connection& c : connections)
        play({c.back("data", c.answer_data(tcp_ack, pattern(20))),
            c.there("data", c.request_data(tcp_ack, pattern(21)))});
    expect_sound_table();
    EXPECT_EQ(entries().size(), 24u);
}

TEST_P(Forwarding, tcp_and_udp_with_the_same_ports_are_two_flows)
{
    serve(1);
    const Connection tcp{*this};
    Connection udp{.h = *this, .protocol = protocol_udp};
    udp.outside_port = first_snat_port + 1;
    play({tcp.there("SYN", tcp.syn()), udp.there("question", udp.request(0, pattern(3))),
        tcp.back("SYN-ACK", tcp.syn_ack()), udp.back("answer", udp.answer(0, pattern(4)))});
}

TEST_P(Forwarding, decrements_the_ttl_and_answers_what_has_none_left)
{
    serve(1);
    const Connection c{*this};
    play({c.there("SYN", c.syn()), c.back("SYN-ACK", c.syn_ack())});
    Frame data = c.request_data(tcp_ack);
    data.ttl = 2;
    play({c.there("TTL 2", data)});
    data.ttl = 255;
    play({c.there("TTL 255", data)});
    for (const std::uint8_t ttl : {std::uint8_t{1}, std::uint8_t{0}}) {
        data.ttl = ttl;
        expect_answer("from the client", data, FLB_DROP_ttl_exceeded, 0, service_address());
        Frame answer = c.answer_data(tcp_ack);
        answer.ttl = ttl;
        expect_answer("from the backend", answer, FLB_DROP_ttl_exceeded, 0, snat_address());
    }
}

TEST_P(Forwarding, counts_packets_bytes_and_connections_of_the_backend)
{
    serve(1, {.backends = {2}});
    Connection c{.h = *this, .backend = 2};
    play(c.handshake());
    Frame answer = c.answer_data(tcp_ack, pattern(1000));
    play({c.back("data", answer)});
    const flb_backend_counters counters = plane().counters(2);
    EXPECT_EQ(counters.packets[0], 2u);
    EXPECT_EQ(counters.packets[1], 2u);
    EXPECT_EQ(counters.bytes[0], packet_length(c.syn()) + packet_length(c.first_ack()));
    EXPECT_EQ(counters.bytes[1], packet_length(c.syn_ack()) + packet_length(answer));
    EXPECT_EQ(counters.connections, 1u);
    EXPECT_EQ(plane().counters(1).packets[0], 0u);
}

TEST_P(Forwarding, a_next_hop_that_changes_changes_every_flow)
{
    serve(1);
    Connection c{*this};
    play(c.handshake());
    backend(1).hop = hop({2, 2, 2, 2, 2, 2}, clients());
    Frame data = c.request_data(tcp_ack, pattern(5));
    Frame out = c.forwarded(data);
    out.to = {2, 2, 2, 2, 2, 2};
    out.from = clients().mac;
    expect_out("data", data, sent(clients(), clients()), out);
}

TEST_P(Forwarding, learns_anew_where_a_clients_frames_come_from)
{
    serve(1);
    Connection c{*this};
    play(c.handshake());
    Connection moved = c;
    moved.client_mac = {2, 9, 9, 9, 9, 9};
    play({moved.there("the client comes by another gateway", moved.request_data(tcp_ack, pattern(5))),
        moved.back("and is answered there", moved.answer_data(tcp_ack, pattern(6)))});
    moved.client_side = backends();
    play({moved.there("then by another interface", moved.request_data(tcp_ack, pattern(5))),
        moved.back("and is answered there", moved.answer_data(tcp_ack, pattern(6)))});
    moved.client_tags = {{.tci = 7}};
    play({moved.there("then under a tag", moved.request_data(tcp_ack, pattern(5))),
        moved.back("and is answered under it", moved.answer_data(tcp_ack, pattern(6)))});
}

TEST_P(Forwarding, several_services_share_backends_and_addresses)
{
    serve(1, {.backends = {1}});
    serve(2, {.forward = FLB_DNAT, .backends = {2}});
    listen(service_address(1), 81, protocol_tcp, 2);
    const Connection one{*this};
    const Connection two = Connection{.h = *this, .service = 2, .backend = 2}.kept();
    play(one.handshake());
    play(two.handshake());
    Frame other_port = one.syn();
    other_port.dport = 81;
    other_port.sport = 41000;
    Connection third = Connection{.h = *this, .backend = 2};
    third.client_port = 41000;
    expect_out("another port of the first address", other_port, sent(clients(), backends()),
        third.kept().forwarded(other_port));
}

} // namespace
} // namespace featherlb::packet
