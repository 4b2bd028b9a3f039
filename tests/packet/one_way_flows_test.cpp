// SPDX-License-Identifier: Apache-2.0
// Flows of `dsr` and `ipip`: what can be told of a connection when only its client's packets are seen.
#include "one_way.h"

namespace featherlb::packet {
namespace {

class OneWayFlows : public OneWay {
protected:
    // A service over two backends, and a flow to the first one, in state SYN.
    void begin(const OneWayMode& mode)
    {
        use({});
        serve_one_way(mode, {1, 2});
        expect_there("SYN", mode, syn());
    }
    void establish(const OneWayMode& mode)
    {
        begin(mode);
        long_ago(syn());
        expect_there("ACK", mode, segment(tcp_ack));
        ASSERT_EQ(state(syn()), FLB_FLOW_ESTABLISHED);
    }
};
INSTANTIATE_TEST_SUITE_P(hooks, OneWayFlows, every_way, name_of);

TEST_P(OneWayFlows, a_segment_that_is_no_syn_and_comes_later_proves_a_connection)
{
    for (const OneWayMode& mode : modes()) {
        begin(mode);
        EXPECT_EQ(state(syn()), FLB_FLOW_SYN);
        long_ago(syn());
        expect_there("SYN again, to the same backend", mode, syn());
        EXPECT_EQ(state(syn()), FLB_FLOW_SYN) << "nothing is proven by a SYN";
        just_now(syn());
        expect_there("ACK in the same moment", mode, segment(tcp_ack));
        EXPECT_EQ(state(syn()), FLB_FLOW_SYN) << "as quickly as that nobody has an answer";
        find(syn()).flow->aux -= 1u << 21;
        long_ago(syn());
        expect_there("ACK", mode, segment(tcp_ack));
        EXPECT_EQ(state(syn()), FLB_FLOW_ESTABLISHED);
        EXPECT_EQ(entries().size(), 1u);
        EXPECT_EQ(plane().counters(1).connections, 1u);
        EXPECT_EQ(plane().counters(1).packets[0], 4u);
    }
}

TEST_P(OneWayFlows, a_connection_that_is_met_on_its_way_is_proven_by_its_second_segment)
{
    for (const OneWayMode& mode : modes()) {
        use({});
        serve_one_way(mode, {1}, FLB_PICK_HASH_5TUPLE);
        expect_there("first", mode, segment(tcp_ack, pattern(5)));
        EXPECT_EQ(state(syn()), FLB_FLOW_MIDSTREAM);
        just_now(syn());
        expect_there("of the same burst", mode, segment(tcp_ack, pattern(5)));
        EXPECT_EQ(state(syn()), FLB_FLOW_MIDSTREAM);
        find(syn()).flow->aux -= 1u << 31;
        expect_there("later", mode, segment(tcp_ack, pattern(5)));
        EXPECT_EQ(state(syn()), FLB_FLOW_ESTABLISHED);
        use({});
        serve_one_way(mode, {1}, FLB_PICK_HASH_5TUPLE);
        expect_there("an RST", mode, segment(tcp_rst));
        EXPECT_EQ(entries().size(), 0u) << "is sent on, but begins nothing";
    }
}

TEST_P(OneWayFlows, the_clients_fin_closes_and_a_syn_begins_anew)
{
    for (const OneWayMode& mode : modes()) {
        establish(mode);
        expect_there("FIN", mode, segment(tcp_fin | tcp_ack));
        EXPECT_EQ(state(syn()), FLB_FLOW_CLOSED_ONE_WAY);
        const Entry owner = find(syn());
        owner.grow_old(100);
        expect_there("ACK of what the backend still sends", mode, segment(tcp_ack));
        EXPECT_EQ(state(syn()), FLB_FLOW_CLOSED_ONE_WAY);
        EXPECT_EQ(owner.age(), 0u + find(syn()).age());
        expect_there("RST", mode, segment(tcp_rst));
        EXPECT_EQ(state(syn()), FLB_FLOW_CLOSED_ONE_WAY);
        const std::uint32_t generation = find(syn()).generation();
        expect_there("a new connection, to the next backend", mode, syn(), 2);
        EXPECT_EQ(state(syn()), FLB_FLOW_SYN);
        EXPECT_NE(find(syn()).generation(), generation);
        EXPECT_EQ(entries().size(), 1u);
    }
}

TEST_P(OneWayFlows, a_fin_closes_what_was_not_proven_too)
{
    for (const OneWayMode& mode : modes()) {
        begin(mode);
        expect_there("FIN", mode, segment(tcp_fin | tcp_ack));
        EXPECT_EQ(state(syn()), FLB_FLOW_CLOSED_ONE_WAY);
    }
}

TEST_P(OneWayFlows, a_reset_shortens_the_life_of_what_is_proven)
{
    for (const OneWayMode& mode : modes()) {
        begin(mode);
        expect_there("RST", mode, segment(tcp_rst));
        EXPECT_EQ(state(syn()), FLB_FLOW_SYN) << "may be forged, and it is short-lived anyway";
        establish(mode);
        expect_there("RST", mode, segment(tcp_rst));
        EXPECT_EQ(state(syn()), FLB_FLOW_RESET);
        expect_there("segment", mode, segment(tcp_ack));
        EXPECT_EQ(state(syn()), FLB_FLOW_RESET);
        expect_there("SYN", mode, syn(), 2);
        EXPECT_EQ(state(syn()), FLB_FLOW_SYN);
    }
}

TEST_P(OneWayFlows, udp_is_a_stream_once_a_second_packet_comes_later)
{
    const Frame in = connection(FLB_DNAT, protocol_udp).request(0, pattern(20));
    for (const OneWayMode& mode : modes()) {
        use({});
        serve_one_way(mode, {1, 2});
        expect_there("first", mode, in);
        EXPECT_EQ(state(in), FLB_FLOW_UDP_NEW);
        just_now(in);
        expect_there("of the same burst", mode, in);
        EXPECT_EQ(state(in), FLB_FLOW_UDP_NEW);
        find(in).flow->aux -= 1u << 31;
        expect_there("later", mode, in);
        EXPECT_EQ(state(in), FLB_FLOW_UDP_STREAM);
        expect_there("next", mode, in);
        EXPECT_EQ(entries().size(), 1u);
    }
}

TEST_P(OneWayFlows, each_state_lives_as_long_as_it_is_told_to)
{
    struct Life {
        unsigned state;
        std::uint32_t ticks;
    };
    for (const OneWayMode& mode : modes()) {
        for (const Life& life : {Life{FLB_FLOW_SYN, 30}, Life{FLB_FLOW_MIDSTREAM, 30}, Life{FLB_FLOW_ESTABLISHED, 7200},
                 Life{FLB_FLOW_CLOSED_ONE_WAY, 120}, Life{FLB_FLOW_RESET, 2}}) {
            establish(mode);
            const Entry owner = find(syn());
            owner.set_state(life.state);
            owner.grow_old(life.ticks);
            expect_there("just in time", mode, segment(tcp_ack));
            const std::uint32_t generation = owner.generation();
            EXPECT_EQ(find(syn()).generation(), generation) << life.state;
            owner.set_state(life.state);
            owner.grow_old(life.ticks + 1);
            run(segment(tcp_ack));
            EXPECT_NE(find(syn()).generation(), generation) << life.state;
            EXPECT_EQ(state(syn()), FLB_FLOW_MIDSTREAM);
        }
    }
}

TEST_P(OneWayFlows, a_full_table_stops_nobody)
{
    for (const OneWayMode& mode : modes()) {
        use({8, 8});
        serve_one_way(mode, {1}, FLB_PICK_HASH_5TUPLE);
        unsigned stored = 0, refused = 0;
        for (std::uint16_t port = 1000; port < 1200; port++) {
            Frame in = syn();
            in.sport = port;
            expect_there("SYN", mode, in);
            if (!find(in).exists()) {
                refused++;
                continue;
            }
            stored++;
            long_ago(in);
            in.flags = tcp_ack;
            expect_there("ACK", mode, in);
        }
        EXPECT_GT(stored, 16u);
        EXPECT_GT(refused, 50u);
        EXPECT_EQ(plane().drops(FLB_DROP_table_full), 0u);
        expect_sound_table();
        // one that is closed gives way when it has been silent
        for (const Entry& entry : entries()) {
            entry.set_state(FLB_FLOW_CLOSED_ONE_WAY);
            entry.grow_old(FLB_YOUNG_TICKS);
        }
        Frame in = syn();
        in.sport = 5000;
        expect_there("SYN", mode, in);
        EXPECT_TRUE(find(in).exists());
    }
}

TEST_P(OneWayFlows, a_backend_that_is_down_is_left_as_it_was_told)
{
    for (const OneWayMode& mode : modes()) {
        establish(mode);
        backend(1).flags &= ~FLB_BACKEND_UP;
        put_slots(1, {2});
        expect_there("kept", mode, segment(tcp_ack));

        backend(1).flags |= FLB_BACKEND_RESET;
        expect_there("a new connection of the same client", mode, syn(), 2);

        establish(mode);
        backend(1).flags |= FLB_BACKEND_RESET;
        put_slots(1, {2});
        expect_reset("reset", segment(tcp_ack), FLB_DROP_backend_down);
        EXPECT_EQ(entries().size(), 0u);

        establish(mode);
        backend(1).flags |= FLB_BACKEND_REHASH_TCP;
        put_slots(1, {2});
        expect_there("goes over", mode, segment(tcp_ack), 2);
        EXPECT_EQ(find(syn()).flow->backend, 2u);
        EXPECT_EQ(find(syn()).flow->pair, FLB_NO_PAIR);

        const Frame question = connection(FLB_DNAT, protocol_udp).request(0, pattern(20));
        use({});
        serve_one_way(mode, {1, 2});
        expect_there("UDP", mode, question);
        backend(1).flags |= FLB_BACKEND_REHASH_UDP;
        put_slots(1, {2});
        expect_there("UDP goes over", mode, question, 2);
        EXPECT_EQ(entries().size(), 1u);
    }
}

TEST_P(OneWayFlows, a_repeated_syn_stays_with_its_backend_whatever_the_service_says)
{
    for (const OneWayMode& mode : modes()) {
        begin(mode);
        service().flags |= FLB_SERVICE_SYN_FAILOVER;
        long_ago(syn());
        expect_there("SYN again", mode, syn());
        EXPECT_EQ(find(syn()).flow->backend, 1u);
    }
}

TEST_P(OneWayFlows, limits_and_affinity_know_what_is_proven)
{
    for (const OneWayMode& mode : modes()) {
        use({});
        serve_one_way(mode, {1, 2});
        service().source_connections = 1;
        service().affinity_ticks = 100;
        service().affinity_prefix = v6() ? 128 : 32;
        expect_there("SYN", mode, syn());
        EXPECT_EQ(plane().counted(1, client()), 0u);
        EXPECT_EQ(plane().pins().size(), 0u);
        Frame other = syn();
        other.sport = 40001;
        expect_there("a second one at the same moment", mode, other, 2);
        long_ago(syn());
        expect_there("ACK", mode, segment(tcp_ack));
        EXPECT_EQ(plane().counted(1, client()), 1u);
        EXPECT_EQ(plane().pins().size(), 1u);
        long_ago(other);
        other.flags = tcp_ack;
        expect_drop("one too many", other, FLB_DROP_source_connections);
        expect_there("FIN", mode, segment(tcp_fin | tcp_ack));
        EXPECT_EQ(plane().counted(1, client()), 0u);
        Frame third = syn();
        third.sport = 40002;
        expect_there("pinned", mode, third, 1);
    }
}

TEST_P(OneWayFlows, a_flow_from_before_the_service_changed_goes_the_old_way)
{
    for (const OneWayMode& mode : modes()) {
        use({});
        serve(1, {.forward = FLB_SNAT, .backends = {1}});
        const Connection old = connection();
        play(old.handshake());
        put_backend(2, 1, mode.forward, mode.outer);
        put_slots(1, {2}); // the daemon's second step; the service still says snat
        Frame in = syn();
        in.sport = 40001;
        expect_there("new", mode, in, 2);
        service().forward = static_cast<std::uint8_t>(mode.forward);
        play({old.there("old", old.request_data(tcp_ack, pattern(3))), old.back("old", old.answer_data(tcp_ack))});
        in.sport = 40002;
        expect_there("new", mode, in, 2);
    }
}

} // namespace
} // namespace featherlb::packet
