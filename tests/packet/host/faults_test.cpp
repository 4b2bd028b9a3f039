// SPDX-License-Identifier: Apache-2.0
// What only the host can show one by one. The rest is tried on every packet of every test: see variants.h.
#include <set>

#include "../one_way.h"
#include "engine.h"

namespace featherlb::packet {
namespace {

class Faults : public Harness {
protected:
    // Counts by reason what becomes of a packet, each of whose calls fails once. All happens to the same flow.
    std::map<unsigned, unsigned> reasons_of(const Frame& frame)
    {
        constexpr unsigned more_than_enough = 60;
        std::map<unsigned, unsigned> seen;
        for (unsigned call = 1; call < more_than_enough; call++) {
            host::set_conditions({.failing = call});
            const std::uint64_t before = all_drops();
            const Outcome outcome = run(frame);
            if (outcome.verdict != Verdict::drop || all_drops() == before)
                continue;
            for (unsigned reason = 0; reason < FLB_MAX_REASONS; reason++)
                seen[reason] = static_cast<unsigned>(plane().drops(reason));
        }
        return seen;
    }
};
INSTANTIATE_TEST_SUITE_P(hooks, Faults, every_way, name_of);

// The reason that reasons_test.cpp has to excuse.
TEST_P(Faults, a_packet_that_the_kernel_does_not_let_us_change_is_dropped_as_rewrite_failed)
{
    serve(1);
    Connection c{*this};
    c.client_tags = {{.tci = 5}}; // taken off on the way to the backend
    play(c.handshake());
    EXPECT_GT(reasons_of(c.request_data(tcp_ack, pattern(30)))[FLB_DROP_rewrite_failed], 0u);
}

TEST_P(Faults, a_table_that_does_not_answer_drops_the_packet_as_not_configured)
{
    serve(1);
    Connection c{*this};
    c.client_tags = {{.tci = 5}}; // or a table that fails the express way only sends the packet the long one
    play(c.handshake());
    EXPECT_GT(reasons_of(c.request_data(tcp_ack, pattern(30)))[FLB_DROP_not_configured], 0u);
}

TEST_P(Faults, headers_that_cannot_be_pulled_into_reach_are_dropped_or_left_alone)
{
    if (hook() != Hook::tc)
        return;
    serve(1);
    const Connection c{*this};
    play(c.handshake());
    const Frame data = c.request_data(tcp_ack, pattern(30));
    for (unsigned call = 1; call < 10; call++) {
        host::set_conditions({.readable = 40, .failing = call});
        const Outcome outcome = run(data);
        EXPECT_NE(outcome.verdict, Verdict::other);
    }
}

// As TCP of Linux makes them where the interfaces allow it ("BIG TCP").
TEST_P(Faults, a_packet_larger_than_64_kib_is_carried)
{
    if (hook() != Hook::tc)
        return; // XDP sees segments alone
    serve(1);
    const Connection c{*this};
    play(c.handshake());
    Frame f = c.request_data(tcp_ack, pattern(70000));
    f.length = std::uint16_t{0};
    const Outcome outcome = run(to_bytes(f), clients(), 1400);
    EXPECT_EQ(outcome.verdict, Verdict::redirect);
    EXPECT_TRUE(same(to_bytes(c.forwarded(f)), outcome.bytes));
    EXPECT_GT(plane().counters(1).bytes[0], 70000u);
}

class Segments : public OneWay {};
INSTANTIATE_TEST_SUITE_P(
    tc, Segments, ::testing::Values(Param{Hook::tc, Family::ipv4}, Param{Hook::tc, Family::ipv6}), name_of);

// A datagram's size is its sender's, and TCP has been told the tunnel's MTU: neither may shrink when the packet grows.
TEST_P(Segments, keep_their_size_behind_an_outer_header)
{
    constexpr std::size_t size = 1380;
    for (const OneWayMode& mode : modes()) {
        for (const std::uint8_t protocol : {protocol_tcp, protocol_udp}) {
            use({});
            serve_one_way(mode);
            const Frame in = protocol == protocol_tcp ? segment(tcp_ack, pattern(5 * size))
                                                      : connection(FLB_DNAT, protocol).request(0, pattern(5 * size));
            const Outcome outcome = run(to_bytes(in), clients(), size);
            EXPECT_EQ(outcome.verdict, Verdict::redirect) << mode;
            EXPECT_EQ(outcome.gso_size, size) << mode;
            EXPECT_TRUE(same(to_bytes(there(mode, in, 1, label_of(mode, outcome.bytes))), outcome.bytes)) << mode;
        }
    }
}

} // namespace
} // namespace featherlb::packet
