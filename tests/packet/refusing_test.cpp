// SPDX-License-Identifier: Apache-2.0
// A backend that answers a SYN with RST is counted, and avoided for new connections for a while, but never the last.
#include <set>

#include "harness.h"

namespace featherlb::packet {
namespace {

class Refusing : public Harness {
protected:
    static constexpr std::uint32_t ticks_ = 10;

    void serve_backends(flb_forward forward, flb_pick pick, const std::vector<unsigned>& slots)
    {
        use({});
        serve(1, {.forward = forward, .pick = pick, .backends = slots});
        service().refused_ticks = ticks_;
    }
    [[nodiscard]] Frame syn_of(unsigned n) const
    {
        Frame syn = connection().syn();
        syn.sport = static_cast<std::uint16_t>(20000 + n);
        return syn;
    }
    // The backend that a packet goes to; 0: none.
    unsigned backend_of(const Frame& packet)
    {
        const Outcome outcome = run(packet);
        return outcome.verdict == Verdict::redirect ? outcome.bytes.at(5) : 0; // last byte of backend_mac
    }
    std::set<unsigned> backends_of_new_connections(unsigned first = 100)
    {
        std::set<unsigned> seen;
        for (unsigned n = first; n < first + 50; n++)
            seen.insert(backend_of(syn_of(n)));
        return seen;
    }
    // SYN to a backend, which refuses.
    void refuse(const Connection& c)
    {
        play({c.there("SYN", c.syn()), c.back("RST", c.answer_data(tcp_rst | tcp_ack))});
    }
};
INSTANTIATE_TEST_SUITE_P(hooks, Refusing, every_way, name_of);

TEST_P(Refusing, it_is_avoided_whatever_the_pick)
{
    for (const flb_forward forward : {FLB_SNAT, FLB_DNAT}) {
        for (const flb_pick pick : {FLB_PICK_TURN, FLB_PICK_RANDOM, FLB_PICK_HASH_5TUPLE, FLB_PICK_HASH_ADDRESSES}) {
            serve_backends(forward, FLB_PICK_TURN, {1, 2, 3});
            refuse(connection(forward));
            EXPECT_EQ(plane().marks()[1].refused, 1u);
            service().pick = static_cast<std::uint8_t>(pick);
            for (const unsigned seen : backends_of_new_connections())
                EXPECT_NE(seen, 1u) << "pick " << pick;
            expect_sound_table();
        }
    }
}

TEST_P(Refusing, udp_avoids_it_too)
{
    serve_backends(FLB_SNAT, FLB_PICK_TURN, {1, 2});
    refuse(connection());
    for (unsigned n = 0; n < 10; n++) {
        Frame question = connection(FLB_SNAT, protocol_udp).request(0, pattern(3));
        question.sport = static_cast<std::uint16_t>(question.sport + n);
        EXPECT_EQ(backend_of(question), 2u);
    }
}

TEST_P(Refusing, the_only_backend_is_never_avoided)
{
    serve_backends(FLB_SNAT, FLB_PICK_TURN, {1, 1, 1});
    refuse(connection());
    EXPECT_EQ(backends_of_new_connections(), std::set<unsigned>{1});
}

TEST_P(Refusing, where_all_refuse_all_are_used)
{
    serve_backends(FLB_DNAT, FLB_PICK_TURN, {1, 2});
    for (unsigned n = 1; n <= 2; n++) {
        Connection c = connection(FLB_DNAT);
        c.backend = n;
        c.client_port = c.outside_port = static_cast<std::uint16_t>(c.client_port + n);
        refuse(c);
    }
    EXPECT_EQ(backends_of_new_connections(), (std::set<unsigned>{1, 2}));
}

TEST_P(Refusing, after_a_while_it_is_used_again)
{
    serve_backends(FLB_SNAT, FLB_PICK_TURN, {1, 2});
    refuse(connection());
    __u64& until = plane().marks()[1].avoid_until;
    EXPECT_GE(until, ticks_);
    EXPECT_EQ(backends_of_new_connections(), std::set<unsigned>{2});
    until -= ticks_;
    EXPECT_EQ(backends_of_new_connections(200), (std::set<unsigned>{1, 2}));
}

TEST_P(Refusing, a_service_that_does_not_want_it_only_counts)
{
    serve_backends(FLB_SNAT, FLB_PICK_TURN, {1, 2});
    service().refused_ticks = 0;
    refuse(connection());
    EXPECT_EQ(plane().marks()[1].refused, 1u);
    EXPECT_EQ(backends_of_new_connections(), (std::set<unsigned>{1, 2}));
}

TEST_P(Refusing, a_rst_after_the_syn_ack_is_no_refusal)
{
    serve_backends(FLB_SNAT, FLB_PICK_TURN, {1, 2});
    const Connection c{*this};
    play({c.there("SYN", c.syn()), c.back("SYN-ACK", c.syn_ack()), c.back("RST", c.answer_data(tcp_rst | tcp_ack))});
    EXPECT_EQ(plane().marks()[1].refused, 0u);
    EXPECT_EQ(backends_of_new_connections(), (std::set<unsigned>{1, 2}));
}

TEST_P(Refusing, a_doubled_rst_counts_once)
{
    serve_backends(FLB_SNAT, FLB_PICK_TURN, {1, 2});
    refuse(connection());
    run(connection().answer_data(tcp_rst | tcp_ack));
    EXPECT_EQ(plane().marks()[1].refused, 1u);
}

TEST_P(Refusing, segments_of_older_connections_go_where_every_balancer_sends_them)
{
    serve_backends(FLB_DNAT, FLB_PICK_TURN, {1});
    refuse(connection(FLB_DNAT));
    serve(1, {.forward = FLB_DNAT, .pick = FLB_PICK_HASH_5TUPLE, .backends = {1, 2}});
    std::set<unsigned> seen;
    for (unsigned n = 0; n < 50; n++) {
        Frame segment = connection(FLB_DNAT).request_data(tcp_ack);
        segment.sport = static_cast<std::uint16_t>(1024 + n);
        seen.insert(backend_of(segment));
    }
    EXPECT_EQ(seen, (std::set<unsigned>{1, 2}));
    EXPECT_EQ(backends_of_new_connections(), std::set<unsigned>{2});
}

TEST_P(Refusing, a_repeated_syn_does_not_go_to_one_that_refuses)
{
    serve_backends(FLB_DNAT, FLB_PICK_TURN, {1, 2});
    service().flags |= FLB_SERVICE_SYN_FAILOVER;
    refuse(connection(FLB_DNAT));
    const Frame syn = syn_of(1);
    EXPECT_EQ(backend_of(syn), 2u);
    find(syn).flow->aux -= Plane::hz / 4;
    EXPECT_EQ(backend_of(syn), 2u);
}

} // namespace
} // namespace featherlb::packet
