// SPDX-License-Identifier: Apache-2.0
// A SYN that its backend has not answered goes to another one when the client repeats it.
#include <map>

#include "harness.h"

namespace featherlb::packet {
namespace {

class Failover : public Harness {
protected:
    static constexpr std::uint32_t pause_ = Plane::hz / 4; // jiffies that make a SYN a repeated one

    void serve_backends(flb_forward forward, const std::vector<unsigned>& numbers = {1, 2})
    {
        use({});
        serve(1, {.forward = forward, .backends = numbers});
        service().flags |= FLB_SERVICE_SYN_FAILOVER;
    }
    // The connection as it is with another backend.
    [[nodiscard]] static Connection with_backend(Connection c, unsigned backend)
    {
        c.backend = backend;
        return c;
    }
    // The client waits before it sends again.
    void wait(const Connection& c, std::uint32_t jiffies = pause_) { find(c.syn()).flow->aux -= jiffies; }
    // SYN to backend 1, again to backend 2. Gives the connection with backend 2.
    Connection moved(const Connection& c)
    {
        play({c.there("SYN", c.syn())});
        wait(c);
        Connection other = with_backend(c, 2);
        play({other.there("SYN again", c.syn())});
        return other;
    }
};
INSTANTIATE_TEST_SUITE_P(hooks, Failover, every_way, name_of);

TEST_P(Failover, a_repeated_syn_goes_to_another_backend_and_the_connection_goes_on_there)
{
    for (const flb_forward forward : {FLB_SNAT, FLB_DNAT}) {
        serve_backends(forward);
        const Connection c = connection(forward), other = moved(c);
        EXPECT_EQ(find(c.syn()).state(), FLB_FLOW_SYN);
        EXPECT_EQ(find(c.answer()).state(), FLB_FLOW_SUPERSEDED);
        EXPECT_EQ(entries().size(), 3u);
        play({other.back("SYN-ACK", other.syn_ack()), other.there("ACK", c.first_ack()),
            other.there("data", c.request_data(tcp_ack, pattern(30))),
            other.back("data", other.answer_data(tcp_ack, pattern(40)))});
        EXPECT_EQ(find(c.syn()).state(), FLB_FLOW_ESTABLISHED);
        EXPECT_EQ(plane().counters(1).connections, 1u);
        EXPECT_EQ(plane().counters(2).connections, 1u);
        expect_sound_table();
    }
}

TEST_P(Failover, what_the_first_backend_still_sends_is_dropped)
{
    for (const flb_forward forward : {FLB_SNAT, FLB_DNAT}) {
        serve_backends(forward);
        const Connection c = connection(forward), other = moved(c);
        for (int round = 0; round < 2; round++) {
            expect_drop("SYN-ACK", c.syn_ack(), FLB_DROP_superseded);
            expect_drop("data", c.answer_data(tcp_ack, pattern(9)), FLB_DROP_superseded);
            expect_drop("RST", c.answer_data(tcp_rst | tcp_ack), FLB_DROP_superseded);
            EXPECT_EQ(find(c.syn()).state(), round == 0 ? FLB_FLOW_SYN : FLB_FLOW_ESTABLISHED);
            if (round == 0)
                play({other.back("SYN-ACK", other.syn_ack()), other.there("ACK", c.first_ack())});
        }
        EXPECT_EQ(plane().marks()[1].refused, 0u);
    }
}

TEST_P(Failover, a_syn_that_comes_twice_at_once_stays_with_its_backend)
{
    for (const flb_forward forward : {FLB_SNAT, FLB_DNAT}) {
        serve_backends(forward);
        const Connection c = connection(forward);
        play({c.there("SYN", c.syn()), c.there("doubled", c.syn())});
        wait(c, pause_ / 2);
        play({c.there("a little later", c.syn()), c.back("SYN-ACK", c.syn_ack())});
        EXPECT_EQ(entries().size(), 2u);
    }
}

TEST_P(Failover, a_syn_that_was_answered_stays_with_its_backend)
{
    for (const flb_forward forward : {FLB_SNAT, FLB_DNAT}) {
        serve_backends(forward);
        const Connection c = connection(forward);
        play({c.there("SYN", c.syn()), c.back("SYN-ACK", c.syn_ack()), c.there("SYN again", c.syn()),
            c.there("ACK", c.first_ack()), c.there("SYN once more", c.syn())});
        EXPECT_EQ(find(c.syn()).state(), FLB_FLOW_ESTABLISHED);
    }
}

TEST_P(Failover, it_can_be_switched_off)
{
    serve_backends(FLB_SNAT);
    service().flags &= ~FLB_SERVICE_SYN_FAILOVER;
    const Connection c{*this};
    play({c.there("SYN", c.syn())});
    wait(c, Plane::hz);
    play({c.there("SYN again", c.syn())});
}

TEST_P(Failover, a_backend_without_another_keeps_its_syn)
{
    for (const flb_forward forward : {FLB_SNAT, FLB_DNAT}) {
        serve_backends(forward, {1, 1, 1});
        const Connection c = connection(forward);
        play({c.there("SYN", c.syn())});
        wait(c);
        play({c.there("SYN again", c.syn()), c.back("SYN-ACK", c.syn_ack()), c.there("ACK", c.first_ack())});
        EXPECT_EQ(entries().size(), 2u);
    }
}

TEST_P(Failover, a_third_syn_may_go_back_to_the_first_backend)
{
    for (const flb_forward forward : {FLB_SNAT, FLB_DNAT}) {
        serve_backends(forward);
        Connection c = connection(forward);
        const Connection other = moved(c);
        wait(c);
        if (forward == FLB_SNAT)
            c.outside_port++; // the first one's port rests
        play({c.there("third SYN", c.syn())});
        expect_drop("the second backend's answer", other.syn_ack(), FLB_DROP_superseded);
        play({c.back("SYN-ACK", c.syn_ack()), c.there("ACK", c.first_ack())});
        EXPECT_EQ(find(c.answer()).state(), FLB_FLOW_REPLY);
        expect_sound_table();
    }
}

TEST_P(Failover, the_port_that_a_syn_left_rests_while_there_are_others)
{
    serve_backends(FLB_SNAT);
    set_ports(first_snat_port, 2, 1);
    moved(connection());
    put_slots(1, {1});
    plane().port_cursors()[1] = 0;
    for (unsigned n = 1; n <= 2; n++) {
        Connection next = connection();
        next.client = client(n);
        next.outside_port = static_cast<std::uint16_t>(first_snat_port + (n == 1 ? 1 : 0));
        play({next.there("SYN", next.syn())});
        EXPECT_EQ(find(next.answer()).state(), FLB_FLOW_REPLY_NEW) << "the last free port is taken in the end";
    }
    expect_sound_table();
}

TEST_P(Failover, a_superseded_entry_is_replaced_like_any_that_is_not_proven)
{
    use({1, 1});
    serve(1, {.forward = FLB_DNAT, .backends = {1, 2}});
    service().flags |= FLB_SERVICE_SYN_FAILOVER;
    const Connection c = connection(FLB_DNAT), other = moved(c);
    play({other.back("SYN-ACK", other.syn_ack()), other.there("ACK", c.first_ack())});
    EXPECT_EQ(entries().size(), 3u);
    put_slots(1, {1});
    Connection next = c;
    next.client = next.outside = client(1);
    play({next.there("a connection that needs the room", next.syn())});
    EXPECT_EQ(entries().size(), 4u);
    EXPECT_FALSE(find(c.answer()).exists());
    play({other.there("the established one goes on", c.request_data(tcp_ack, pattern(5)))});
    expect_sound_table();
}

TEST_P(Failover, all_other_backends_take_their_shares)
{
    serve_backends(FLB_DNAT, {1, 2, 3, 3, 1, 2, 3, 3});
    std::map<unsigned, double> got;
    constexpr unsigned tries = 600;
    for (unsigned n = 0; n < tries; n++) {
        plane().services()[1].pick = FLB_PICK_TURN;
        put_slots(1, {1});
        Frame syn = connection(FLB_DNAT).syn();
        syn.sport = static_cast<std::uint16_t>(1024 + n);
        run(syn);
        put_slots(1, {1, 2, 3, 3});
        find(syn).flow->aux -= pause_;
        got[run(syn).bytes.at(5)]++; // last byte of backend_mac
    }
    EXPECT_EQ(got.count(1), 0u);
    EXPECT_NEAR(got[2], tries / 3.0, 5 * 12); // five standard deviations
    EXPECT_NEAR(got[3], tries * 2 / 3.0, 5 * 12);
}

} // namespace
} // namespace featherlb::packet
