// SPDX-License-Identifier: Apache-2.0
// Connections that an operator has ended (FLB_FLOW_KILLED): both sides are answered with RST, and an RST goes through.
#include "one_way.h"

namespace featherlb::packet {
namespace {

class Killed : public Harness {
protected:
    // What the daemon does to the two entries: kernel/flow_walk.h.
    void kill(const Connection& c)
    {
        const Entry owner = find(c.syn());
        const Entry reply = reply_of(owner);
        owner.set_state(FLB_FLOW_KILLED);
        reply.grow_old(1);
        plane().loads()[c.backend].open--;
    }
    Connection killed(flb_forward forward)
    {
        use({});
        serve(1, {.forward = forward});
        Connection c = connection(forward);
        play(c.handshake());
        kill(c);
        return c;
    }
};
INSTANTIATE_TEST_SUITE_P(hooks, Killed, every_way, name_of);

TEST_P(Killed, both_sides_are_answered_with_rst_again_and_again)
{
    for (const flb_forward forward : {FLB_SNAT, FLB_DNAT}) {
        for (const std::size_t length : {0, 5, 1400}) {
            const Connection c = killed(forward);
            for (int i = 0; i < 3; i++) {
                expect_reset("the client", c.request_data(tcp_ack, pattern(length)), FLB_DROP_killed);
                expect_reset("the backend", c.answer_data(tcp_ack, pattern(length)), FLB_DROP_killed);
            }
            expect_reset("the client's FIN", c.request_data(tcp_fin | tcp_ack), FLB_DROP_killed);
            expect_reset("the backend's FIN", c.answer_data(tcp_fin | tcp_ack), FLB_DROP_killed);
            EXPECT_EQ(find(c.syn()).state(), FLB_FLOW_KILLED);
        }
    }
}

TEST_P(Killed, a_connection_that_is_not_proven_too)
{
    for (const flb_forward forward : {FLB_SNAT, FLB_DNAT}) {
        use({});
        serve(1, {.forward = forward});
        const Connection c = connection(forward);
        play({c.there("SYN", c.syn()), c.back("SYN-ACK", c.syn_ack())});
        kill(c);
        expect_reset("SYN-ACK", c.syn_ack(), FLB_DROP_killed);
        expect_reset("ACK", c.first_ack(), FLB_DROP_killed);
    }
}

TEST_P(Killed, an_rst_of_either_side_goes_through_and_changes_nothing)
{
    for (const flb_forward forward : {FLB_SNAT, FLB_DNAT}) {
        const Connection c = killed(forward);
        play({c.there("RST", c.request_data(tcp_rst)), c.back("RST", c.answer_data(tcp_rst | tcp_ack))});
        EXPECT_EQ(find(c.syn()).state(), FLB_FLOW_KILLED);
        expect_reset("and then", c.request_data(tcp_ack), FLB_DROP_killed);
    }
}

TEST_P(Killed, a_syn_begins_anew)
{
    for (const flb_forward forward : {FLB_SNAT, FLB_DNAT}) {
        const Connection old = killed(forward);
        Connection c = old;
        c.outside_port = static_cast<std::uint16_t>(c.outside_port + (forward == FLB_SNAT ? 1 : 0));
        play(c.handshake());
        EXPECT_EQ(find(c.syn()).state(), FLB_FLOW_ESTABLISHED);
        expect_sound_table();
    }
}

TEST_P(Killed, the_entry_expires)
{
    const Connection c = killed(FLB_SNAT);
    const Entry owner = find(c.syn());
    owner.grow_old(11);
    expect_reset("of no flow", c.request_data(tcp_ack), FLB_DROP_no_flow);
}

TEST_P(Killed, others_go_on)
{
    const Connection c = killed(FLB_SNAT);
    Connection other = c;
    other.client_port++;
    other.outside_port++;
    play(other.handshake());
    expect_reset("the client", c.request_data(tcp_ack), FLB_DROP_killed);
    play({other.there("data", other.request_data(tcp_ack, pattern(9))),
        other.back("data", other.answer_data(tcp_ack, pattern(9)))});
}

class KilledOneWay : public OneWay {};
INSTANTIATE_TEST_SUITE_P(hooks, KilledOneWay, every_way, name_of);

TEST_P(KilledOneWay, the_client_is_answered_and_its_rst_reaches_the_backend)
{
    for (const OneWayMode& mode : modes()) {
        use({});
        serve_one_way(mode, {1, 2});
        expect_there("SYN", mode, syn());
        find(syn()).set_state(FLB_FLOW_KILLED);
        plane().loads()[1].open--;
        expect_reset("segment", segment(tcp_ack, pattern(7)), FLB_DROP_killed);
        expect_there("RST", mode, segment(tcp_rst));
        EXPECT_EQ(find(syn()).state(), FLB_FLOW_KILLED);
        expect_there("SYN, to the next backend", mode, syn(), 2);
        EXPECT_EQ(find(syn()).state(), FLB_FLOW_SYN);
    }
}

} // namespace
} // namespace featherlb::packet
