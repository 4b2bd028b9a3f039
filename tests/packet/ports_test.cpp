// SPDX-License-Identifier: Apache-2.0
// Which source address and port a connection through snat gets.
#include <set>

#include "harness.h"

namespace featherlb::packet {
namespace {

using Pair = std::pair<IpAddress, std::uint16_t>;

class Ports : public Harness {
protected:
    // Opens the n-th connection (proven unless the pool is empty) and tells as whom the backend sees it.
    std::optional<Connection> open(unsigned n, unsigned service = 1, unsigned backend_number = 1)
    {
        Connection c{.h = *this, .service = service, .backend = backend_number, .client = client(n)};
        if (run(c.syn()).verdict == Verdict::drop)
            return std::nullopt;
        const Entry owner = find(c.syn());
        c.outside = owner.new_source;
        c.outside_port = owner.new_sport;
        play({c.back("SYN-ACK", c.syn_ack()), c.there("ACK", c.first_ack())});
        return c;
    }
    void close(const Connection& c)
    {
        play({c.back("FIN", c.answer_data(tcp_fin | tcp_ack)), c.there("FIN", c.request_data(tcp_fin | tcp_ack))});
    }
    static Pair pair_of(const Connection& c) { return {c.outside, c.outside_port}; }
};
INSTANTIATE_TEST_SUITE_P(hooks, Ports, every_way, name_of);

TEST_P(Ports, the_rotation_visits_every_pair_before_it_comes_back)
{
    serve(1);
    put_snat_addresses(1, 0, 3);
    for (const std::uint32_t stride : {1u, 7u, 2654435761u}) {
        set_ports(30000, 10, stride);
        forget_flows();
        std::set<Pair> seen;
        for (unsigned n = 0; n < 30; n++) {
            const auto c = open(n);
            ASSERT_TRUE(c);
            EXPECT_TRUE(seen.insert(pair_of(*c)).second) << n;
            EXPECT_GE(c->outside_port, 30000);
            EXPECT_LT(c->outside_port, 30010);
        }
        EXPECT_EQ(seen.size(), 30u);
        expect_drop("one more than there are pairs", Connection{.h = *this, .client = client(31)}.syn(),
            FLB_DROP_ports_exhausted);
        expect_sound_table();
    }
}

TEST_P(Ports, the_highest_port_is_used_and_none_beyond)
{
    serve(1);
    set_ports(65534, 2, 1);
    EXPECT_EQ(open(0)->outside_port, 65534);
    EXPECT_EQ(open(1)->outside_port, 65535);
    EXPECT_FALSE(open(2));
}

TEST_P(Ports, a_port_in_use_is_never_handed_out)
{
    serve(1);
    set_ports(first_snat_port, 8, 1);
    std::set<Pair> in_use;
    for (unsigned n = 0; n < 4; n++)
        in_use.insert(pair_of(*open(n)));
    for (unsigned n = 4; n < 300; n++) {
        const auto c = open(n);
        ASSERT_TRUE(c) << n;
        EXPECT_FALSE(in_use.contains(pair_of(*c))) << n;
        close(*c);
    }
    for (unsigned n = 0; n < 4; n++) {
        const Entry owner = find(Connection{.h = *this, .client = client(n)}.syn());
        EXPECT_TRUE(reply_of(owner).exists());
    }
}

TEST_P(Ports, a_port_rests_after_its_connection_has_closed)
{
    for (const bool backend_first : {true, false}) {
        use({});
        serve(1);
        set_ports(first_snat_port, 3, 1);
        const Connection c = *open(0);
        if (backend_first)
            close(c);
        else
            play({c.there("FIN", c.request_data(tcp_fin | tcp_ack)), c.back("FIN", c.answer_data(tcp_fin | tcp_ack))});
        plane().port_cursors()[1] = 0; // as after a whole rotation
        EXPECT_EQ(open(1)->outside_port, first_snat_port + 1) << "the one that rests is passed over";
        EXPECT_EQ(open(2)->outside_port, first_snat_port + 2);
        EXPECT_EQ(open(3)->outside_port, first_snat_port) << "before nothing is left, it is taken";
    }
}

// All are at rest: the next one is taken that closed more than two seconds ago.
TEST_P(Ports, a_port_that_has_just_closed_is_passed_over_longer)
{
    serve(1);
    set_ports(first_snat_port, 6, 1);
    std::vector<Connection> closed;
    for (unsigned n = 0; n < 6; n++) {
        closed.push_back(*open(n));
        close(closed.back());
    }
    find(closed[4].request()).grow_old(3);
    plane().port_cursors()[1] = 0; // as after a whole rotation
    EXPECT_EQ(open(10)->outside_port, first_snat_port + 4);
}

// Connections that were opened in a row and live long lie in a row in the rotation, too.
TEST_P(Ports, a_long_row_of_ports_in_use_does_not_hide_the_free_ones_behind_it)
{
    serve(1);
    for (const unsigned in_use : {17u, 100u, 900u}) {
        set_ports(first_snat_port, 1000, 7);
        forget_flows();
        std::set<Pair> seen;
        for (unsigned n = 0; n < in_use; n++)
            seen.insert(pair_of(*open(n)));
        for (unsigned lap = 0; lap < 10; lap++) {
            plane().port_cursors()[1] = std::uint64_t{1000} * lap; // as after a whole rotation
            const auto c = open(1000 + lap);
            ASSERT_TRUE(c) << in_use << " in use";
            EXPECT_TRUE(seen.insert(pair_of(*c)).second);
        }
    }
    expect_sound_table();
}

TEST_P(Ports, a_port_has_rested_when_its_connection_has_expired)
{
    serve(1);
    const Connection c = *open(0);
    close(c);
    find(c.request()).grow_old(11);
    plane().port_cursors()[1] = 0;
    EXPECT_EQ(open(1)->outside_port, first_snat_port);
}

TEST_P(Ports, a_client_that_comes_back_gets_another_port)
{
    serve(1);
    std::set<Pair> seen;
    for (int i = 0; i < 50; i++) {
        const auto c = open(0);
        ASSERT_TRUE(c);
        EXPECT_TRUE(seen.insert(pair_of(*c)).second) << i;
        close(*c);
    }
}

TEST_P(Ports, backends_share_addresses_and_ports)
{
    serve(1, {.backends = {1}});
    serve(2, {.backends = {2}});
    set_ports(first_snat_port, 1, 1);
    const auto one = open(0, 1, 1), two = open(1, 2, 2);
    ASSERT_TRUE(one && two);
    EXPECT_EQ(pair_of(*one), pair_of(*two));
    play({one->back("data", one->answer_data(tcp_ack, pattern(1))),
        two->back("data", two->answer_data(tcp_ack, pattern(2)))});
    EXPECT_FALSE(open(3, 1, 1));
}

TEST_P(Ports, clients_with_the_same_port_do_not_collide)
{
    serve(1);
    std::set<Pair> seen;
    for (unsigned n = 0; n < 200; n++)
        EXPECT_TRUE(seen.insert(pair_of(*open(n))).second);
    EXPECT_EQ(entries().size(), 400u);
    expect_sound_table();
}

// Or a SYN flood of as many packets as there are ports keeps everybody out for half a minute.
TEST_P(Ports, abandoned_handshakes_do_not_keep_the_ports)
{
    serve(1);
    constexpr unsigned ports = 40, proven = 8;
    set_ports(first_snat_port, ports, 1);
    std::vector<Connection> old;
    for (unsigned n = 0; n < proven; n++)
        old.push_back(*open(n));
    for (unsigned n = 0; n < 1000; n++)
        EXPECT_EQ(run(Connection{.h = *this, .client = client(100 + n)}.syn()).verdict, sent(clients(), backends()));
    for (unsigned n = 0; n < 8; n++) {
        const auto c = open(50 + n);
        ASSERT_TRUE(c);
        old.push_back(*c);
    }
    EXPECT_EQ(all_drops(), 0u);
    std::set<Pair> seen;
    for (const Connection& c : old) {
        EXPECT_TRUE(seen.insert(pair_of(c)).second);
        play(
            {c.there("data", c.request_data(tcp_ack, pattern(3))), c.back("data", c.answer_data(tcp_ack, pattern(4)))});
    }
}

// So a handshake has the time in which all ports are taken once.
TEST_P(Ports, the_oldest_abandoned_handshake_gives_way_first)
{
    serve(1);
    constexpr unsigned ports = 40;
    set_ports(first_snat_port, ports, 7);
    unsigned stranger_number = 100;
    const auto flood = [&](unsigned count) {
        for (unsigned n = 0; n < count; n++)
            (void)run(Connection{.h = *this, .client = client(stranger_number++)}.syn());
    };
    flood(10 * ports);
    Connection c{.h = *this, .client = client(1)};
    EXPECT_EQ(run(c.syn()).verdict, sent(clients(), backends()));
    c.outside_port = find(c.syn()).new_sport;
    flood(ports - 1);
    play({c.back("SYN-ACK", c.syn_ack()), c.there("ACK", c.first_ack())});
    flood(10 * ports);
    play({c.there("data", c.request_data(tcp_ack, pattern(3))), c.back("data", c.answer_data(tcp_ack, pattern(4)))});
    EXPECT_EQ(plane().drops(FLB_DROP_ports_exhausted), 0u);
}

TEST_P(Ports, a_handshake_that_lost_its_port_proves_nothing_and_begins_anew)
{
    for (const bool with_syn_ack : {true, false}) {
        use({});
        serve(1);
        set_ports(first_snat_port, 1, 1);
        const Connection c{*this}, other{.h = *this, .client = client(1)};
        play({c.there("SYN", c.syn())});
        if (with_syn_ack)
            play({c.back("SYN-ACK", c.syn_ack())});
        play({other.there("another client takes the port", other.syn()), other.back("SYN-ACK", other.syn_ack())});
        expect_reset("ACK", c.first_ack());
        play({other.there("ACK", other.first_ack()), other.back("data", other.answer_data(tcp_ack, pattern(5)))});
        expect_drop("SYN: the port is a proven connection's now", c.syn(), FLB_DROP_ports_exhausted);
        expect_sound_table();
    }
}

TEST_P(Ports, unproven_connections_keep_their_ports_while_there_are_others)
{
    serve(1);
    set_ports(first_snat_port, 200, 1);
    std::set<std::uint16_t> seen;
    for (unsigned n = 0; n < 200; n++) {
        const Connection c{.h = *this, .client = client(n)};
        (void)run(c.syn());
        EXPECT_TRUE(seen.insert(find(c.syn()).new_sport).second) << n;
    }
    expect_sound_table();
}

TEST_P(Ports, an_address_pool_that_is_not_there_yet_is_named)
{
    serve(1);
    backend(1).snat_count = 0;
    expect_drop("SYN", Connection{*this}.syn(), FLB_DROP_backend_unresolved);
    EXPECT_EQ(entries().size(), 0u);
}

} // namespace
} // namespace featherlb::packet
