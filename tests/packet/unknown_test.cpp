// SPDX-License-Identifier: Apache-2.0
// A packet of a connection that we do not know: the table of ARCHITECTURE.md, cell by cell.
#include <algorithm>

#include "harness.h"

namespace featherlb::packet {
namespace {

class Unknown : public Harness {
protected:
    static constexpr std::array<std::uint8_t, 4> no_syn_ = {
        tcp_ack, tcp_ack | tcp_psh, tcp_fin | tcp_ack, tcp_syn | tcp_ack};
};
INSTANTIATE_TEST_SUITE_P(hooks, Unknown, every_way, name_of);
TEST_P(Unknown, snat_answers_a_segment_with_the_rst_made_from_its_ack)
{
    serve(1);
    const Connection c{*this};
    for (const std::uint8_t flags : no_syn_) {
        for (const std::size_t length : {0, 1, 5, 100, 1400}) {
            Frame in = c.request_data(flags, pattern(length));
            in.seq = 0xfffffff0;
            in.ack = 0x89abcdef;
            expect_reset("segment", in);
            in.tcp_options = timestamps();
            expect_reset("segment with options", in);
            expect_reset("short segment", padded(in));
        }
    }
    EXPECT_EQ(entries().size(), 0u);
}

TEST_P(Unknown, the_reset_leaves_through_the_interface_that_the_segment_came_by)
{
    serve(1);
    Connection c{*this};
    c.client_side = backends();
    expect_reset("segment", c.request_data(tcp_ack));
    if (hook() == Hook::xdp) {
        iface(backends()).flags |= FLB_IFACE_REDIRECT;
        EXPECT_EQ(run(c.request_data(tcp_ack)).verdict, Verdict::redirect);
    }
}

TEST_P(Unknown, snat_resets_whatever_the_sums)
{
    serve(1);
    for (std::uint32_t i = 0; i < 2000; i++) {
        Frame in = Connection{*this}.request_data(tcp_ack, pattern(i % 50));
        in.ack = i * 0x9e3779b1u;
        in.sport = static_cast<std::uint16_t>(1024 + i);
        in.window = static_cast<std::uint16_t>(i * 31);
        expect_reset("segment", in);
        ASSERT_FALSE(HasFailure());
    }
}

TEST_P(Unknown, snat_drops_what_must_not_or_cannot_be_answered)
{
    serve(1);
    const Connection c{*this};
    expect_drop("RST", c.request_data(tcp_rst), FLB_DROP_no_flow);
    expect_drop("RST with ACK", c.request_data(tcp_rst | tcp_ack), FLB_DROP_no_flow);
    expect_drop("FIN without ACK", c.request_data(tcp_fin), FLB_DROP_no_flow);
    Frame in = c.request_data(tcp_ack);
    if (v6())
        in.extensions = {hop_by_hop()};
    else
        in.options.assign(4, 1);
    expect_drop("behind options", in, FLB_DROP_no_flow);
    EXPECT_EQ(entries().size(), 0u);
}

TEST_P(Unknown, flags_that_open_nothing_and_belong_to_nothing_are_dropped)
{
    for (const flb_forward forward : {FLB_SNAT, FLB_DNAT}) {
        use({});
        serve(1, {.forward = forward});
        for (const int flags : {0, tcp_syn | tcp_fin, tcp_syn | tcp_rst, tcp_syn | tcp_fin | tcp_ack, int{tcp_psh}})
            expect_drop("flags", Connection{*this}.request(static_cast<std::uint8_t>(flags)), FLB_DROP_bad_tcp_flags);
        EXPECT_EQ(entries().size(), 0u);
    }
}

TEST_P(Unknown, a_syn_with_ece_and_cwr_is_a_syn)
{
    serve(1);
    const Connection c{*this};
    Frame syn = c.syn();
    syn.flags |= 0xc0;
    play({c.there("SYN, ECE, CWR", syn)});
    EXPECT_EQ(find(syn).state(), FLB_FLOW_SYN);
}

TEST_P(Unknown, snat_leaves_a_backends_packet_to_the_stack)
{
    serve(1);
    const Connection c{*this};
    expect_pass("SYN-ACK", c.syn_ack());
    expect_pass("data", c.answer_data(tcp_ack, pattern(10)));
    Connection udp{.h = *this, .protocol = protocol_udp};
    expect_pass("UDP", udp.answer(0, pattern(10)));
}

TEST_P(Unknown, dnat_picks_for_a_segment_without_syn_and_stores_it_unproven)
{
    for (const std::uint8_t flags : no_syn_) {
        use({});
        serve(1, {.forward = FLB_DNAT});
        const Connection c = connection(FLB_DNAT);
        const Frame in = c.request_data(flags, pattern(10));
        play({c.there("segment", in)});
        EXPECT_EQ(find(in).state(), FLB_FLOW_MIDSTREAM);
        play({c.back("its answer", c.answer_data(tcp_ack, pattern(11))), c.there("the next", c.request_data(tcp_ack))});
        expect_sound_table();
    }
}

TEST_P(Unknown, dnat_forwards_a_rst_without_storing)
{
    serve(1, {.forward = FLB_DNAT});
    const Connection c = connection(FLB_DNAT);
    play({c.there("RST", c.request_data(tcp_rst)), c.there("RST with ACK", c.request_data(tcp_rst | tcp_ack))});
    EXPECT_EQ(entries().size(), 0u);
}

TEST_P(Unknown, dnat_picks_the_backend_that_every_other_balancer_would)
{
    serve(1, {.forward = FLB_DNAT, .pick = FLB_PICK_HASH_5TUPLE, .backends = {1, 2, 3, 4}});
    for (std::uint16_t i = 0; i < 40; i++) {
        Frame syn = connection(FLB_DNAT).syn(), later = connection(FLB_DNAT).request_data(tcp_ack);
        syn.sport = later.sport = static_cast<std::uint16_t>(1000 + i);
        const Bytes by_syn = run(syn).bytes;
        std::fill(plane().flows4().begin(), plane().flows4().end(), flb_flow4{}); // another balancer knows nothing
        std::fill(plane().flows6().begin(), plane().flows6().end(), flb_flow6{});
        const Bytes by_later = run(later).bytes;
        EXPECT_EQ(Bytes(by_syn.begin(), by_syn.begin() + 6), Bytes(by_later.begin(), by_later.begin() + 6));
    }
}

TEST_P(Unknown, dnat_sends_a_backends_packet_as_the_service_by_the_routes)
{
    serve(1, {.forward = FLB_DNAT});
    for (const std::uint8_t protocol : {protocol_tcp, protocol_udp}) {
        const Connection c = connection(FLB_DNAT, protocol);
        Frame answer = c.answer_data(tcp_ack, pattern(30));
        play({c.back("answer", answer)});
        EXPECT_EQ(entries().size(), 0u);
        EXPECT_EQ(plane().counters(1).packets[1], protocol == protocol_tcp ? 1u : 2u);
    }
    Connection elsewhere = connection(FLB_DNAT);
    elsewhere.client = elsewhere.outside = client(1); // on the link, but no neighbour is known
    expect_drop("no neighbour", elsewhere.answer_data(tcp_ack), FLB_DROP_no_return_path);
    elsewhere.client = elsewhere.outside = stranger();
    // Nobody that this machine would forward to, or the machine itself: the stack knows which.
    expect_pass("no route", elsewhere.answer_data(tcp_ack));
    elsewhere.client = elsewhere.outside = address(1, 1);
    expect_pass("to the machine itself", elsewhere.answer_data(tcp_ack));
}

TEST_P(Unknown, an_orphaned_reply_that_does_not_fit_its_route_is_too_big)
{
    serve(1, {.forward = FLB_DNAT});
    iface(clients()).mtu = iface(backends()).mtu = 9000;
    expect_answer("2,000 bytes over a route of 1,500", connection(FLB_DNAT).answer_data(tcp_ack, pattern(2000)),
        FLB_DROP_too_big, 1500, service_address());
}

TEST_P(Unknown, dnat_leaves_other_packets_of_a_backends_machine_alone)
{
    serve(1, {.forward = FLB_DNAT});
    Frame answer = connection(FLB_DNAT).answer_data(tcp_ack);
    answer.sport++;
    expect_pass("from another port", answer);
}

TEST_P(Unknown, udp_is_picked_and_stored)
{
    for (const flb_forward forward : {FLB_SNAT, FLB_DNAT}) {
        use({});
        serve(1, {.forward = forward});
        const Connection c = connection(forward, protocol_udp);
        play({c.there("question", c.request(0, pattern(9)))});
        EXPECT_EQ(find(c.request()).state(), FLB_FLOW_UDP_NEW);
    }
}

TEST_P(Unknown, a_later_segment_of_an_expired_connection_is_unknown_again)
{
    serve(1);
    const Connection c{*this};
    play(c.handshake());
    find(c.syn()).grow_old(7201);
    expect_reset("data", c.request_data(tcp_ack, pattern(8)));
}

} // namespace
} // namespace featherlb::packet
