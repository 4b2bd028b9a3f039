// SPDX-License-Identifier: Apache-2.0
// What gives way when the flow table is full. Most tests have a table of one set: four entries, two connections.
#include <algorithm>

#include "harness.h"

namespace featherlb::packet {
namespace {

class Replacement : public Harness {
protected:
    void SetUp() override
    {
        Harness::SetUp();
        use({1, 1});
        serve(1);
    }
    // The n-th connection through service 1.
    [[nodiscard]] Connection nth(unsigned n, flb_forward forward = FLB_SNAT, std::uint8_t protocol = protocol_tcp) const
    {
        Connection c = connection(forward, protocol);
        c.client = client(n);
        c.outside_port = static_cast<std::uint16_t>(first_snat_port + n);
        return forward == FLB_SNAT ? c : c.kept();
    }
    void close(const Connection& c)
    {
        play({c.there("FIN", c.request_data(tcp_fin | tcp_ack)), c.back("FIN", c.answer_data(tcp_fin | tcp_ack))});
    }
    void age(const Connection& c, std::uint32_t ticks)
    {
        const Entry owner = find(c.request());
        reply_of(owner).grow_old(ticks);
        owner.grow_old(ticks);
    }
    [[nodiscard]] bool is_stored(const Connection& c) const
    {
        const Entry owner = find(c.request());
        return owner.exists() && reply_of(owner).exists();
    }
};
INSTANTIATE_TEST_SUITE_P(hooks, Replacement, every_way, name_of);

TEST_P(Replacement, a_set_full_of_unproven_flows_gives_up_its_oldest)
{
    for (const unsigned oldest : {0u, 1u}) {
        use({1, 1});
        serve(1);
        play({nth(0).there("SYN", nth(0).syn()), nth(1).there("SYN", nth(1).syn())});
        age(nth(oldest), 5);
        age(nth(1 - oldest), 4);
        play(nth(2).handshake());
        EXPECT_FALSE(find(nth(oldest).request()).exists());
        EXPECT_TRUE(is_stored(nth(1 - oldest)));
        EXPECT_TRUE(is_stored(nth(2)));
        play({nth(1 - oldest).back("SYN-ACK", nth(1 - oldest).syn_ack())});
    }
}

TEST_P(Replacement, a_flood_of_syns_leaves_proven_connections_alone)
{
    play(nth(0).handshake());
    for (unsigned n = 1; n < 200; n++)
        play({nth(n).there("SYN", nth(n).syn())});
    play({nth(0).back("data", nth(0).answer_data(tcp_ack, pattern(5))),
        nth(0).there("data", nth(0).request_data(tcp_ack, pattern(6)))});
    EXPECT_EQ(entries().size(), 4u);
}

TEST_P(Replacement, a_set_full_of_proven_flows_refuses_by_name)
{
    play(nth(0).handshake());
    play(nth(1).handshake());
    age(nth(0), 7000);
    expect_drop("SYN", nth(2).syn(), FLB_DROP_table_full);
    expect_drop("UDP", nth(2, FLB_SNAT, protocol_udp).request(), FLB_DROP_table_full);
    EXPECT_TRUE(is_stored(nth(0)) && is_stored(nth(1)));
    expect_sound_table();
}

TEST_P(Replacement, dnat_forwards_without_storing_where_there_is_no_room)
{
    serve(1, {.forward = FLB_DNAT});
    play(nth(0, FLB_DNAT).handshake());
    play(nth(1, FLB_DNAT).handshake());
    const Connection udp = nth(2, FLB_DNAT, protocol_udp), tcp = nth(2, FLB_DNAT);
    play({udp.there("question", udp.request(0, pattern(9))), tcp.there("SYN", tcp.syn())});
    EXPECT_FALSE(find(udp.request()).exists());
    EXPECT_FALSE(find(tcp.request()).exists());
    expect_sound_table();
}

// Another processor has published the reply's entry of this very connection, and will publish the owner's next.
TEST_P(Replacement, a_reply_whose_owner_is_about_to_come_is_left)
{
    use({});
    serve(1, {.forward = FLB_DNAT});
    const Connection c = nth(0, FLB_DNAT);
    play({c.there("SYN", c.syn())});
    const Entry owner = find(c.syn());
    const Entry reply = reply_of(owner);
    const std::uint32_t generation = reply.generation();
    owner.set_state(FLB_FLOW_BUSY);
    play({c.there("the same", c.syn())});
    EXPECT_EQ(reply.state(), FLB_FLOW_REPLY_NEW);
    EXPECT_EQ(reply.generation(), generation);
    EXPECT_EQ(plane().counters(1).connections, 1u);
    owner.set_state(FLB_FLOW_SYN);
    expect_sound_table();
}

TEST_P(Replacement, a_closed_connection_gives_way_at_once)
{
    play(nth(0).handshake());
    play(nth(1).handshake());
    close(nth(1));
    play(nth(2).handshake());
    EXPECT_TRUE(is_stored(nth(0)));
    EXPECT_TRUE(is_stored(nth(2)));
}

// Its last ACK is on its way: under a flood it would be answered with RST, and the backend would wait for it.
TEST_P(Replacement, a_connection_that_has_just_closed_outlives_older_unproven_ones)
{
    for (const std::uint32_t rest : {0u, 2u}) {
        use({1, 1});
        serve(1);
        play(nth(0).handshake());
        close(nth(0));
        play({nth(1).there("SYN", nth(1).syn())});
        age(nth(0), rest);
        age(nth(1), 1);
        play({nth(2).there("SYN", nth(2).syn())});
        EXPECT_EQ(is_stored(nth(0)), rest == 0);
        EXPECT_EQ(is_stored(nth(1)), rest != 0);
        if (rest == 0)
            play({nth(0).there("last ACK", nth(0).request_data(tcp_ack)),
                nth(0).back("ACK", nth(0).answer_data(tcp_ack))});
    }
}

TEST_P(Replacement, an_expired_connection_gives_way)
{
    play(nth(0).handshake());
    play(nth(1).handshake());
    age(nth(0), 7201);
    play(nth(2).handshake());
    EXPECT_TRUE(is_stored(nth(1)));
    EXPECT_TRUE(is_stored(nth(2)));
}

TEST_P(Replacement, a_reset_connection_gives_way_after_its_short_time)
{
    play(nth(0).handshake());
    play(nth(1).handshake());
    play({nth(0).there("RST", nth(0).request_data(tcp_rst))});
    expect_drop("SYN", nth(2).syn(), FLB_DROP_table_full);
    ASSERT_TRUE(is_stored(nth(0))) << "a RST only shortens the time; it may be forged";
    age(nth(0), 3);
    play({nth(3).there("SYN", nth(3).syn())});
    EXPECT_TRUE(is_stored(nth(1)));
}

TEST_P(Replacement, an_empty_entry_is_taken_before_a_closed_one)
{
    for (unsigned n = 1; n < 30; n++) {
        use({1, 1});
        serve(1);
        play(nth(0).handshake());
        close(nth(0));
        Connection c = nth(n);
        c.outside_port = first_snat_port + 1;
        play({c.there("SYN", c.syn())});
        EXPECT_TRUE(is_stored(nth(0))) << n;
        ASSERT_FALSE(HasFailure());
    }
}

TEST_P(Replacement, an_expired_entry_is_taken_before_an_unproven_one)
{
    play({nth(0).there("SYN", nth(0).syn())});
    play(nth(1).handshake());
    age(nth(1), 7201);
    age(nth(0), 29);
    play({nth(2).there("SYN", nth(2).syn())});
    EXPECT_TRUE(is_stored(nth(0)));
}

TEST_P(Replacement, an_orphaned_reply_is_reused)
{
    play(nth(0).handshake());
    play(nth(1).handshake());
    find(nth(0).request()).set_state(FLB_FLOW_EMPTY); // as the sweeper frees it
    play({nth(2).there("SYN", nth(2).syn())});
    EXPECT_TRUE(is_stored(nth(2)));
    EXPECT_TRUE(is_stored(nth(1)));
}

TEST_P(Replacement, an_orphaned_reply_carries_nothing_to_the_client)
{
    play(nth(0).handshake());
    const Entry owner = find(nth(0).request()), reply = reply_of(owner);
    owner.set_state(FLB_FLOW_EMPTY);
    reply.grow_old(1);
    expect_pass("data", nth(0).answer_data(tcp_ack, pattern(5)));
}

// The owner's place has been taken by another connection: only its generation tells.
TEST_P(Replacement, a_reply_whose_owners_place_is_anothers_now_is_an_orphan)
{
    play(nth(0).handshake());
    const Entry owner = find(nth(0).request()), reply = reply_of(owner);
    owner.flow->ctl += 1ULL << FLB_CTL_GENERATION_SHIFT;
    reply.grow_old(1);
    expect_pass("data", nth(0).answer_data(tcp_ack, pattern(5)));
    EXPECT_EQ(owner.state(), FLB_FLOW_ESTABLISHED);
}

TEST_P(Replacement, entries_that_another_processor_has_claimed_are_left_alone)
{
    play({nth(0).there("SYN", nth(0).syn()), nth(1).there("SYN", nth(1).syn())});
    for (const Entry& entry : entries())
        entry.set_state(FLB_FLOW_BUSY);
    const std::vector<Entry> before = entries();
    expect_drop("SYN", nth(2).syn(), FLB_DROP_table_full);
    for (const Entry& entry : before)
        EXPECT_EQ(entry.state(), FLB_FLOW_BUSY);
}

// Only the client's packets touch such a flow, and the port is reserved by its reply's entry.
TEST_P(Replacement, the_reply_of_a_one_way_flow_is_not_taken_for_expired)
{
    const Connection log = nth(0, FLB_SNAT, protocol_udp);
    play({log.there("first", log.request())});
    for (int i = 0; i < 4; i++) {
        for (const Entry& entry : entries())
            entry.grow_old(20);
        play({log.there("one more", log.request(0, pattern(9)))});
    }
    for (unsigned n = 1; n < 30; n++) {
        Connection c = nth(n);
        play({c.there("SYN", c.syn())});
        ASSERT_TRUE(is_stored(log)) << n;
        const Entry other = find(c.request()), reply = reply_of(other);
        reply.set_state(FLB_FLOW_EMPTY);
        other.set_state(FLB_FLOW_EMPTY);
    }
    play({log.back("at last an answer", log.answer(0, pattern(7)))});
}

// The port of a connection whose reply's entry is gone may be another's by now.
TEST_P(Replacement, a_connection_that_lost_its_port_does_not_go_on_using_it)
{
    for (const std::uint8_t protocol : {protocol_tcp, protocol_udp}) {
        use({1, 1});
        serve(1);
        const Connection old = nth(0, FLB_SNAT, protocol);
        play({old.there("first packet", protocol == protocol_tcp ? old.syn() : old.request())});
        const Entry owner = find(old.request());
        reply_of(owner).set_state(FLB_FLOW_EMPTY);
        owner.grow_old(1);
        Connection now = old;
        now.outside_port = first_snat_port + 1;
        play({now.there("again", protocol == protocol_tcp ? now.syn() : now.request())});
        EXPECT_TRUE(is_stored(now));
        expect_sound_table();
    }
}

// ---- two candidate sets ------------------------------------------------------------------------------------

TEST_P(Replacement, a_key_finds_room_in_its_second_set_and_is_found_there)
{
    use({16, 16});
    serve(1);
    std::vector<Connection> stored;
    for (unsigned n = 0; n < 100; n++) {
        Connection c = nth(n);
        if (run(c.syn()).verdict != Verdict::redirect)
            continue;
        c.outside_port = find(c.syn()).new_sport;
        play({c.back("SYN-ACK", c.syn_ack()), c.there("ACK", c.first_ack())});
        stored.push_back(c);
    }
    EXPECT_GE(stored.size(), 26u); // of 32
    for (const Connection& c : stored)
        play(
            {c.there("data", c.request_data(tcp_ack, pattern(9))), c.back("data", c.answer_data(tcp_ack, pattern(8)))});
    expect_sound_table();
    unsigned marks = 0;
    for (std::uint32_t set = 0; set < 16; set++)
        marks += at(set * FLB_WAYS).ctl() & FLB_CTL_MARK ? 1 : 0;
    EXPECT_GT(marks, 0u);
    EXPECT_GT(plane().drops(FLB_DROP_table_full), 0u);
}

// The promise of two candidate sets: where one set alone refuses one connection in sixteen, two refuse practically
// none. Clients come in a row and ports in steps, as they do: a weak hash would crowd them.
TEST_P(Replacement, a_table_at_its_rated_load_refuses_practically_none)
{
    constexpr unsigned rated = 1024; // connections of two entries, in as many sets of four
    for (const std::uint32_t stride : {1u, 7u, 2654435761u}) {
        use({rated, rated});
        serve(1);
        set_ports(1024, 31744, stride);
        for (unsigned n = 0; n < rated; n++) {
            Connection c = nth(n);
            if (run(c.syn()).verdict != Verdict::redirect)
                continue;
            c.outside_port = find(c.syn()).new_sport;
            (void)run(c.syn_ack());
            (void)run(c.first_ack());
        }
        EXPECT_LE(plane().drops(FLB_DROP_table_full), rated * 2 / 100u) << "stride " << stride;
        expect_sound_table();
    }
}

TEST_P(Replacement, the_mark_outlives_the_entries_that_it_stands_on)
{
    play(nth(0).handshake());
    at(0).flow->ctl |= FLB_CTL_MARK;
    close(nth(0));
    for (unsigned n = 1; n < 10; n++)
        play({nth(n).there("SYN", nth(n).syn())});
    EXPECT_TRUE(at(0).ctl() & FLB_CTL_MARK);
    EXPECT_FALSE(at(0).ctl() & FLB_CTL_LOCK);
}

TEST_P(Replacement, each_use_of_an_entry_is_a_new_generation)
{
    play({nth(0).there("SYN", nth(0).syn())});
    const Entry owner = find(nth(0).request());
    const std::uint32_t before = owner.generation();
    owner.set_state(FLB_FLOW_EMPTY);
    for (unsigned n = 1; n < 8; n++)
        play({nth(n).there("SYN", nth(n).syn())});
    EXPECT_GT(owner.generation(), before);
    owner.flow->ctl |= ~0ULL << FLB_CTL_GENERATION_SHIFT; // the last one
    for (unsigned n = 8; n < 20; n++)
        play({nth(n).there("SYN", nth(n).syn())});
    EXPECT_LT(owner.generation(), 20u);
}

TEST_P(Replacement, a_set_that_another_processor_holds_is_contended)
{
    use({1, 1});
    serve(1);
    at(0).flow->ctl |= FLB_CTL_LOCK;
    expect_drop("SYN", nth(0).syn(), FLB_DROP_table_contended);
}

TEST_P(Replacement, dnat_does_without_the_table_while_another_processor_holds_the_set)
{
    use({1, 1});
    serve(1, {.forward = FLB_DNAT});
    at(0).flow->ctl |= FLB_CTL_LOCK;
    EXPECT_EQ(run(nth(0, FLB_DNAT).syn()).verdict, Verdict::redirect);
    EXPECT_FALSE(is_stored(nth(0, FLB_DNAT)));
    EXPECT_EQ(plane().drops(FLB_DROP_table_contended), 0u);
}

} // namespace
} // namespace featherlb::packet
