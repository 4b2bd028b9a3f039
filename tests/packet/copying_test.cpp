// SPDX-License-Identifier: Apache-2.0
// While connections are being copied from another flow table (bpf/copying.h), packets of unknown ones are held back.
#include "harness.h"

namespace featherlb::packet {
namespace {

class Copying : public Harness {
protected:
    void copy_until(std::uint32_t tick) { plane().settings().copying_until = tick; }
    Connection served(flb_forward forward)
    {
        use({});
        serve(1, {.forward = forward});
        return connection(forward);
    }
};
INSTANTIATE_TEST_SUITE_P(hooks, Copying, every_way, name_of);

TEST_P(Copying, segments_of_unknown_connections_are_held_back)
{
    for (const flb_forward forward : {FLB_SNAT, FLB_DNAT, FLB_DSR}) {
        const Connection c = served(forward);
        copy_until(1u << 30); // time stands still
        for (const std::uint8_t flags : {tcp_ack, tcp_fin, tcp_rst})
            expect_drop(
                "from the client", c.request_data(static_cast<std::uint8_t>(flags | tcp_ack)), FLB_DROP_copying);
        expect_drop("SYN and ACK", c.request_data(tcp_syn | tcp_ack), FLB_DROP_copying);
        EXPECT_TRUE(entries().empty());
    }
}

TEST_P(Copying, a_syn_goes_on_and_so_does_what_it_began)
{
    for (const flb_forward forward : {FLB_SNAT, FLB_DNAT}) {
        const Connection c = served(forward);
        copy_until(1u << 30);
        play(c.handshake());
        play(
            {c.there("data", c.request_data(tcp_ack, pattern(9))), c.back("data", c.answer_data(tcp_ack, pattern(9)))});
        expect_sound_table();
    }
}

TEST_P(Copying, datagrams_of_unknown_flows_are_held_back)
{
    for (const flb_forward forward : {FLB_SNAT, FLB_DNAT}) {
        use({});
        serve(1, {.forward = forward});
        const Connection c = connection(forward, protocol_udp);
        copy_until(1u << 30);
        expect_drop("from the client", c.request(0, pattern(9)), FLB_DROP_copying);
        copy_until(0);
        play({c.there("afterwards", c.request(0, pattern(9)))});
        copy_until(1u << 30);
        play({c.there("of a flow that is known", c.request(0, pattern(9)))});
    }
}

TEST_P(Copying, answers_to_our_source_ports_are_held_back_and_the_stack_keeps_its_own)
{
    const Connection c = served(FLB_SNAT);
    copy_until(1u << 30);
    expect_drop("an answer", c.answer_data(tcp_ack, pattern(9)), FLB_DROP_copying);
    expect_drop("RST", c.answer_data(tcp_rst), FLB_DROP_copying);
    for (const std::uint16_t port : {22, first_snat_port - 1, first_snat_port + snat_ports}) {
        Connection other = c;
        other.outside_port = port;
        expect_pass("to another port of that address", other.answer_data(tcp_ack, pattern(9)));
    }
    copy_until(0);
    expect_pass("as it was before", c.answer_data(tcp_ack, pattern(9)));
}

TEST_P(Copying, it_ends_by_itself)
{
    const Connection c = served(FLB_SNAT);
    copy_until(0xffffffff); // a tick ago
    expect_reset("a segment of no connection", c.request_data(tcp_ack));
    expect_pass("an answer", c.answer_data(tcp_ack));
}

} // namespace
} // namespace featherlb::packet
