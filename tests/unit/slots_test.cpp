// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <map>
#include <numeric>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "unit/plan_support.h"

namespace featherlb {
namespace {

using plan_test::endpoint;
using testing::Each;
using testing::ElementsAre;
using testing::IsEmpty;

// Backends 1, 2, ... with these weights.
std::vector<WeightedBackend> backends_with(const std::vector<std::uint32_t>& weights, int network = 0)
{
    std::vector<WeightedBackend> backends;
    for (const std::uint32_t weight : weights) {
        const auto id = static_cast<BackendId>(backends.size() + 1);
        const std::string address = "10." + std::to_string(network) + "." + std::to_string(id / 250) + "." +
                                    std::to_string(id % 250 + 1) + ":80";
        backends.push_back({.endpoint = endpoint(address), .id = id, .weight = weight, .up = true});
    }
    return backends;
}

std::vector<WeightedBackend> equal_backends(std::size_t count, int network = 0)
{
    return backends_with(std::vector<std::uint32_t>(count, 1), network);
}

std::map<BackendId, std::size_t> counts_of(const std::vector<BackendId>& slots)
{
    std::map<BackendId, std::size_t> counts;
    for (const BackendId id : slots)
        ++counts[id];
    return counts;
}

double share_moved(const std::vector<BackendId>& before, const std::vector<BackendId>& after)
{
    EXPECT_EQ(before.size(), after.size());
    std::size_t moved = 0;
    for (std::size_t i = 0; i < before.size(); ++i)
        moved += before[i] != after[i] ? 1 : 0;
    return static_cast<double>(moved) / static_cast<double>(before.size());
}

TEST(RoundRobin, has_each_backend_that_is_up_once_in_the_order_of_the_configuration)
{
    auto backends = backends_with({1, 7, 0, 2, 1});
    backends[3].up = false;
    std::swap(backends[0], backends[1]);
    EXPECT_THAT(make_slots(Algorithm::round_robin, backends), ElementsAre(2, 1, 5));
}

TEST(WeightedRoundRobin, interleaves_three_two_one)
{
    EXPECT_THAT(make_slots(Algorithm::weighted_round_robin, backends_with({3, 2, 1})), ElementsAre(1, 2, 1, 3, 2, 1));
}

TEST(WeightedRoundRobin, gives_six_hundred_connections_exactly_in_proportion)
{
    const auto slots = make_slots(Algorithm::weighted_round_robin, backends_with({3, 2, 1}));
    std::map<BackendId, int> connections;
    for (std::size_t turn = 0; turn < 600; ++turn)
        ++connections[slots[turn % slots.size()]];
    EXPECT_THAT(connections, ElementsAre(std::pair(1, 300), std::pair(2, 200), std::pair(3, 100)));
}

TEST(WeightedRoundRobin, spreads_the_heavy_one_around_the_light_ones)
{
    EXPECT_THAT(
        make_slots(Algorithm::weighted_round_robin, backends_with({5, 1, 1})), ElementsAre(1, 1, 2, 1, 3, 1, 1));
}

TEST(WeightedRoundRobin, divides_weights_by_what_they_have_in_common)
{
    EXPECT_THAT(make_slots(Algorithm::weighted_round_robin, backends_with({200, 100})), ElementsAre(1, 2, 1));
}

TEST(WeightedRoundRobin, leaves_out_who_is_down_and_who_has_no_weight)
{
    auto backends = backends_with({4, 2, 0, 2});
    backends[3].up = false;
    EXPECT_THAT(make_slots(Algorithm::weighted_round_robin, backends), ElementsAre(1, 2, 1));
}

TEST(WeightedRoundRobin, is_bounded_and_still_gives_everybody_a_slot)
{
    std::vector<std::uint32_t> weights(1000);
    std::iota(weights.begin(), weights.end(), 1);
    const auto backends = backends_with(weights);
    const auto slots = make_slots(Algorithm::weighted_round_robin, backends);
    EXPECT_EQ(slots.size(), 65536U);
    EXPECT_EQ(slots.size(), count_slots(Algorithm::weighted_round_robin, backends));
    const auto counts = counts_of(slots);
    EXPECT_EQ(counts.size(), 1000U);
    EXPECT_NEAR(static_cast<double>(counts.at(1000)), 1000.0 / 500500 * 65536, 1.0);
}

RC_GTEST_PROP(WeightedRoundRobin, stays_within_two_turns_of_what_is_due, ())
{
    const auto weights =
        *rc::gen::suchThat(rc::gen::container<std::vector<std::uint32_t>>(rc::gen::inRange<std::uint32_t>(1, 30)),
            [](const auto& w) { return !w.empty() && w.size() < 20; });
    const auto slots = make_slots(Algorithm::weighted_round_robin, backends_with(weights));
    const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
    std::vector<int> taken(weights.size(), 0);
    for (std::size_t turn = 0; turn < slots.size(); ++turn) {
        ++taken[slots[turn] - 1];
        for (std::size_t i = 0; i < weights.size(); ++i) {
            const double due = static_cast<double>(turn + 1) * weights[i] / total;
            RC_ASSERT(taken[i] > due - 2.0);
            RC_ASSERT(taken[i] < due + 2.0);
        }
    }
    for (std::size_t i = 0; i < weights.size(); ++i)
        RC_ASSERT(static_cast<std::size_t>(taken[i]) * total == weights[i] * static_cast<double>(slots.size()));
}

TEST(RandomSlots, are_in_proportion_to_the_weights)
{
    EXPECT_THAT(make_slots(Algorithm::random, backends_with({20, 10, 0, 30})), ElementsAre(1, 1, 2, 4, 4, 4));
    EXPECT_THAT(make_slots(Algorithm::random, backends_with({9, 9, 9})), ElementsAre(1, 2, 3));
}

TEST(PicksByLoad, have_each_backend_that_takes_connections_once)
{
    for (const Algorithm algorithm : {Algorithm::least_connections, Algorithm::weighted_least_connections,
             Algorithm::power_of_two, Algorithm::weighted_response_time}) {
        EXPECT_TRUE(picks_by_load(algorithm));
        auto backends = backends_with({20, 10, 0, 30});
        backends[1].up = false;
        EXPECT_THAT(make_slots(algorithm, backends), ElementsAre(1, 4));
    }
    EXPECT_FALSE(picks_by_load(Algorithm::maglev));
}

TEST(AnyAlgorithm, has_no_slots_where_nobody_takes_connections)
{
    auto down = equal_backends(3);
    for (auto& backend : down)
        backend.up = false;
    for (const Algorithm algorithm :
        {Algorithm::round_robin, Algorithm::weighted_round_robin, Algorithm::random, Algorithm::ip_hash,
            Algorithm::maglev, Algorithm::resource_based, Algorithm::least_connections, Algorithm::power_of_two}) {
        EXPECT_THAT(make_slots(algorithm, {}), IsEmpty()) << to_string(algorithm);
        EXPECT_THAT(make_slots(algorithm, down), IsEmpty()) << to_string(algorithm);
        EXPECT_THAT(make_slots(algorithm, backends_with({0, 0})), IsEmpty()) << to_string(algorithm);
        EXPECT_EQ(count_slots(algorithm, down), 0U) << to_string(algorithm);
    }
}

TEST(Maglev, comes_in_sizes_of_the_ladder)
{
    const auto size = [](std::size_t count) { return make_slots(Algorithm::maglev, equal_backends(count)).size(); };
    EXPECT_EQ(size(1), 1021U);
    EXPECT_EQ(size(10), 1021U);
    EXPECT_EQ(size(11), 4093U);
    EXPECT_EQ(size(40), 4093U);
    EXPECT_EQ(size(41), 16381U);
    EXPECT_EQ(size(656), 262139U);
}

TEST(Maglev, keeps_its_size_whatever_is_down)
{
    auto backends = equal_backends(11);
    for (std::size_t i = 0; i + 1 < backends.size(); ++i) {
        backends[i].up = false;
        EXPECT_EQ(make_slots(Algorithm::maglev, backends).size(), 4093U);
    }
    EXPECT_THAT(make_slots(Algorithm::maglev, backends), Each(11U));
}

TEST(Maglev, is_the_same_table_on_every_machine_and_in_every_release)
{
    auto backends = backends_with({1, 1, 2});
    backends.push_back({.endpoint = endpoint("[2001:db8::1]:443"), .id = 4, .weight = 1, .up = true});
    std::uint64_t sum = 0;
    for (const BackendId id : make_slots(Algorithm::maglev, backends))
        sum = sum * 31 + id;
    EXPECT_EQ(sum, 18092844330423778489ULL) << "a table that changes moves the connections of everyone who upgrades";
}

TEST(Maglev, gives_ten_backends_almost_equal_shares)
{
    for (int network = 0; network < 50; ++network) {
        const auto counts = counts_of(make_slots(Algorithm::maglev, equal_backends(10, network)));
        for (const auto& [id, count] : counts)
            EXPECT_LE(static_cast<double>(count), 1.05 * 1021 / 10);
    }
}

TEST(Maglev, moves_only_the_slots_of_one_that_goes_down)
{
    for (int network = 0; network < 50; ++network) {
        auto backends = equal_backends(10, network);
        const auto before = make_slots(Algorithm::maglev, backends);
        backends[static_cast<std::size_t>(network) % 10].up = false;
        EXPECT_LE(share_moved(before, make_slots(Algorithm::maglev, backends)), 0.102);
    }
}

TEST(Maglev, moves_little_more_than_the_slots_of_one_that_is_removed)
{
    double sum = 0;
    for (int network = 0; network < 50; ++network) {
        auto backends = equal_backends(10, network);
        const auto before = make_slots(Algorithm::maglev, backends);
        backends.erase(backends.begin() + network % 10);
        const double moved = share_moved(before, make_slots(Algorithm::maglev, backends));
        EXPECT_LE(moved, 0.18);
        sum += moved;
    }
    EXPECT_LE(sum / 50, 0.14);
}

TEST(Maglev, moves_little_more_than_the_slots_of_a_second_that_goes_down)
{
    double sum = 0;
    for (int network = 0; network < 50; ++network) {
        auto backends = equal_backends(10, network);
        backends[3].up = false;
        const auto before = make_slots(Algorithm::maglev, backends);
        backends[7].up = false;
        sum += share_moved(before, make_slots(Algorithm::maglev, backends));
    }
    EXPECT_LE(sum / 50, 0.14);
}

TEST(Maglev, moves_few_slots_when_one_that_was_down_is_removed)
{
    double sum = 0;
    for (int network = 0; network < 50; ++network) {
        auto backends = equal_backends(10, network);
        backends[3].up = false;
        const auto before = make_slots(Algorithm::maglev, backends);
        backends.erase(backends.begin() + 3);
        sum += share_moved(before, make_slots(Algorithm::maglev, backends));
    }
    EXPECT_LE(sum / 50, 0.06);
}

TEST(Maglev, treats_weight_zero_as_a_backend_that_is_down)
{
    auto backends = equal_backends(10);
    auto down = backends;
    down[4].up = false;
    backends[4].weight = 0;
    EXPECT_EQ(make_slots(Algorithm::maglev, backends), make_slots(Algorithm::maglev, down));
}

TEST(Maglev, gives_the_lightest_a_fair_number_of_slots_in_a_table_of_reasonable_size)
{
    const auto canary = make_slots(Algorithm::maglev, backends_with({999, 1}));
    EXPECT_EQ(canary.size(), 16381U);
    EXPECT_NEAR(static_cast<double>(counts_of(canary).at(2)), 16.4, 1.0);

    std::vector<std::uint32_t> weights(1000, 1000);
    weights[17] = 1;
    const auto wide = make_slots(Algorithm::maglev, backends_with(weights));
    EXPECT_EQ(wide.size(), 1048573U);
    EXPECT_GE(counts_of(wide).at(18), 1U);
}

TEST(Maglev, tells_backends_on_the_same_address_apart_by_port)
{
    std::vector<WeightedBackend> backends;
    for (std::uint32_t port = 8000; port < 8010; ++port)
        backends.push_back({.endpoint = {plan_test::address("10.0.0.1"), static_cast<std::uint16_t>(port)},
            .id = port,
            .weight = 1,
            .up = true});
    for (const auto& [id, count] : counts_of(make_slots(Algorithm::maglev, backends)))
        EXPECT_NEAR(static_cast<double>(count), 102.1, 1.0);
}

TEST(IpHash, uses_the_same_table_as_maglev)
{
    const auto backends = backends_with({3, 2, 1});
    EXPECT_EQ(make_slots(Algorithm::ip_hash, backends), make_slots(Algorithm::maglev, backends));
}

// Some backends, some of them down, at least one that takes connections.
std::vector<WeightedBackend> some_backends()
{
    const auto weights = *rc::gen::resize(
        40, rc::gen::nonEmpty(rc::gen::container<std::vector<std::uint32_t>>(rc::gen::inRange<std::uint32_t>(0, 20))));
    auto backends = backends_with(weights, *rc::gen::inRange(0, 250));
    for (auto& backend : backends)
        backend.up = *rc::gen::inRange(0, 4) != 0;
    backends.front().up = true;
    backends.front().weight = std::max(backends.front().weight, 1U);
    return backends;
}

RC_GTEST_PROP(Maglev, shares_are_within_a_slot_of_the_weights, ())
{
    auto backends = some_backends();
    const auto slots = make_slots(Algorithm::maglev, backends);
    auto counts = counts_of(slots);
    double total = 0;
    for (const auto& backend : backends)
        total += backend.up ? backend.weight : 0;
    for (const auto& backend : backends) {
        const double due = backend.up ? backend.weight / total * static_cast<double>(slots.size()) : 0;
        RC_ASSERT(std::abs(static_cast<double>(counts[backend.id]) - due) <= 2.0);
    }
}

RC_GTEST_PROP(Maglev, does_not_depend_on_the_order_of_the_file, ())
{
    auto backends = some_backends();
    const auto slots = make_slots(Algorithm::maglev, backends);
    std::shuffle(backends.begin(), backends.end(), std::mt19937(*rc::gen::arbitrary<unsigned>()));
    RC_ASSERT(make_slots(Algorithm::maglev, backends) == slots);
}

RC_GTEST_PROP(Maglev, slots_of_backends_that_are_up_stay_where_they_were_when_all_were, ())
{
    const auto backends = some_backends();
    auto all_up = backends;
    std::uint32_t lightest = 20;
    for (const auto& backend : backends)
        lightest = backend.weight > 0 ? std::min(lightest, backend.weight) : lightest;
    for (auto& backend : all_up) {
        backend.up = true;
        backend.weight = backend.weight > 0 ? backend.weight : lightest;
    }
    const auto full = make_slots(Algorithm::maglev, all_up);
    const auto slots = make_slots(Algorithm::maglev, backends);
    RC_ASSERT(full.size() == slots.size());
    for (std::size_t i = 0; i < full.size(); ++i) {
        const auto& owner = backends[full[i] - 1];
        RC_ASSERT(!owner.up || owner.weight == 0 || slots[i] == full[i]);
    }
}

RC_GTEST_PROP(AnyAlgorithm, makes_as_many_slots_as_it_counts, ())
{
    const auto backends = some_backends();
    for (const Algorithm algorithm : {Algorithm::round_robin, Algorithm::weighted_round_robin, Algorithm::random,
             Algorithm::ip_hash, Algorithm::maglev, Algorithm::weighted_least_connections,
             Algorithm::weighted_response_time, Algorithm::resource_based})
        RC_ASSERT(make_slots(algorithm, backends).size() == count_slots(algorithm, backends));
}

} // namespace
} // namespace featherlb
