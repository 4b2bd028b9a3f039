// SPDX-License-Identifier: Apache-2.0
// What becomes of the connections of a backend that is down (`on_backend_down`), and of new ones when all are
// (`all_down: refuse`).
#include "harness.h"

namespace featherlb::packet {
namespace {

class Down : public Harness {
protected:
    // Backend 1 is down, backend 2 takes what is new.
    void take_down(std::uint32_t fate)
    {
        backend(1).flags = FLB_BACKEND_VALID | fate;
        put_slots(1, {2});
    }
    void serve_two(flb_forward forward)
    {
        use({});
        serve(1, {.forward = forward, .backends = {1, 2}});
    }
    Connection established(flb_forward forward)
    {
        serve_two(forward);
        Connection c = connection(forward);
        play(c.handshake());
        return c;
    }
    [[nodiscard]] static Connection with_backend(Connection c, unsigned backend)
    {
        c.backend = backend;
        return c;
    }
};
INSTANTIATE_TEST_SUITE_P(hooks, Down, every_way, name_of);

TEST_P(Down, reset_answers_a_segment_with_rst_and_forgets_the_connection)
{
    for (const flb_forward forward : {FLB_SNAT, FLB_DNAT}) {
        for (const std::size_t length : {0, 1, 5, 100, 1400}) {
            const Connection c = established(forward);
            take_down(FLB_BACKEND_RESET);
            Frame in = c.request_data(tcp_ack, pattern(length));
            in.ack = 0x89abcdef;
            in.tcp_options = timestamps();
            expect_reset("segment", padded(in), FLB_DROP_backend_down);
            EXPECT_EQ(entries().size(), 0u);
            if (forward == FLB_SNAT)
                expect_reset("the next one", in);
        }
    }
}

TEST_P(Down, reset_reaches_every_state_of_a_connection)
{
    const Connection half = established(FLB_SNAT);
    play({half.there("FIN", half.request_data(tcp_fin | tcp_ack))});
    take_down(FLB_BACKEND_RESET);
    expect_reset("after the client's FIN", half.request_data(tcp_ack), FLB_DROP_backend_down);

    serve_two(FLB_SNAT);
    const Connection young = connection();
    play({young.there("SYN", young.syn()), young.back("SYN-ACK", young.syn_ack())});
    take_down(FLB_BACKEND_RESET);
    expect_reset("the handshake's ACK", young.first_ack(), FLB_DROP_backend_down);
    EXPECT_EQ(entries().size(), 0u);
}

TEST_P(Down, reset_does_not_answer_a_rst_nor_a_segment_without_ack)
{
    const Connection c = established(FLB_SNAT);
    take_down(FLB_BACKEND_RESET);
    expect_drop("RST", c.request_data(tcp_rst | tcp_ack), FLB_DROP_backend_down);
    expect_drop("no ACK", c.request_data(tcp_psh, pattern(3)), FLB_DROP_backend_down);
    expect_reset("ACK", c.request_data(tcp_ack), FLB_DROP_backend_down);
}

TEST_P(Down, the_backends_own_packets_go_on)
{
    for (const flb_forward forward : {FLB_SNAT, FLB_DNAT}) {
        const Connection c = established(forward);
        take_down(FLB_BACKEND_RESET | FLB_BACKEND_REHASH_UDP);
        play({c.back("data", c.answer_data(tcp_ack, pattern(20))), c.back("FIN", c.answer_data(tcp_fin | tcp_ack))});
    }
}

TEST_P(Down, keep_changes_nothing)
{
    const Connection c = established(FLB_SNAT);
    take_down(0);
    play({c.there("data", c.request_data(tcp_ack, pattern(20))), c.back("data", c.answer_data(tcp_ack, pattern(20)))});
}

TEST_P(Down, a_fate_for_one_protocol_leaves_the_other_alone)
{
    for (const flb_forward forward : {FLB_SNAT, FLB_DNAT}) {
        const Connection c = established(forward);
        put_slots(1, {1});
        Connection udp = connection(forward, protocol_udp);
        udp.outside_port = static_cast<std::uint16_t>(udp.outside_port + (forward == FLB_SNAT ? 1 : 0));
        play({udp.there("question", udp.request(0, pattern(9)))});
        take_down(FLB_BACKEND_REHASH_UDP);
        play({c.there("TCP", c.request_data(tcp_ack, pattern(20)))});
        take_down(FLB_BACKEND_RESET | FLB_BACKEND_REHASH_TCP);
        play({udp.there("UDP", udp.request(0, pattern(9)))});
    }
}

TEST_P(Down, a_syn_gets_another_backend_whatever_the_fate)
{
    for (const flb_forward forward : {FLB_SNAT, FLB_DNAT}) {
        for (const std::uint32_t fate : {FLB_BACKEND_RESET, FLB_BACKEND_REHASH_TCP}) {
            for (const std::size_t steps : {1, 2, 3}) {
                serve_two(forward);
                const Connection c = connection(forward), other = with_backend(c, 2);
                std::vector<Step> handshake = c.handshake();
                handshake.resize(steps);
                play(handshake);
                take_down(fate);
                play({other.there("SYN", c.syn())});
                expect_drop("the old backend's answer", c.syn_ack(), FLB_DROP_superseded);
                play({other.back("SYN-ACK", other.syn_ack()), other.there("ACK", c.first_ack())});
                expect_sound_table();
            }
        }
    }
}

TEST_P(Down, rehash_sends_udp_to_another_backend)
{
    for (const flb_forward forward : {FLB_SNAT, FLB_DNAT}) {
        serve_two(forward);
        const Connection c = connection(forward, protocol_udp), other = with_backend(c, 2);
        play({c.there("question", c.request(0, pattern(9))), c.back("answer", c.answer(0, pattern(9))),
            c.there("question", c.request(0, pattern(9)))});
        take_down(FLB_BACKEND_REHASH_UDP);
        play({other.there("question", c.request(0, pattern(9))), other.back("answer", other.answer(0, pattern(9))),
            other.there("question", c.request(0, pattern(9)))});
        EXPECT_EQ(find(c.request()).state(), FLB_FLOW_UDP_STREAM);
        if (forward == FLB_SNAT)
            expect_pass("late answer", c.answer(0, pattern(9)));
        else
            play({c.back("late answer", c.answer(0, pattern(9)))});
        EXPECT_EQ(entries().size(), 2u);
        expect_sound_table();
    }
}

TEST_P(Down, rehash_treats_tcp_as_unknown)
{
    const Connection c = established(FLB_SNAT);
    take_down(FLB_BACKEND_REHASH_TCP);
    expect_reset("snat", c.request_data(tcp_ack, pattern(7)));

    const Connection kept = established(FLB_DNAT), other = with_backend(kept, 2);
    take_down(FLB_BACKEND_REHASH_TCP);
    play({other.there("dnat", kept.request_data(tcp_ack, pattern(7))),
        other.back("it does not know the connection", other.answer_data(tcp_rst))});
    expect_drop("the old backend", kept.answer_data(tcp_ack, pattern(7)), FLB_DROP_superseded);
    expect_sound_table();
}

// The daemon changes slots and backend one after the other.
TEST_P(Down, a_backend_that_still_is_in_the_slots_gets_what_was_picked_for_it)
{
    for (const flb_forward forward : {FLB_SNAT, FLB_DNAT}) {
        serve_two(forward);
        put_slots(1, {1});
        backend(1).flags = FLB_BACKEND_VALID | FLB_BACKEND_RESET | FLB_BACKEND_REHASH_TCP | FLB_BACKEND_REHASH_UDP;
        Connection udp = connection(forward, protocol_udp);
        play({udp.there("question", udp.request(0, pattern(9)))});
        if (forward == FLB_SNAT)
            udp.outside_port++;
        play({udp.there("picked for it once more", udp.request(0, pattern(9)))});
        Connection tcp = connection(forward);
        tcp.outside_port = static_cast<std::uint16_t>(tcp.outside_port + (forward == FLB_SNAT ? 2 : 0));
        play({tcp.there("SYN", tcp.syn())});
        expect_sound_table();
    }
}

// ---- all_down: refuse

TEST_P(Down, refuse_answers_a_syn_with_rst_and_ack)
{
    for (const flb_forward forward : {FLB_SNAT, FLB_DNAT}) {
        serve_two(forward);
        put_slots(1, {});
        service().flags |= FLB_SERVICE_REFUSE;
        const Connection c = connection(forward);
        for (std::uint32_t i = 0; i < 300; i++) {
            Frame syn = c.syn();
            syn.seq = 0xffffff00 + i * 0x01234567;
            syn.sport = static_cast<std::uint16_t>(syn.sport + i);
            syn.payload = pattern(std::size_t{i % 3} * 100); // fast open
            if (i % 2)
                syn.tcp_options = timestamps();
            expect_reset("SYN", padded(syn), FLB_DROP_refused);
            ASSERT_FALSE(HasFailure());
        }
        Frame syn = c.syn();
        syn.flags |= 0xc0;
        const Bytes answer = run(syn).bytes;
        EXPECT_EQ(answer.at(transport_offset(syn) + 13), tcp_rst | tcp_ack) << "SYN, ECE, CWR";
        EXPECT_EQ(entries().size(), 0u);
    }
}

TEST_P(Down, refuse_answers_with_tags_as_it_was_asked)
{
    serve_two(FLB_SNAT);
    service().flags |= FLB_SERVICE_REFUSE;
    Connection c = connection();
    c.client_tags = {{.tci = 7}, {.tci = 9}};
    expect_reset("SYN", c.syn(), FLB_DROP_refused);
}

TEST_P(Down, refuse_drops_what_it_cannot_answer)
{
    serve_two(FLB_DNAT);
    put_slots(1, {});
    service().flags |= FLB_SERVICE_REFUSE;
    const Connection c = connection(FLB_DNAT);
    expect_reset("a segment of an older connection", c.request_data(tcp_ack, pattern(3)), FLB_DROP_refused);
    expect_drop("RST", c.request_data(tcp_rst), FLB_DROP_refused);
    expect_drop("UDP", connection(FLB_DNAT, protocol_udp).request(0, pattern(4)), FLB_DROP_no_backend);
    Frame syn = c.syn();
    if (v6())
        syn.extensions = {hop_by_hop()};
    else
        syn.options.assign(4, 1);
    expect_drop("behind options", syn, FLB_DROP_refused);
}

TEST_P(Down, refuse_leaves_known_connections_alone)
{
    const Connection c = established(FLB_SNAT);
    take_down(0);
    put_slots(1, {});
    service().flags |= FLB_SERVICE_REFUSE;
    play({c.there("data", c.request_data(tcp_ack, pattern(20))), c.back("data", c.answer_data(tcp_ack, pattern(20)))});
}

} // namespace
} // namespace featherlb::packet
