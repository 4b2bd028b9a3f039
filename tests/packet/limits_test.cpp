// SPDX-License-Identifier: Apache-2.0
// Open connections of one source: counted when they are proven, given back whichever way they end.
#include "harness.h"
#include "kernel/sweeper.h"

namespace featherlb::packet {
namespace {

class Limits : public Harness {
protected:
    void serve_limited(std::uint32_t limit, const ServiceSpec& spec = {})
    {
        serve(1, spec);
        service().source_connections = limit;
        forward_ = spec.forward;
    }
    // Connection n of client 0, by its ports.
    [[nodiscard]] Connection nth(unsigned n, std::uint8_t protocol = protocol_tcp) const
    {
        Connection c = connection(forward_, protocol);
        c.client_port = static_cast<std::uint16_t>(client_port + n);
        c.outside_port = static_cast<std::uint16_t>((forward_ == FLB_SNAT ? first_snat_port : client_port) + n);
        return c;
    }
    [[nodiscard]] std::uint32_t counted() { return plane().counted(1, client()); }
    void sweep()
    {
        const std::span<flb_flow4> flows4 = plane().flows4();
        const std::span<flb_flow6> flows6 = plane().flows6();
        Sweeper sweeper({reinterpret_cast<flb_set4*>(flows4.data()), flows4.size() / FLB_WAYS},
            {reinterpret_cast<flb_set6*>(flows6.data()), flows6.size() / FLB_WAYS}, Plane::max_backends,
            [this](std::uint32_t backend_number, std::uint64_t client_word) {
                EXPECT_TRUE(plane().source_counts().give_back(backend(backend_number).service, client_word));
            });
        EXPECT_TRUE(sweeper.step(~0u, now_, plane().settings().timeout));
    }
    void grow_old(std::uint32_t ticks)
    {
        for (const Entry& entry : entries()) {
            now_ = entry.age();
            entry.grow_old(ticks);
        }
    }

private:
    flb_forward forward_ = FLB_SNAT;
    std::uint32_t now_ = 0;
};
INSTANTIATE_TEST_SUITE_P(hooks, Limits, every_way, name_of);

TEST_P(Limits, a_connection_counts_from_its_proof_and_not_before)
{
    serve_limited(10);
    const Connection c = nth(0);
    play({c.there("SYN", c.syn())});
    EXPECT_EQ(counted(), 0u);
    play({c.back("SYN-ACK", c.syn_ack())});
    Frame forged = c.first_ack();
    forged.ack = 7;
    play({c.there("an ACK that proves nothing", forged)});
    EXPECT_EQ(counted(), 0u);
    play({c.there("ACK", c.first_ack())});
    EXPECT_EQ(counted(), 1u);
    EXPECT_TRUE(find(c.syn()).ctl() & FLB_CTL_COUNTED);
    play({c.there("data", c.request_data(tcp_ack, pattern(3)))});
    EXPECT_EQ(counted(), 1u);
}

TEST_P(Limits, a_flood_of_forged_syns_uses_up_nothing)
{
    serve_limited(1);
    for (unsigned n = 0; n < 200; n++)
        play({nth(n).there("forged", nth(n).syn())});
    EXPECT_EQ(counted(), 0u);
}

TEST_P(Limits, a_source_at_its_limit_opens_no_more_and_others_do)
{
    serve_limited(2);
    play(nth(0).handshake());
    play(nth(1).handshake());
    expect_drop("a third", nth(2).syn(), FLB_DROP_source_connections);
    expect_drop("UDP", nth(2, protocol_udp).request(), FLB_DROP_source_connections);
    Connection other = nth(2);
    other.client = address(55, 1);
    play(other.handshake());
    EXPECT_EQ(counted(), 2u);
}

TEST_P(Limits, of_those_begun_at_the_same_moment_no_more_are_proven_than_may_be_open)
{
    serve_limited(1);
    const Connection one = nth(0), two = nth(1);
    play({one.there("SYN", one.syn()), two.there("SYN", two.syn()), one.back("SYN-ACK", one.syn_ack()),
        two.back("SYN-ACK", two.syn_ack()), one.there("ACK", one.first_ack())});
    expect_drop("ACK of the other", two.first_ack(), FLB_DROP_source_connections);
    expect_drop("its data", two.request_data(tcp_ack, pattern(4)), FLB_DROP_source_connections);
    EXPECT_EQ(find(two.syn()).state(), FLB_FLOW_SYN_ACK);
    play({one.there("FIN", one.request_data(tcp_ack | tcp_fin)), one.back("FIN", one.answer_data(tcp_ack | tcp_fin))});
    EXPECT_EQ(counted(), 0u);
    play({two.there("repeated data", two.request_data(tcp_ack, pattern(4)))});
    EXPECT_EQ(counted(), 1u);
}

TEST_P(Limits, closing_gives_back_once_whoever_closes_first)
{
    serve_limited(10);
    Connection c = nth(0);
    play(c.handshake());
    play({c.there("FIN", c.request_data(tcp_ack | tcp_fin))});
    EXPECT_EQ(counted(), 1u) << "half-closed is open";
    play({c.back("FIN", c.answer_data(tcp_ack | tcp_fin)), c.there("last ACK", c.request_data(tcp_ack))});
    EXPECT_EQ(counted(), 0u);
    c = nth(1);
    play(c.handshake());
    play({c.back("FIN", c.answer_data(tcp_ack | tcp_fin)), c.there("FIN", c.request_data(tcp_ack | tcp_fin)),
        c.there("FIN again", c.request_data(tcp_ack | tcp_fin))});
    EXPECT_EQ(counted(), 0u);
    play(nth(2).handshake());
    EXPECT_EQ(counted(), 1u);
}

TEST_P(Limits, a_reset_gives_back)
{
    serve_limited(10);
    for (unsigned n = 0; n < 2; n++) {
        const Connection c = nth(n);
        play(c.handshake());
        EXPECT_EQ(counted(), 1u);
        if (n == 0)
            play({c.there("RST", c.request_data(tcp_rst))});
        else
            play({c.back("RST", c.answer_data(tcp_rst))});
        EXPECT_EQ(counted(), 0u);
    }
}

TEST_P(Limits, a_reset_that_the_backend_did_not_believe_counts_again)
{
    serve_limited(10);
    const Connection c = nth(0);
    play(c.handshake());
    play({c.there("RST with a wrong sequence number", c.request_data(tcp_rst)),
        c.back("what was on its way", c.answer_data(tcp_ack, pattern(9)))});
    EXPECT_EQ(counted(), 0u);
    grow_old(1);
    play({c.there("the client goes on", c.request_data(tcp_ack, pattern(3))),
        c.back("and the backend answers", c.answer_data(tcp_ack, pattern(9))),
        c.back("twice", c.answer_data(tcp_ack, pattern(9)))});
    EXPECT_EQ(counted(), 1u);
    grow_old(3);
    sweep();
    EXPECT_EQ(counted(), 0u);
}

TEST_P(Limits, udp_counts_as_a_stream_and_is_given_back_when_it_is_silent)
{
    serve_limited(1);
    const Connection c = nth(0, protocol_udp);
    play({c.there("question", c.request()), c.back("answer", c.answer())});
    EXPECT_EQ(counted(), 0u);
    play({c.there("question", c.request())});
    EXPECT_EQ(counted(), 1u);
    expect_drop("another", nth(1, protocol_udp).request(), FLB_DROP_source_connections);
    grow_old(126);
    sweep();
    EXPECT_EQ(counted(), 0u);
}

TEST_P(Limits, sweeping_gives_back_each_expired_connection_once)
{
    serve_limited(10);
    for (unsigned n = 0; n < 3; n++)
        play(nth(n).handshake());
    EXPECT_EQ(counted(), 3u);
    grow_old(7201);
    sweep();
    EXPECT_EQ(counted(), 0u);
    sweep();
    EXPECT_EQ(counted(), 0u);
}

TEST_P(Limits, an_expired_connection_is_given_back_by_its_own_next_packet)
{
    serve_limited(10);
    const Connection c = nth(0), d = nth(1);
    play(c.handshake());
    play(d.handshake());
    grow_old(7201);
    expect_reset("from the client", c.request_data(tcp_ack));
    EXPECT_EQ(counted(), 1u);
    expect_pass("from the backend", d.answer_data(tcp_ack));
    EXPECT_EQ(counted(), 0u);
}

TEST_P(Limits, a_syn_on_a_closing_tuple_gives_back_and_counts_anew)
{
    serve_limited(10);
    Connection c = nth(0);
    play(c.handshake());
    play({c.there("FIN", c.request_data(tcp_ack | tcp_fin))});
    EXPECT_EQ(counted(), 1u);
    c.outside_port++;
    play({c.there("SYN", c.syn())});
    EXPECT_EQ(counted(), 0u);
    play({c.back("SYN-ACK", c.syn_ack()), c.there("ACK", c.first_ack())});
    EXPECT_EQ(counted(), 1u);
}

TEST_P(Limits, replacement_gives_back_what_it_replaces)
{
    use({1, 1});
    serve_limited(10);
    play(nth(0).handshake());
    play(nth(1).handshake());
    EXPECT_EQ(counted(), 2u);
    grow_old(7201);
    Connection other = nth(2);
    other.client = address(55, 1);
    play(other.handshake());
    EXPECT_EQ(plane().counted(1, other.client), 1u);
    other.client_port++;
    other.outside_port++;
    play(other.handshake());
    EXPECT_EQ(plane().counted(1, other.client), 2u);
    EXPECT_EQ(counted(), 0u);
}

TEST_P(Limits, a_connection_that_a_backend_proves_counts_and_is_not_refused)
{
    serve_limited(1, {.forward = FLB_DNAT});
    for (unsigned n = 0; n < 2; n++) {
        const Connection c = nth(n);
        play({c.there("in the middle", c.request_data(tcp_ack, pattern(3))),
            c.back("the backend knows it", c.answer_data(tcp_ack))});
        EXPECT_EQ(counted(), n + 1);
    }
    expect_drop("a new one", nth(2).syn(), FLB_DROP_source_connections);
    for (unsigned n = 0; n < 2; n++)
        play({nth(n).back("RST", nth(n).answer_data(tcp_rst))});
    EXPECT_EQ(counted(), 0u);
}

TEST_P(Limits, a_limit_that_was_lifted_is_still_given_back)
{
    serve_limited(10);
    play(nth(0).handshake());
    service().source_connections = 0;
    play(nth(1).handshake());
    EXPECT_EQ(counted(), 1u);
    for (unsigned n = 0; n < 2; n++)
        play({nth(n).there("RST", nth(n).request_data(tcp_rst))});
    EXPECT_EQ(counted(), 0u);
}

TEST_P(Limits, without_room_a_connection_is_served_and_that_is_noted)
{
    serve_limited(10);
    for (flb_limit_count& entry : plane().limit_counts())
        entry = {.ctl = 1, .source = 99};
    const Connection c = nth(0);
    play(c.handshake());
    EXPECT_EQ(plane().events(FLB_EVENT_source_uncounted), 1u);
    EXPECT_FALSE(find(c.syn()).ctl() & FLB_CTL_COUNTED);
    play({c.there("RST", c.request_data(tcp_rst))});
    for (const flb_limit_count& entry : plane().limit_counts())
        EXPECT_EQ(entry.ctl, 1u);
}

TEST_P(Limits, each_service_counts_for_itself)
{
    serve_limited(1);
    serve(2, {.backends = {2}});
    service(2).source_connections = 1;
    play(nth(0).handshake());
    expect_drop("a second", nth(1).syn(), FLB_DROP_source_connections);
    Connection c = nth(2);
    c.service = c.backend = 2;
    c.outside_port = first_snat_port;
    play(c.handshake());
    EXPECT_EQ(plane().counted(2, client()), 1u);
}

} // namespace
} // namespace featherlb::packet
