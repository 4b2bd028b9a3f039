// SPDX-License-Identifier: Apache-2.0
// Which backend a new connection gets where backends are compared by what they have to do.
#include <algorithm>
#include <cstdlib>
#include <map>
#include <numeric>
#include <random>

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
    void set_open(unsigned n, unsigned open)
    {
        plane().loads()[n].open = open;
        plane().bounds().lowered(n);
    }
    void set_weight(unsigned n, unsigned hundredths)
    {
        plane().loads()[n].weight = hundredths;
        plane().bounds().lowered(n);
    }
    [[nodiscard]] Connection connection_of(unsigned n) const
    {
        Connection c{*this};
        c.client = client(n % 200);
        c.client_port = static_cast<std::uint16_t>(1024 + n);
        return c.kept();
    }
    [[nodiscard]] Frame syn_of(unsigned n) const { return connection_of(n).syn(); }
    // What the next pick of service 1 ought to be, of the backends 1 to `all`.
    [[nodiscard]] unsigned least_of(unsigned all)
    {
        unsigned best = 0;
        for (unsigned i = 0; i < all; i++) {
            const unsigned n = static_cast<unsigned>((plane().turns()[1] + i) % all) + 1;
            const flb_backend_load &load = plane().loads()[n], &least = plane().loads()[best];
            const auto open = [](const flb_backend_load& of) {
                return std::max<std::int64_t>(0, std::int32_t(of.open));
            };
            if (best == 0 || open(load) * least.weight < open(least) * load.weight)
                best = n;
        }
        return best;
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
            set_open(picked, plane().loads()[picked].open - 1);
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
        set_open(least, 4);
        EXPECT_EQ(pick_and_forget(least), least);
        set_open(least, 5);
    }
}

// Against a search of all, in the order of turns: nothing that happens between two picks leaves a bound too high.
TEST_P(LoadPicks, however_connections_come_and_go_the_least_is_found)
{
    const unsigned steps = std::getenv("FEATHERLB_MODEL_PACKETS") ? 100 : 1000; // as long as the model's traffic
    std::minstd_rand random(7);
    for (const unsigned all : {17u, 100u, 333u, 1024u}) {
        for (const unsigned heaviest : {1u, 5u, 3000u}) {
            SCOPED_TRACE(testing::Message() << all << " backends, weights up to " << heaviest);
            use({});
            std::vector<std::pair<unsigned, unsigned>> loads(all);
            for (auto& [open, weight] : loads)
                weight = 1 + static_cast<unsigned>(random()) % heaviest;
            serve_loads(FLB_PICK_LEAST, loads);
            std::vector<unsigned> open; // connections
            unsigned next = 0, closed = 0;
            for (unsigned step = 0; step < steps; step++) {
                const unsigned what = static_cast<unsigned>(random()) % 100;
                const unsigned n = 1 + static_cast<unsigned>(random()) % all;
                const bool filling = step < steps / 5 * 3;
                if (what < (filling ? 70u : 30u)) {
                    const unsigned expected = least_of(all);
                    const std::uint64_t turn = plane().turns()[1] % all;
                    const auto before = std::vector<flb_backend_load>(plane().loads().begin(), plane().loads().end());
                    const unsigned got = pick(next);
                    ASSERT_EQ(got, expected) << "step " << step << ", the turn of " << turn + 1
                                             << ", open: " << static_cast<int>(before[got].open) << " and "
                                             << static_cast<int>(before[expected].open) << ", weights "
                                             << before[got].weight << " and " << before[expected].weight;
                    open.push_back(next++);
                } else if (what < 90 && !open.empty()) {
                    std::swap(open[random() % open.size()], open.back());
                    Connection c = connection_of(open.back());
                    open.pop_back();
                    const Entry owner = find(c.syn());
                    if (!owner.flow)
                        continue; // it gave way to another one: nobody has proven it
                    c.backend = owner.flow->backend;
                    const std::uint32_t before = plane().loads()[c.backend].open;
                    (void)run(c.answer_data(tcp_rst | tcp_ack));
                    closed += plane().loads()[c.backend].open == before - 1; // not where its reply's entry gave way
                } else if (what < 96) {
                    set_weight(n, 100 * (1 + static_cast<unsigned>(random()) % heaviest));
                } else {
                    set_open(n, static_cast<unsigned>(random()) % 4);
                }
            }
            EXPECT_GT(closed, steps / 20);
            expect_sound_bounds();
        }
    }
}

TEST_P(LoadPicks, what_a_pick_found_out_is_written_down_and_asked)
{
    serve_loads(FLB_PICK_LEAST, std::vector<std::pair<unsigned, unsigned>>(100, {5, 1}));
    for (unsigned n = 0; n < 100; n++)
        (void)pick(n);
    EXPECT_EQ(pick_and_forget(100), 1u) << "the second turn";
    plane().loads()[60].open = 0; // nobody tells
    for (unsigned n = 101; n < 110; n++)
        EXPECT_NE(pick_and_forget(n), 60u) << "its chunk has a bound";
    set_open(60, 0);
    EXPECT_EQ(pick(110), 60u);
}

TEST_P(LoadPicks, an_avoided_or_unwanted_backend_leaves_bounds_as_they_were)
{
    serve_loads(FLB_PICK_LEAST, std::vector<std::pair<unsigned, unsigned>>(64, {5, 1}));
    service().refused_ticks = 5;
    set_open(20, 0);
    set_open(40, 2);
    plane().marks()[20].avoid_until = ~0ULL;
    EXPECT_EQ(pick_and_forget(0), 40u);
    EXPECT_EQ(pick_and_forget(1), 40u);
    expect_sound_bounds();
    plane().marks()[20].avoid_until = 0;
    EXPECT_EQ(pick_and_forget(2), 20u);
    service().flags |= FLB_SERVICE_SYN_FAILOVER;
    EXPECT_EQ(pick(3), 20u);
    find(syn_of(3)).flow->aux -= Plane::hz;
    (void)run(syn_of(3));
    EXPECT_EQ(find(syn_of(3)).flow->backend, 40u);
    expect_sound_bounds();
}

TEST_P(LoadPicks, a_bound_of_more_connections_or_weight_than_it_has_bits_for_is_sound)
{
    serve_loads(FLB_PICK_LEAST, std::vector<std::pair<unsigned, unsigned>>(40, {5'000'000, 1}));
    plane().loads()[40].open = 4'999'999;
    EXPECT_EQ(pick_and_forget(0), 40u);
    expect_sound_bounds();
    for (unsigned n = 1; n <= 40; n++)
        set_weight(n, 300'000);
    set_weight(7, 300'001);
    EXPECT_EQ(pick_and_forget(1), 7u);
    expect_sound_bounds();
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
