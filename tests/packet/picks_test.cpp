// SPDX-License-Identifier: Apache-2.0
// Which backend a new connection gets from the slot table.
#include <algorithm>
#include <map>
#include <numeric>

#include "harness.h"

namespace featherlb::packet {
namespace {

class Picks : public Harness {
protected:
    void forget()
    {
        std::fill(plane().flows4().begin(), plane().flows4().end(), flb_flow4{});
        std::fill(plane().flows6().begin(), plane().flows6().end(), flb_flow6{});
    }
    // The backend that this SYN goes to, by the hook given; 0: none.
    unsigned pick(const Frame& syn, Hook by)
    {
        const Outcome outcome = plane().run(by, to_bytes(syn), {clients().index, 0});
        return outcome.verdict == Verdict::redirect ? outcome.bytes.at(5) : 0; // last byte of backend_mac
    }
    unsigned pick(const Frame& syn) { return pick(syn, hook()); }
    [[nodiscard]] Frame syn_of(unsigned host, std::uint16_t port = client_port) const
    {
        Connection c{*this};
        c.client = client(host);
        c.client_port = port;
        return c.syn();
    }
    void serve_dnat(flb_pick how, const std::vector<unsigned>& slots, std::uint64_t seed = 1)
    {
        serve(1, {.forward = FLB_DNAT, .pick = how, .backends = slots, .pick_seed = seed});
    }
};
INSTANTIATE_TEST_SUITE_P(hooks, Picks, every_way, name_of);

TEST_P(Picks, in_turn_follows_the_slots_strictly)
{
    const std::vector<unsigned> slots = {1, 2, 1, 3, 1, 2};
    serve_dnat(FLB_PICK_TURN, slots);
    for (unsigned n = 0; n < 60; n++)
        EXPECT_EQ(pick(syn_of(n)), slots[n % slots.size()]) << n;
}

TEST_P(Picks, only_new_connections_take_a_turn)
{
    serve(1, {.backends = {1, 2}});
    const Connection c{*this};
    play(c.handshake());
    play({c.there("SYN again", c.syn()), c.there("data", c.request_data(tcp_ack, pattern(3)))});
    EXPECT_EQ(pick(syn_of(1)), 2u);
    EXPECT_EQ(pick(syn_of(2)), 1u);
}

TEST_P(Picks, services_have_their_own_turns)
{
    serve(1, {.backends = {1, 2}});
    serve(2, {.backends = {3, 4}});
    Frame other = syn_of(0, 50000);
    other.destination = service_address(2);
    EXPECT_EQ(pick(syn_of(0)), 1u);
    EXPECT_EQ(pick(other), 3u);
    EXPECT_EQ(pick(syn_of(1)), 2u);
    other.sport++;
    EXPECT_EQ(pick(other), 4u);
}

TEST_P(Picks, random_is_uniform_over_the_slots)
{
    const std::vector<unsigned> slots = {1, 2, 3, 3};
    serve_dnat(FLB_PICK_RANDOM, slots);
    std::map<unsigned, double> got;
    constexpr unsigned tries = 4000;
    for (unsigned n = 0; n < tries; n++) {
        if (n % 500 == 0)
            forget();
        got[pick(syn_of(n))]++;
    }
    double chi_square = 0;
    for (const auto& [number, share] : std::map<unsigned, double>{{1, 0.25}, {2, 0.25}, {3, 0.5}})
        chi_square += (got[number] - tries * share) * (got[number] - tries * share) / (tries * share);
    EXPECT_LT(chi_square, 27.6); // 2 degrees of freedom: one run in a million
    EXPECT_EQ(got.size(), 3u);
}

TEST_P(Picks, a_hash_of_the_five_tuple_is_the_same_at_both_hooks_and_always)
{
    std::vector<unsigned> slots(101);
    std::iota(slots.begin(), slots.end(), 1);
    serve_dnat(FLB_PICK_HASH_5TUPLE, slots);
    std::map<unsigned, unsigned> got;
    for (unsigned n = 0; n < 400; n++) {
        const Frame syn = syn_of(n / 20, static_cast<std::uint16_t>(1024 + n * 7));
        const unsigned first = pick(syn, Hook::xdp);
        forget();
        EXPECT_EQ(pick(syn, Hook::tc), first);
        forget();
        EXPECT_EQ(pick(syn, Hook::xdp), first);
        got[first]++;
        forget();
    }
    EXPECT_GT(got.size(), 80u) << "spread over the slots";
}

TEST_P(Picks, a_hash_of_the_addresses_ignores_the_ports)
{
    std::vector<unsigned> slots(101);
    std::iota(slots.begin(), slots.end(), 1);
    serve_dnat(FLB_PICK_HASH_ADDRESSES, slots);
    listen(service_address(1), 443, protocol_tcp, 1);
    std::map<unsigned, unsigned> got;
    for (unsigned n = 0; n < 200; n++) {
        const unsigned first = pick(syn_of(n), Hook::xdp);
        got[first]++;
        Frame other = syn_of(n, static_cast<std::uint16_t>(2000 + n));
        EXPECT_EQ(pick(other, Hook::tc), first);
        other.sport++;
        other.dport = 443;
        EXPECT_EQ(pick(other), first);
        forget();
    }
    EXPECT_GT(got.size(), 70u);
}

// The hash decides alone, whatever the flow table's own seed is: two balancers of different table sizes agree.
TEST_P(Picks, balancers_with_other_tables_pick_the_same)
{
    std::vector<unsigned> slots(101);
    std::iota(slots.begin(), slots.end(), 1);
    std::vector<unsigned> picks;
    for (const Sets sets : {Sets{}, Sets{16, 16}}) {
        use(sets);
        serve_dnat(FLB_PICK_HASH_5TUPLE, slots);
        for (unsigned n = 0; n < 100; n++)
            picks.push_back(pick(syn_of(n)));
    }
    EXPECT_TRUE(std::equal(picks.begin(), picks.begin() + 100, picks.begin() + 100));
}

TEST_P(Picks, another_seed_gives_another_distribution)
{
    std::vector<unsigned> slots(101);
    std::iota(slots.begin(), slots.end(), 1);
    unsigned same = 0;
    serve_dnat(FLB_PICK_HASH_5TUPLE, slots, 1);
    std::vector<unsigned> before;
    for (unsigned n = 0; n < 200; n++)
        before.push_back(pick(syn_of(n)));
    forget();
    plane().services()[1].pick_seed = 2;
    for (unsigned n = 0; n < 200; n++)
        same += pick(syn_of(n)) == before[n];
    EXPECT_LT(same, 20u);
}

// Neighbouring clients and ports must not follow each other over the slots.
TEST_P(Picks, the_hash_spreads_neighbours_evenly)
{
    serve_dnat(FLB_PICK_HASH_5TUPLE, {1, 2, 3, 4, 5, 6, 7, 8});
    for (const bool by_port : {true, false}) {
        std::map<unsigned, double> got;
        for (unsigned n = 0; n < 1600; n++) {
            got[by_port ? pick(syn_of(0, static_cast<std::uint16_t>(1024 + n))) : pick(syn_of(n))]++;
            if (n % 400 == 0)
                forget();
        }
        double chi_square = 0;
        for (unsigned number = 1; number <= 8; number++)
            chi_square += (got[number] - 200) * (got[number] - 200) / 200;
        EXPECT_LT(chi_square, 38.0) << "by port: " << by_port; // 7 degrees of freedom: 3 in a million
    }
}

TEST_P(Picks, a_new_slot_table_takes_effect_with_the_next_connection)
{
    serve_dnat(FLB_PICK_TURN, {1, 2});
    put_slots(1, {1});
    const Frame old = syn_of(0);
    EXPECT_EQ(pick(old), 1u);
    put_slots(1, {2});
    EXPECT_EQ(pick(syn_of(1)), 2u);
    EXPECT_EQ(pick(old), 1u) << "a flow keeps its backend";
}

TEST_P(Picks, no_slot_means_no_backend)
{
    for (const flb_forward forward : {FLB_SNAT, FLB_DNAT}) {
        for (const flb_pick how : {FLB_PICK_TURN, FLB_PICK_RANDOM, FLB_PICK_HASH_5TUPLE, FLB_PICK_HASH_ADDRESSES}) {
            use({});
            serve(1, {.forward = forward, .pick = how, .backends = {}});
            expect_drop("SYN", syn_of(0), FLB_DROP_no_backend);
            serve(1, {.forward = forward, .pick = how, .backends = {1}});
            put_slots(1, {0});
            expect_drop("SYN", syn_of(0), FLB_DROP_no_backend);
            EXPECT_EQ(entries().size(), 0u);
        }
    }
}

} // namespace
} // namespace featherlb::packet
