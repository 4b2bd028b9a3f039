// SPDX-License-Identifier: Apache-2.0
// Which backend a new connection gets where backends are compared by what they have to do.
#include <algorithm>
#include <map>
#include <numeric>

#include "harness.h"

#include "response.h"

namespace featherlb::packet {
namespace {

class LoadPicks : public Harness {
protected:
    void serve_loads(flb_pick how, const std::vector<std::pair<unsigned, unsigned>>& open_and_weight)
    {
        std::vector<unsigned> numbers(open_and_weight.size());
        std::iota(numbers.begin(), numbers.end(), 1);
        serve(1, {.forward = FLB_DNAT, .pick = how, .backends = {}});
        for (const unsigned n : numbers) {
            put_backend(n, 1, FLB_DNAT);
            plane().loads()[n].open = open_and_weight[n - 1].first;
            plane().loads()[n].weight = 100 * open_and_weight[n - 1].second;
        }
        put_slots(1, numbers);
    }
    [[nodiscard]] Frame syn_of(unsigned n) const
    {
        Connection c{*this};
        c.client = client(n % 200);
        c.client_port = static_cast<std::uint16_t>(1024 + n);
        return c.syn();
    }
    // The backend that the n-th client gets; 0: none.
    unsigned pick(unsigned n)
    {
        const Frame syn = syn_of(n);
        (void)run(syn);
        const Entry owner = find(syn);
        return owner.exists() ? owner.flow->backend : 0;
    }
    // The same, and its connection is over at once.
    unsigned pick_and_forget(unsigned n)
    {
        const unsigned picked = pick(n);
        if (picked != 0)
            plane().loads()[picked].open--;
        std::fill(plane().flows4().begin(), plane().flows4().end(), flb_flow4{});
        std::fill(plane().flows6().begin(), plane().flows6().end(), flb_flow6{});
        return picked;
    }
    std::map<unsigned, unsigned> shares(unsigned tries)
    {
        std::map<unsigned, unsigned> got;
        for (unsigned n = 0; n < tries; n++)
            got[pick_and_forget(n)]++;
        return got;
    }
    void set_response(unsigned n, std::uint32_t us)
    {
        plane().loads()[n].response = response_add(0, us, monotonic_ns());
    }
    static std::uint64_t monotonic_ns()
    {
        timespec now{};
        clock_gettime(CLOCK_MONOTONIC, &now);
        return static_cast<std::uint64_t>(now.tv_sec) * 1000000000 + static_cast<std::uint64_t>(now.tv_nsec);
    }
};
INSTANTIATE_TEST_SUITE_P(hooks, LoadPicks, every_way, name_of);

TEST_P(LoadPicks, the_one_with_the_fewest_open_connections_has_it)
{
    serve_loads(FLB_PICK_LEAST, {{3, 1}, {2, 1}, {5, 1}, {2, 1}});
    std::vector<unsigned> got;
    for (unsigned n = 0; n < 6; n++)
        got.push_back(pick(n));
    std::sort(got.begin(), got.begin() + 2);
    EXPECT_EQ((std::vector(got.begin(), got.begin() + 2)), (std::vector<unsigned>{2, 4}));
    std::sort(got.begin() + 2, got.begin() + 5);
    EXPECT_EQ((std::vector(got.begin() + 2, got.begin() + 5)), (std::vector<unsigned>{1, 2, 4}));
    EXPECT_NE(got[5], 3u);
}

TEST_P(LoadPicks, equal_ones_take_turns)
{
    serve_loads(FLB_PICK_LEAST, {{0, 1}, {7, 1}, {0, 1}, {0, 1}, {9, 1}});
    const std::map<unsigned, unsigned> got = shares(30);
    EXPECT_EQ(got, (std::map<unsigned, unsigned>{{1, 10}, {3, 10}, {4, 10}}));
}

TEST_P(LoadPicks, connections_are_divided_by_weights)
{
    serve_loads(FLB_PICK_LEAST, {{3, 1}, {5, 2}, {11, 4}});
    EXPECT_EQ(pick(0), 2u) << "2.5 to 3 and 2.75";
    EXPECT_EQ(pick(1), 3u) << "2.75 to 3 and 3";
    plane().loads()[2].weight = 100 * 1000;
    plane().loads()[3].weight = 50; // as slow start gives it
    EXPECT_EQ(pick(2), 2u);
    plane().loads()[1].open = 2;
    plane().loads()[2].open = 3000;
    plane().loads()[3].open = 1;
    EXPECT_EQ(pick(3) % 2, 1u) << "2 to 3 and 2";
}

TEST_P(LoadPicks, long_lived_connections_end_in_proportion_to_weights)
{
    serve_loads(FLB_PICK_LEAST, {{0, 1}, {0, 2}, {0, 3}});
    for (unsigned n = 0; n < 60; n++)
        (void)pick(n);
    EXPECT_EQ(plane().loads()[1].open, 10u);
    EXPECT_EQ(plane().loads()[2].open, 20u);
    EXPECT_EQ(plane().loads()[3].open, 30u);
    expect_sound_table();
}

TEST_P(LoadPicks, the_least_of_a_thousand_and_twenty_four_is_found_wherever_it_is)
{
    std::vector<std::pair<unsigned, unsigned>> loads(FLB_MOST_COMPARED, {5, 1});
    serve_loads(FLB_PICK_LEAST, loads);
    for (const unsigned least : {1u, 2u, 17u, 512u, 1023u, 1024u}) {
        plane().loads()[least].open = 4;
        EXPECT_EQ(pick_and_forget(least), least);
        plane().loads()[least].open = 5;
    }
}

TEST_P(LoadPicks, a_count_below_zero_is_none_and_a_weight_of_nothing_is_one)
{
    serve_loads(FLB_PICK_LEAST, {{1, 1}, {0xffffffff, 1}, {1, 1}});
    EXPECT_EQ(pick(0), 2u);
    plane().loads()[2].open = 2;
    plane().loads()[1].weight = 0;
    plane().loads()[3].weight = 50;
    EXPECT_EQ(pick(1), 1u);
}

TEST_P(LoadPicks, one_that_refused_is_avoided_and_the_next_best_has_it)
{
    for (const flb_pick how : {FLB_PICK_LEAST, FLB_PICK_RESPONSE, FLB_PICK_TWO}) {
        use({});
        serve_loads(how, {{0, 1}, {2, 1}, {1, 1}});
        service().refused_ticks = 5;
        plane().marks()[1].avoid_until = ~0ULL;
        for (unsigned n = 0; n < 8; n++) {
            const unsigned got = pick_and_forget(n);
            EXPECT_TRUE(got == 3 || (how == FLB_PICK_TWO && got == 2)) << how << " " << got;
        }
        put_slots(1, {1});
        EXPECT_EQ(pick(50), 1u) << "there is no other";
    }
}

TEST_P(LoadPicks, a_syn_that_leaves_its_backend_goes_to_the_least_loaded_other_one)
{
    for (const flb_pick how : {FLB_PICK_LEAST, FLB_PICK_RESPONSE}) {
        use({});
        serve_loads(how, {{0, 1}, {5, 1}, {4, 1}});
        service().flags |= FLB_SERVICE_SYN_FAILOVER;
        EXPECT_EQ(pick(0), 1u);
        find(syn_of(0)).flow->aux -= Plane::hz;
        (void)run(syn_of(0));
        EXPECT_EQ(find(syn_of(0)).flow->backend, 3u);
    }
}

TEST_P(LoadPicks, of_two_at_random_the_lighter_has_it)
{
    serve_loads(FLB_PICK_TWO, {{0, 1}, {1, 1}, {2, 1}, {3, 1}});
    constexpr double tries = 3000;
    std::map<unsigned, unsigned> got = shares(static_cast<unsigned>(tries));
    double chi_square = 0;
    for (unsigned number = 1; number <= 3; number++) { // of 6 pairs, 3 have the lightest, 2 the next
        const double expected = tries * (4 - number) / 6;
        chi_square += (got[number] - expected) * (got[number] - expected) / expected;
    }
    EXPECT_EQ(got[4], 0u) << "two distinct ones";
    EXPECT_LT(chi_square, 27.6); // 2 degrees of freedom: one run in a million
}

TEST_P(LoadPicks, two_divides_by_weights_and_shares_what_is_equal)
{
    serve_loads(FLB_PICK_TWO, {{3, 1}, {5, 2}});
    for (unsigned n = 0; n < 20; n++)
        EXPECT_EQ(pick_and_forget(n), 2u);
    serve_loads(FLB_PICK_TWO, {{0, 1}, {0, 1}});
    std::map<unsigned, unsigned> got = shares(400);
    EXPECT_GT(got[1], 120u);
    EXPECT_GT(got[2], 120u);
    put_slots(1, {2});
    EXPECT_EQ(pick(900), 2u);
}

TEST_P(LoadPicks, the_least_response_time_times_connections_for_its_weight_has_it)
{
    serve_loads(FLB_PICK_RESPONSE, {{0, 1}, {3, 1}, {0, 1}});
    plane().service_responses()[1].smoothed = response_add(0, 10000, monotonic_ns());
    set_response(1, 40000);
    set_response(2, 9000);
    set_response(3, 50000);
    EXPECT_EQ(pick(0), 2u) << "40 to 4 * 9 and 50";
    EXPECT_EQ(pick(1), 1u) << "40 to 5 * 9 and 50";
    plane().loads()[3].weight = 200;
    EXPECT_EQ(pick(2), 3u) << "2 * 40 to 5 * 9 and 25";
}

TEST_P(LoadPicks, by_response_time_connections_end_in_proportion_to_weight_and_against_the_time)
{
    const std::vector<std::pair<unsigned, std::uint32_t>> weight_and_us = {
        {1, 10000}, {2, 10000}, {3, 10000}, {4, 40000}};
    serve_loads(FLB_PICK_RESPONSE, {{0, 1}, {0, 2}, {0, 3}, {0, 4}});
    for (unsigned n = 0; n < 70; n++) {
        plane().service_responses()[1].smoothed = response_add(0, 10000, monotonic_ns());
        for (unsigned one = 1; one <= 4; one++) // anew, so that none grows old meanwhile
            set_response(one, weight_and_us[one - 1].second);
        (void)pick(n);
    }
    for (unsigned one = 1; one <= 4; one++) {
        const auto& [weight, us] = weight_and_us[one - 1];
        EXPECT_NEAR(plane().loads()[one].open, weight * 10000.0 / us * 10, 1) << "of 1 : 2 : 3 : 4/4, backend " << one;
    }
    expect_sound_table();
}

TEST_P(LoadPicks, by_response_time_too_the_best_of_a_thousand_and_twenty_four_is_found)
{
    serve_loads(FLB_PICK_RESPONSE, std::vector<std::pair<unsigned, unsigned>>(FLB_MOST_COMPARED, {5, 2}));
    for (const unsigned best : {1u, 2u, 17u, 512u, 1023u, 1024u}) {
        plane().service_responses()[1].smoothed = response_add(0, 10000, monotonic_ns());
        for (unsigned one = 1; one <= FLB_MOST_COMPARED; one++)
            set_response(one, one == best ? 8000 : 10000);
        EXPECT_EQ(pick_and_forget(best), best) << "the fastest";
        set_response(best, 10000);
        plane().loads()[best].weight = 300;
        EXPECT_EQ(pick_and_forget(best), best) << "the one with the largest weight";
        plane().loads()[best].weight = 200;
    }
}

TEST_P(LoadPicks, one_of_which_nothing_is_known_counts_as_the_mean)
{
    serve_loads(FLB_PICK_RESPONSE, {{0, 1}, {0, 1}, {0, 1}});
    plane().service_responses()[1].smoothed = response_add(0, 10000, monotonic_ns());
    set_response(1, 15000);
    set_response(3, 14000);
    EXPECT_EQ(pick(0), 2u) << "10";
    EXPECT_EQ(pick(1), 3u) << "15 to 20 and 14";
}

TEST_P(LoadPicks, what_was_slow_long_ago_counts_as_the_mean)
{
    serve_loads(FLB_PICK_RESPONSE, {{0, 1}, {1, 1}});
    plane().service_responses()[1].smoothed = response_add(0, 1000, monotonic_ns());
    set_response(1, 100000);
    set_response(2, 1000);
    EXPECT_EQ(pick_and_forget(0), 2u);
    plane().loads()[1].response = response_add(0, 100000, monotonic_ns() - 5'000'000'000);
    EXPECT_EQ(pick_and_forget(1), 1u) << "less than twice the mean";
}

TEST_P(LoadPicks, without_any_measure_connections_decide)
{
    serve_loads(FLB_PICK_RESPONSE, {{2, 1}, {1, 1}, {2, 1}});
    EXPECT_EQ(pick(0), 2u);
}

TEST_P(LoadPicks, no_slot_means_no_backend)
{
    for (const flb_pick how : {FLB_PICK_LEAST, FLB_PICK_TWO, FLB_PICK_RESPONSE}) {
        for (const flb_forward forward : {FLB_SNAT, FLB_DNAT}) {
            use({});
            serve(1, {.forward = forward, .pick = how, .backends = {}});
            expect_drop("SYN", syn_of(0), FLB_DROP_no_backend);
            put_slots(1, {0});
            expect_drop("SYN", syn_of(0), FLB_DROP_no_backend);
            put_slots(1, {0, 0});
            expect_drop("SYN", syn_of(0), FLB_DROP_no_backend);
            EXPECT_EQ(entries().size(), 0u);
        }
    }
}

TEST_P(LoadPicks, a_segment_from_midstream_is_picked_for_as_well)
{
    serve_loads(FLB_PICK_LEAST, {{1, 1}, {0, 1}});
    (void)run(connection(FLB_DNAT).request_data(tcp_ack, pattern(9)));
    EXPECT_EQ(plane().loads()[2].open, 1u);
}

} // namespace
} // namespace featherlb::packet
