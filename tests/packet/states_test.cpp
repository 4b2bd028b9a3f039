// SPDX-License-Identifier: Apache-2.0
// The life of a connection: which packets move it to which state, and what is proven.
#include "harness.h"

namespace featherlb::packet {
namespace {

class States : public Harness {
protected:
    [[nodiscard]] unsigned state(const Connection& c) const
    {
        const Entry owner = find(c.request());
        return owner.exists() ? owner.state() : unsigned{FLB_FLOW_EMPTY};
    }
    [[nodiscard]] unsigned reply_state(const Connection& c) const
    {
        const Entry reply = find(c.answer());
        return reply.exists() ? reply.state() : unsigned{FLB_FLOW_EMPTY};
    }
    [[nodiscard]] bool is_proven(const Connection& c) const { return state(c) >= FLB_FLOW_ESTABLISHED; }
    // A fresh established connection.
    Connection established(flb_forward forward = FLB_SNAT)
    {
        use({});
        serve(1, {.forward = forward});
        Connection c = connection(forward);
        play(c.handshake());
        return c;
    }
    // As the last segments of a connection bring it there.
    Connection brought_to(unsigned wanted, flb_forward forward = FLB_SNAT)
    {
        Connection c = established(forward);
        const Step client_fin = c.there("client's FIN", c.request_data(tcp_fin | tcp_ack));
        const Step backend_fin = c.back("backend's FIN", c.answer_data(tcp_fin | tcp_ack));
        if (wanted == FLB_FLOW_FIN_CLIENT || wanted == FLB_FLOW_CLOSED_CLIENT)
            play({client_fin});
        if (wanted == FLB_FLOW_FIN_BACKEND || wanted == FLB_FLOW_CLOSED_BACKEND)
            play({backend_fin});
        if (wanted == FLB_FLOW_CLOSED_CLIENT)
            play({backend_fin});
        if (wanted == FLB_FLOW_CLOSED_BACKEND)
            play({client_fin});
        if (wanted == FLB_FLOW_RESET)
            play({c.back("backend's RST", c.answer_data(tcp_rst))});
        EXPECT_EQ(state(c), wanted);
        return c;
    }
};
INSTANTIATE_TEST_SUITE_P(hooks, States, every_way, name_of);

TEST_P(States, the_handshake_step_by_step)
{
    for (const flb_forward forward : {FLB_SNAT, FLB_DNAT}) {
        use({});
        serve(1, {.forward = forward});
        Connection c = connection(forward);
        play({c.there("SYN", c.syn())});
        EXPECT_EQ(state(c), FLB_FLOW_SYN);
        EXPECT_EQ(reply_state(c), FLB_FLOW_REPLY_NEW);
        play({c.there("SYN again", c.syn())});
        EXPECT_EQ(state(c), FLB_FLOW_SYN);
        play({c.back("SYN-ACK", c.syn_ack())});
        EXPECT_EQ(state(c), FLB_FLOW_SYN_ACK);
        play({c.back("SYN-ACK again", c.syn_ack()), c.there("SYN again", c.syn())});
        EXPECT_EQ(state(c), FLB_FLOW_SYN_ACK);
        EXPECT_EQ(reply_state(c), FLB_FLOW_REPLY_NEW);
        play({c.there("ACK", c.first_ack())});
        EXPECT_EQ(state(c), FLB_FLOW_ESTABLISHED);
        EXPECT_EQ(reply_state(c), FLB_FLOW_REPLY);
        EXPECT_EQ(plane().counters(1).connections, 1u);
    }
}

TEST_P(States, only_the_right_acknowledgement_proves_the_client)
{
    serve(1);
    const Connection c{*this};
    play({c.there("SYN", c.syn())});
    Frame ack = c.first_ack();
    play({c.there("an ACK before the SYN-ACK", ack)});
    EXPECT_EQ(state(c), FLB_FLOW_SYN);
    play({c.back("SYN-ACK", c.syn_ack())});
    for (const std::uint32_t number : {0u, 5000u, 5002u, 0xffffffffu, 0x89130000u}) {
        ack.ack = number;
        play({c.there("a wrong number", ack)});
        EXPECT_EQ(state(c), FLB_FLOW_SYN_ACK) << number;
    }
    Frame no_ack = c.request(tcp_psh);
    no_ack.ack = 5001;
    play({c.there("the right number without ACK", no_ack)});
    EXPECT_EQ(state(c), FLB_FLOW_SYN_ACK);
    play({c.there("the right one, with data", c.request_data(tcp_ack | tcp_psh, pattern(9)))});
    EXPECT_EQ(state(c), FLB_FLOW_ESTABLISHED);
}

TEST_P(States, the_acknowledgement_may_wrap_around)
{
    serve(1);
    const Connection c{*this};
    Frame syn_ack = c.syn_ack(), ack = c.first_ack();
    syn_ack.seq = 0xffffffff;
    ack.ack = 0;
    play({c.there("SYN", c.syn()), c.back("SYN-ACK", syn_ack), c.there("ACK", ack)});
    EXPECT_EQ(state(c), FLB_FLOW_ESTABLISHED);
}

// Fast open: the backend may send data before it has the client's ACK.
TEST_P(States, a_backends_data_before_the_proof_does_not_move_what_proves)
{
    serve(1);
    const Connection c{*this};
    play({c.there("SYN", c.syn()), c.back("SYN-ACK", c.syn_ack())});
    play({c.back("early data", c.answer_data(tcp_ack | tcp_psh, pattern(100)))});
    play({c.there("ACK of the SYN-ACK", c.first_ack())});
    EXPECT_EQ(state(c), FLB_FLOW_ESTABLISHED);
}

TEST_P(States, the_client_closes_first)
{
    const Connection c = established();
    play({c.there("FIN", c.request_data(tcp_fin | tcp_ack))});
    EXPECT_EQ(state(c), FLB_FLOW_FIN_CLIENT);
    play({c.back("data still flows", c.answer_data(tcp_ack, pattern(99))), c.there("ACK", c.request_data(tcp_ack)),
        c.there("FIN again", c.request_data(tcp_fin | tcp_ack))});
    EXPECT_EQ(state(c), FLB_FLOW_FIN_CLIENT);
    play({c.back("FIN", c.answer_data(tcp_fin | tcp_ack))});
    EXPECT_EQ(state(c), FLB_FLOW_CLOSED_CLIENT);
    play({c.there("last ACK", c.request_data(tcp_ack)), c.back("FIN again", c.answer_data(tcp_fin | tcp_ack))});
    EXPECT_EQ(state(c), FLB_FLOW_CLOSED_CLIENT);
}

TEST_P(States, the_backend_closes_first)
{
    const Connection c = established();
    play({c.back("FIN", c.answer_data(tcp_fin | tcp_ack))});
    EXPECT_EQ(state(c), FLB_FLOW_FIN_BACKEND);
    play({c.there("data still flows", c.request_data(tcp_ack, pattern(99))),
        c.back("FIN again", c.answer_data(tcp_fin | tcp_ack))});
    EXPECT_EQ(state(c), FLB_FLOW_FIN_BACKEND);
    play({c.there("FIN", c.request_data(tcp_fin | tcp_ack))});
    EXPECT_EQ(state(c), FLB_FLOW_CLOSED_BACKEND);
    play({c.back("last ACK", c.answer_data(tcp_ack)), c.there("FIN again", c.request_data(tcp_fin | tcp_ack))});
    EXPECT_EQ(state(c), FLB_FLOW_CLOSED_BACKEND);
}

TEST_P(States, the_first_ack_may_carry_the_fin)
{
    serve(1);
    const Connection c{*this};
    play({c.there("SYN", c.syn()), c.back("SYN-ACK", c.syn_ack()),
        c.there("ACK, FIN", c.request_data(tcp_fin | tcp_ack))});
    EXPECT_EQ(state(c), FLB_FLOW_FIN_CLIENT);
    EXPECT_EQ(reply_state(c), FLB_FLOW_REPLY);
}

TEST_P(States, a_fin_before_the_proof_closes_nothing)
{
    serve(1);
    const Connection c{*this};
    Frame fin = c.request_data(tcp_fin | tcp_ack);
    fin.ack = 1;
    play({c.there("SYN", c.syn()), c.there("FIN", fin), c.back("SYN-ACK", c.syn_ack()), c.there("FIN", fin)});
    EXPECT_EQ(state(c), FLB_FLOW_SYN_ACK);
}

TEST_P(States, a_rst_only_shortens_the_timeout)
{
    for (const bool by_client : {true, false}) {
        const Connection c = established();
        if (by_client)
            play({c.there("RST", c.request_data(tcp_rst))});
        else
            play({c.back("RST", c.answer_data(tcp_rst | tcp_ack))});
        EXPECT_EQ(state(c), FLB_FLOW_RESET);
        play({c.there("a segment that was on its way", c.request_data(tcp_ack, pattern(5))),
            c.back("another", c.answer_data(tcp_ack, pattern(6)))});
        EXPECT_EQ(state(c), FLB_FLOW_RESET);
        EXPECT_EQ(entries().size(), 2u);
    }
}

TEST_P(States, a_rst_keeps_a_closed_connection_closed)
{
    for (const unsigned closed : {FLB_FLOW_CLOSED_CLIENT, FLB_FLOW_CLOSED_BACKEND}) {
        const Connection c = brought_to(closed);
        play({c.there("RST", c.request_data(tcp_rst)), c.back("RST", c.answer_data(tcp_rst))});
        EXPECT_EQ(state(c), closed);
    }
}

// Or a forger fills the table with what may not be replaced, by a SYN and a RST each.
TEST_P(States, a_rst_of_a_client_that_is_not_proven_proves_nothing)
{
    serve(1);
    const Connection c{*this};
    Frame rst = c.request_data(tcp_rst | tcp_ack);
    rst.ack = 77;
    play({c.there("SYN", c.syn()), c.there("RST", rst)});
    EXPECT_FALSE(is_proven(c));
    play({c.back("SYN-ACK", c.syn_ack()), c.there("RST", rst)});
    EXPECT_FALSE(is_proven(c));
    EXPECT_EQ(reply_state(c), FLB_FLOW_REPLY_NEW);
}

TEST_P(States, a_refused_connection_leaves_nothing_that_may_not_be_replaced)
{
    serve(1);
    const Connection c{*this};
    play({c.there("SYN", c.syn()), c.back("RST", c.answer_data(tcp_rst | tcp_ack))});
    EXPECT_TRUE(!is_proven(c) || state(c) == FLB_FLOW_CLOSED_BACKEND || state(c) == FLB_FLOW_CLOSED_CLIENT) << state(c);
    Connection again = c;
    again.outside_port++;
    play({again.there("SYN anew", again.syn()), again.back("SYN-ACK", again.syn_ack())});
}

TEST_P(States, a_syn_on_a_closing_tuple_starts_anew_with_another_port)
{
    for (const unsigned closing :
        {FLB_FLOW_FIN_CLIENT, FLB_FLOW_FIN_BACKEND, FLB_FLOW_CLOSED_CLIENT, FLB_FLOW_CLOSED_BACKEND, FLB_FLOW_RESET}) {
        const Connection old = brought_to(closing);
        Connection c = old;
        c.outside_port++;
        play(c.handshake());
        EXPECT_EQ(state(c), FLB_FLOW_ESTABLISHED);
        EXPECT_EQ(plane().counters(1).connections, 2u);
        const Outcome late = run(old.answer_data(tcp_ack, pattern(50)));
        EXPECT_NE(late.verdict, sent(backends(), clients()))
            << "a late segment of the old connection, state " << closing;
        play({c.back("data", c.answer_data(tcp_ack, pattern(51)))});
        expect_sound_table();
    }
}

TEST_P(States, a_syn_on_a_closing_tuple_of_dnat_starts_anew)
{
    for (const unsigned closing :
        {FLB_FLOW_FIN_CLIENT, FLB_FLOW_FIN_BACKEND, FLB_FLOW_CLOSED_CLIENT, FLB_FLOW_CLOSED_BACKEND, FLB_FLOW_RESET}) {
        const Connection c = brought_to(closing, FLB_DNAT);
        play(c.handshake());
        EXPECT_EQ(state(c), FLB_FLOW_ESTABLISHED) << closing;
        expect_sound_table();
    }
}

TEST_P(States, a_syn_on_an_open_connection_changes_nothing)
{
    const Connection c = established();
    play({c.there("SYN", c.syn()), c.back("challenge ACK", c.answer_data(tcp_ack))});
    EXPECT_EQ(state(c), FLB_FLOW_ESTABLISHED);
    EXPECT_EQ(plane().counters(1).connections, 1u);
}

TEST_P(States, udp_is_new_then_replied_then_a_stream)
{
    for (const flb_forward forward : {FLB_SNAT, FLB_DNAT}) {
        use({});
        serve(1, {.forward = forward});
        const Connection c = connection(forward, protocol_udp);
        play({c.there("question", c.request()), c.there("question again", c.request())});
        EXPECT_EQ(state(c), FLB_FLOW_UDP_NEW);
        play({c.back("answer", c.answer()), c.back("answer again", c.answer())});
        EXPECT_EQ(state(c), FLB_FLOW_UDP_REPLIED);
        EXPECT_EQ(reply_state(c), FLB_FLOW_REPLY_NEW);
        play({c.there("second question", c.request())});
        EXPECT_EQ(state(c), FLB_FLOW_UDP_STREAM);
        EXPECT_EQ(reply_state(c), FLB_FLOW_REPLY);
        play({c.back("answer", c.answer()), c.there("third question", c.request())});
        EXPECT_EQ(state(c), FLB_FLOW_UDP_STREAM);
    }
}

// Who can send with a client's address and a backend's fills the table with proven connections otherwise.
TEST_P(States, an_answer_that_comes_from_where_the_client_is_proves_nothing)
{
    for (const bool one_armed : {false, true}) {
        for (const bool any_side : {false, true}) {
            for (const std::uint8_t protocol : {protocol_tcp, protocol_udp}) {
                use({});
                serve(1);
                if (one_armed)
                    backend(1).hop = hop(backend_mac(), clients());
                if (any_side)
                    backend(1).flags |= FLB_BACKEND_ANY_SIDE;
                const Connection c{.h = *this, .protocol = protocol};
                (void)run(protocol == protocol_tcp ? c.syn() : c.request());
                Frame forged = protocol == protocol_tcp ? c.syn_ack() : c.answer();
                forged.to = clients().mac;
                forged.from = client_mac();
                EXPECT_EQ(run(forged).verdict, sent(clients(), clients())) << "it is forwarded";
                (void)run(protocol == protocol_tcp ? c.first_ack() : c.request());
                EXPECT_EQ(is_proven(c), one_armed || any_side);
            }
        }
    }
}

TEST_P(States, a_priority_in_the_tag_makes_no_other_side)
{
    serve(1);
    backend(1).hop = hop(backend_mac(), clients(), {{.tci = 5}});
    Connection c{*this};
    c.client_tags = {{.tci = 0x6005}};
    (void)run(c.syn());
    Frame answer = c.syn_ack();
    answer.to = clients().mac;
    answer.from = client_mac(); // one router for all
    answer.tags = {{.tci = 0x6005}};
    (void)run(answer);
    EXPECT_EQ(state(c), FLB_FLOW_SYN_ACK);
}

TEST_P(States, a_connection_from_midstream_is_proven_by_the_backend)
{
    for (const std::uint8_t flags : {tcp_ack, std::uint8_t{tcp_fin | tcp_ack}}) {
        use({});
        serve(1, {.forward = FLB_DNAT});
        const Connection c = connection(FLB_DNAT);
        play({c.there("data", c.request_data(tcp_ack, pattern(9)))});
        EXPECT_EQ(state(c), FLB_FLOW_MIDSTREAM);
        play({c.there("more data", c.request_data(tcp_ack, pattern(9)))});
        EXPECT_EQ(state(c), FLB_FLOW_MIDSTREAM);
        play({c.back("answer", c.answer_data(flags))});
        EXPECT_EQ(state(c), flags == tcp_ack ? FLB_FLOW_ESTABLISHED : FLB_FLOW_FIN_BACKEND);
        EXPECT_EQ(reply_state(c), FLB_FLOW_REPLY) << "FIN: " << (flags != tcp_ack);
    }
    use({});
    serve(1, {.forward = FLB_DNAT});
    const Connection c = connection(FLB_DNAT);
    play({c.there("data", c.request_data(tcp_ack, pattern(9))),
        c.back("RST: it does not know it either", c.answer_data(tcp_rst))});
    EXPECT_NE(reply_state(c), FLB_FLOW_REPLY);
}

} // namespace
} // namespace featherlb::packet
