// SPDX-License-Identifier: Apache-2.0
// The table full of proven connections, and the table that is too small for the rate of new ones.
#include "harness.h"

namespace featherlb::packet {
namespace {

constexpr std::uint32_t sets = 64; // rated for as many connections; about twice as many fit

class FullTable : public Harness {
protected:
    void SetUp() override
    {
        Harness::SetUp();
        use({sets, sets});
        set_ports(first_snat_port, 5000, 1);
        serve(1, {.backends = {1}});
        serve(2, {.forward = FLB_DNAT, .backends = {2}});
    }

    [[nodiscard]] Connection nth(unsigned n, unsigned service = 1, std::uint8_t protocol = protocol_tcp) const
    {
        Connection c{.h = *this, .protocol = protocol, .service = service, .backend = service, .client = client(n)};
        return service == 1 ? c : c.kept();
    }

    // Opens connections until the table has refused many in a row; those that are proven.
    std::vector<Connection> fill()
    {
        std::vector<Connection> proven;
        for (unsigned n = 0, refused = 0; refused < 200; n++) {
            Connection c = nth(n);
            if (run(c.syn()).verdict == Verdict::drop) {
                refused++;
                continue;
            }
            c.outside_port = find(c.syn()).new_sport;
            play({c.back("SYN-ACK", c.syn_ack()), c.there("ACK", c.first_ack())});
            proven.push_back(c);
        }
        return proven;
    }

    void expect_all_go_on(const std::vector<Connection>& connections)
    {
        for (const Connection& c : connections)
            play({c.there("data", c.request_data(tcp_ack, pattern(9))),
                c.back("data", c.answer_data(tcp_ack, pattern(8)))});
    }
};
INSTANTIATE_TEST_SUITE_P(hooks, FullTable, every_way, name_of);

// A few entries stay free, where a connection found room for one direction only.
TEST_P(FullTable, refuses_new_connections_of_snat_by_name_and_old_ones_go_on)
{
    const std::vector<Connection> old = fill();
    EXPECT_GT(old.size(), sets * 3 / 2);
    std::uint64_t refused = 0;
    for (unsigned n = 5000; n < 5100; n++)
        for (const Frame& first : {nth(n).syn(), nth(n, 1, protocol_udp).request(0, pattern(5))})
            refused += run(first).verdict == Verdict::drop;
    EXPECT_GE(refused, 190u) << "of 200";
    EXPECT_EQ(plane().drops(FLB_DROP_table_full), 200 + refused);
    EXPECT_EQ(all_drops(), 200 + refused);
    expect_all_go_on(old);
    EXPECT_EQ(plane().counters(1).connections, old.size() + 200 - refused);
    EXPECT_EQ(plane().counters(1).packets[0], old.size() * 3 + 200 - refused);
    EXPECT_EQ(plane().counters(1).packets[1], old.size() * 2);
}

TEST_P(FullTable, forwards_new_connections_of_dnat_without_storing_them)
{
    const std::vector<Connection> old = fill();
    unsigned stored = 0;
    for (unsigned n = 5000; n < 5100; n++) {
        const Connection tcp = nth(n, 2), udp = nth(n, 2, protocol_udp);
        play({tcp.there("SYN", tcp.syn()), tcp.there("ACK", tcp.first_ack()),
            tcp.there("data", tcp.request_data(tcp_ack, pattern(30))), udp.there("UDP", udp.request(0, pattern(5)))});
        stored += (find(tcp.syn()).exists() ? 1u : 0u) + (find(udp.request()).exists() ? 1u : 0u);
    }
    EXPECT_LE(stored, 10u) << "of 200";
    EXPECT_EQ(plane().counters(2).packets[0], 400u);
    EXPECT_GE(plane().counters(2).connections, stored);
    EXPECT_LE(plane().counters(2).connections, 20u) << "what is not stored is not open";
    expect_all_go_on(old);
}

TEST_P(FullTable, has_room_again_when_connections_end)
{
    const std::vector<Connection> old = fill();
    const std::size_t ending = old.size() / 2;
    for (std::size_t i = 0; i < ending; i++)
        play({old[i].there("FIN", old[i].request_data(tcp_fin | tcp_ack)),
            old[i].back("FIN", old[i].answer_data(tcp_fin | tcp_ack))});
    unsigned refused = 0;
    for (unsigned n = 5000; n < 5000 + ending / 2; n++)
        refused += run(nth(n).syn()).verdict == Verdict::drop;
    EXPECT_LE(refused, ending / 20);
    expect_all_go_on({old.begin() + static_cast<long>(ending), old.end()});
}

// ---- too small for the rate --------------------------------------------------------------------------------

TEST_P(FullTable, young_connections_that_give_way_are_counted)
{
    for (unsigned n = 0; n < sets / 4; n++)
        (void)run(nth(n).syn());
    EXPECT_EQ(plane().events(FLB_EVENT_evicted), 0u) << "there was room";
    for (unsigned n = 0; n < sets * 8; n++)
        (void)run(nth(n).syn());
    EXPECT_GT(plane().events(FLB_EVENT_evicted), sets * 4u);
    EXPECT_EQ(plane().drops(FLB_DROP_table_full), 0u);
}

TEST_P(FullTable, unproven_connections_that_had_their_time_give_way_uncounted)
{
    for (const std::uint32_t age : {std::uint32_t{FLB_YOUNG_TICKS - 1}, std::uint32_t{FLB_YOUNG_TICKS}}) {
        use({1, 1});
        serve(1);
        (void)run(nth(0).syn());
        (void)run(nth(1).syn());
        for (const Entry& entry : entries())
            entry.grow_old(age);
        (void)run(nth(2).syn()); // takes the oldest two
        EXPECT_EQ(plane().events(FLB_EVENT_evicted), age < FLB_YOUNG_TICKS ? 2u : 0u);
    }
}

TEST_P(FullTable, expired_and_closed_connections_are_no_evictions)
{
    use({1, 1});
    serve(1);
    for (unsigned n = 0; n < 50; n++) {
        Connection c = nth(n);
        ASSERT_EQ(run(c.syn()).verdict, sent(clients(), backends()));
        c.outside_port = find(c.syn()).new_sport;
        play({c.back("SYN-ACK", c.syn_ack()), c.there("ACK", c.first_ack()),
            c.there("FIN", c.request_data(tcp_fin | tcp_ack)), c.back("FIN", c.answer_data(tcp_fin | tcp_ack))});
    }
    EXPECT_EQ(plane().events(FLB_EVENT_evicted), 0u);
}

} // namespace
} // namespace featherlb::packet
