// SPDX-License-Identifier: Apache-2.0
// Open connections of each backend: what counts one up, and what down. Every test ends by comparing the counts with the
// flow table.
#include <algorithm>

#include "harness.h"

#include "kernel/sweeper.h"

namespace featherlb::packet {
namespace {

class Loads : public Harness {
protected:
    [[nodiscard]] std::uint32_t open(unsigned n = 1) { return plane().loads()[n].open; }
    void TearDown() override { expect_sound_loads(); }
    Connection established(flb_forward forward = FLB_SNAT)
    {
        use({});
        serve(1, {.forward = forward});
        Connection c = connection(forward);
        play(c.handshake());
        EXPECT_EQ(open(), 1u);
        return c;
    }
    // A pass of the daemon's sweeper, so many ticks after the flows were made.
    void sweep(std::uint32_t ticks)
    {
        const auto sets4 = plane().flows4();
        const auto sets6 = plane().flows6();
        Sweeper sweeper({reinterpret_cast<flb_set4*>(sets4.data()), sets4.size() / FLB_WAYS},
            {reinterpret_cast<flb_set6*>(sets6.data()), sets6.size() / FLB_WAYS}, Plane::max_backends, {},
            SweptLoads{.loads = plane().loads(), .begun = {}, .bounds = plane().bounds()});
        const auto& timeouts = plane().settings().timeout;
        const std::uint32_t now = entries().front().age() + ticks;
        EXPECT_TRUE(sweeper.step(100000, now, std::span<const std::uint32_t, FLB_FLOW_STATES>(timeouts)));
        EXPECT_TRUE(sweeper.counts().corrections.empty());
    }
};
INSTANTIATE_TEST_SUITE_P(hooks, Loads, every_way, name_of);

TEST_P(Loads, a_connection_counts_from_its_syn_until_both_sides_have_closed)
{
    for (const flb_forward forward : {FLB_SNAT, FLB_DNAT}) {
        for (const bool client_first : {true, false}) {
            use({});
            serve(1, {.forward = forward});
            const Connection c = connection(forward);
            for (const Step& step : c.handshake()) {
                play({step});
                EXPECT_EQ(open(), 1u) << step.what;
            }
            const Step client_fin = c.there("client's FIN", c.request_data(tcp_fin | tcp_ack));
            const Step backend_fin = c.back("backend's FIN", c.answer_data(tcp_fin | tcp_ack));
            play({client_first ? client_fin : backend_fin});
            EXPECT_EQ(open(), 1u) << "half closed";
            play({client_first ? backend_fin : client_fin});
            EXPECT_EQ(open(), 0u);
            play({backend_fin, client_fin});
            EXPECT_EQ(open(), 0u) << "once";
            expect_sound_loads();
        }
    }
}

TEST_P(Loads, a_reset_connection_counts_no_more)
{
    for (const bool by_client : {true, false}) {
        const Connection c = established();
        const Step rst = by_client ? c.there("RST", c.request_data(tcp_rst)) : c.back("RST", c.answer_data(tcp_rst));
        play({rst, rst});
        EXPECT_EQ(open(), 0u);
        expect_sound_loads();
    }
}

TEST_P(Loads, a_refused_connection_counts_no_more)
{
    serve(1);
    const Connection c{*this};
    play({c.there("SYN", c.syn()), c.back("RST", c.answer_data(tcp_rst | tcp_ack))});
    EXPECT_EQ(open(), 0u);
}

TEST_P(Loads, udp_counts_from_its_first_datagram)
{
    serve(1);
    const Connection c = connection(FLB_SNAT, protocol_udp);
    play({c.there("question", c.request()), c.back("answer", c.answer()), c.there("question", c.request())});
    EXPECT_EQ(open(), 1u);
}

TEST_P(Loads, what_the_sweeper_frees_counts_no_more)
{
    serve(1, {.backends = {1, 2}});
    Connection c = connection(FLB_SNAT, protocol_udp);
    play({c.there("question", c.request())});
    Connection other{*this};
    other.backend = 2;
    play(other.handshake());
    EXPECT_EQ(open(1), 1u);
    EXPECT_EQ(open(2), 1u);
    sweep(31);
    EXPECT_EQ(open(1), 1u) << "not yet";
    sweep(32);
    EXPECT_EQ(open(1), 0u);
    EXPECT_EQ(open(2), 1u);
    sweep(7201);
    EXPECT_EQ(open(2), 0u);
}

TEST_P(Loads, an_expired_connection_counts_until_somebody_finds_it_and_once)
{
    const Connection c = established();
    find(c.syn()).grow_old(7201);
    Connection again = c;
    again.outside_port++;
    play({again.there("SYN", again.syn())});
    EXPECT_EQ(open(), 1u) << "the old one was given back, the new one counts";
}

TEST_P(Loads, a_connection_that_gives_way_counts_no_more)
{
    use({1, 1}); // two connections
    serve(1, {.backends = {1, 2, 3}});
    for (unsigned n = 0; n < 6; n++) {
        Connection c{*this};
        c.client = client(n);
        for (const Entry& entry : entries())
            entry.grow_old(1);
        (void)run(c.syn());
        EXPECT_LE(open(1) + open(2) + open(3), 2u);
        expect_sound_loads();
    }
}

TEST_P(Loads, a_connection_that_is_forwarded_without_being_stored_does_not_count)
{
    use({1, 1});
    serve(1, {.forward = FLB_DNAT});
    for (unsigned n = 0; n < 3; n++) {
        Connection c{*this};
        c.client = client(n);
        c = c.kept();
        const std::vector<Step> steps = c.handshake();
        play(n < 2 ? steps : std::vector{steps.front()});
    }
    EXPECT_EQ(open(), 2u);
}

TEST_P(Loads, a_client_that_begins_anew_counts_once)
{
    const Connection c = established();
    play({c.there("FIN", c.request_data(tcp_fin | tcp_ack))});
    Connection again = c;
    again.outside_port++;
    play({again.there("SYN", again.syn())});
    EXPECT_EQ(open(), 1u);
}

TEST_P(Loads, a_syn_that_leaves_its_backend_counts_at_the_other_one)
{
    serve(1);
    service().flags |= FLB_SERVICE_SYN_FAILOVER;
    put_backend(2, 1, FLB_SNAT);
    const Connection c{*this};
    play({c.there("SYN", c.syn())});
    find(c.syn()).flow->aux -= Plane::hz;
    put_slots(1, {2});
    (void)run(c.syn());
    EXPECT_EQ(find(c.syn()).flow->backend, 2u);
    EXPECT_EQ(open(1), 0u);
    EXPECT_EQ(open(2), 1u);
}

TEST_P(Loads, connections_that_a_dead_backend_loses_count_no_more)
{
    for (const std::uint32_t fate : {FLB_BACKEND_RESET, FLB_BACKEND_REHASH_TCP}) {
        const Connection c = established();
        put_backend(2, 1, FLB_SNAT);
        put_slots(1, {2});
        backend(1).flags = FLB_BACKEND_VALID | fate;
        (void)run(c.request_data(tcp_ack, pattern(9)));
        EXPECT_EQ(open(1), 0u);
        expect_sound_loads();
    }
}

TEST_P(Loads, a_connection_from_midstream_counts)
{
    serve(1, {.forward = FLB_DNAT});
    const Connection c = connection(FLB_DNAT);
    play({c.there("data", c.request_data(tcp_ack, pattern(9)))});
    EXPECT_EQ(open(), 1u);
    play({c.back("answer", c.answer_data(tcp_ack))});
    EXPECT_EQ(open(), 1u);
    play({c.back("RST", c.answer_data(tcp_rst))});
    EXPECT_EQ(open(), 0u);
}

} // namespace
} // namespace featherlb::packet
