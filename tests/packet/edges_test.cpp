// SPDX-License-Identifier: Apache-2.0
// Cases at the edges of several steps that the tests of those steps do not come across.
#include "harness.h"

namespace featherlb::packet {
namespace {

class Edges : public Harness {};
INSTANTIATE_TEST_SUITE_P(hooks, Edges, every_way, name_of);

// Linux writes 0 as the length of an IP packet of 64 KiB and more, which exists only until it is cut into segments.
TEST_P(Edges, a_packet_of_many_segments_may_say_no_length)
{
    serve(1);
    const Connection c{*this};
    play(c.handshake());
    Frame f = c.request_data(tcp_ack, pattern(3000));
    f.length = std::uint16_t{0};
    if (hook() == Hook::tc) {
        const Outcome outcome = run(to_bytes(f), clients(), 1400);
        EXPECT_EQ(outcome.verdict, Verdict::redirect);
        EXPECT_TRUE(same(to_bytes(c.forwarded(f)), outcome.bytes));
        EXPECT_EQ(plane().counters(1).bytes[0], 2 * packet_length(c.request_data(tcp_ack)) + packet_length(f));
    }
    expect_drop("one that is no such packet", f, v6() ? FLB_DROP_truncated : FLB_DROP_bad_length);
}

TEST_P(Edges, segments_of_the_largest_size_do_not_fit)
{
    if (hook() != Hook::tc)
        return; // XDP sees segments alone
    serve(1);
    const Connection c{*this};
    play(c.handshake());
    expect_answer("their headers make them larger than 64 KiB", c.request_data(tcp_ack, pattern(3000)),
        FLB_DROP_too_big, 1500, service_address(), 0xffff);
}

TEST_P(Edges, a_datagram_shorter_than_its_header_is_truncated)
{
    serve(1);
    Frame f = Connection{.h = *this, .protocol = protocol_udp}.request(0, pattern(20));
    for (std::uint16_t rest = v6() ? 1 : 0; rest < 8; rest++) {
        f.length = static_cast<std::uint16_t>((v6() ? 0 : 20) + rest);
        expect_drop("and something behind it", f, FLB_DROP_truncated);
        Bytes bytes = to_bytes(f);
        bytes.resize(transport_offset(f) + rest);
        expect_drop("and nothing behind it", bytes, FLB_DROP_truncated);
    }
}

// Interface numbers grow, and records are found by their lowest bits.
TEST_P(Edges, nothing_is_answered_through_another_interfaces_record)
{
    serve(1);
    const Connection c{*this};
    iface(clients()).ifindex += FLB_IFACE_SLOTS;
    expect_drop("RST", c.request_data(tcp_ack), FLB_DROP_no_flow);
    Frame f = c.syn();
    f.ttl = 1;
    expect_drop("time exceeded", f, FLB_DROP_ttl_exceeded);
}

TEST_P(Edges, a_way_out_that_is_not_there_limits_nothing)
{
    serve(1);
    const Connection c{*this};
    play(c.handshake());
    backend(1).mtu = 1000;
    const Frame f = c.request_data(tcp_ack, pattern(1100));
    iface(backends()).mtu = 0xffff;
    expect_answer("a way out without limits", f, FLB_DROP_too_big, 1000, service_address());
    iface(backends()) = {};
    expect_answer("no way out", f, FLB_DROP_too_big, 1000, service_address());
}

TEST_P(Edges, a_client_that_comes_under_another_tag_is_answered_under_that_one)
{
    serve(1);
    Connection c{*this};
    c.client_tags = {{.tci = 5}};
    play(c.handshake());
    c.client_tags = {{.tci = 6}};
    play(
        {c.there("data", c.request_data(tcp_ack, pattern(10))), c.back("answer", c.answer_data(tcp_ack, pattern(20)))});
}

TEST_P(Edges, a_repeated_syn_stays_where_there_is_no_table_any_more)
{
    serve(1, {.backends = {1, 2}});
    service().flags |= FLB_SERVICE_SYN_FAILOVER;
    const Connection c{*this};
    play({c.there("SYN", c.syn())});
    find(c.syn()).flow->aux -= Plane::hz;
    put_slots(1, {});
    play({c.there("SYN again", c.syn())});
}

TEST_P(Edges, where_the_host_does_not_forward_it_gets_what_has_no_flow)
{
    serve(1, {.forward = FLB_DNAT});
    const Connection c = connection(FLB_DNAT);
    Surroundings::get().set_forwarding(false);
    expect_pass("the backend's packet", c.answer_data(tcp_ack, pattern(30)));
    Surroundings::get().set_forwarding(true);
    play({c.back("and again", c.answer_data(tcp_ack, pattern(30)))});
}

// The first halves of the addresses are the same.
TEST_P(Edges, the_answers_to_a_client_of_our_own_network_have_the_right_source)
{
    serve(1);
    Connection c{*this};
    c.client = address(2, 99);
    play(c.handshake());
    Frame f = c.answer_data(tcp_ack, pattern(30));
    f.ttl = 1;
    expect_answer("the backend's packet", f, FLB_DROP_ttl_exceeded, 0, snat_address());
}

TEST_P(Edges, a_rate_beyond_the_clock_still_has_its_burst)
{
    serve(1);
    plane().settings().hz = 1;
    service().source_rate = 0xffffffff;
    service().source_burst = 5;
    for (unsigned n = 0; n < service().source_burst; n++) {
        Connection c{*this};
        c.client_port = static_cast<std::uint16_t>(client_port + n);
        c.outside_port = static_cast<std::uint16_t>(first_snat_port + n);
        play({c.there("SYN", c.syn())});
    }
}

} // namespace
} // namespace featherlb::packet
