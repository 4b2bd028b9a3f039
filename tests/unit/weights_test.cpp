// SPDX-License-Identifier: Apache-2.0
// Slot tables under weights of 0 to 1000: balance, how little moves, and that they are the same everywhere.
// docs/algorithms.md states the bounds.
#include <numeric>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "unit/shares_support.h"

namespace featherlb {
namespace {

using namespace plan_test;

constexpr Algorithm by_hash[] = {Algorithm::maglev, Algorithm::ip_hash};
constexpr Algorithm by_weight[] = {Algorithm::weighted_round_robin, Algorithm::random, Algorithm::resource_based};

RC_GTEST_PROP(Weights, maglev_and_ip_hash_give_every_backend_its_part_give_or_take_two_slots, ())
{
    auto backends = any_backends();
    take_some_down(backends);
    for (const Algorithm algorithm : by_hash) {
        const auto slots = make_slots(algorithm, backends);
        auto counts = slots_of_each(slots);
        for (const auto& [id, due] : due_of(backends, slots.size())) {
            RC_ASSERT(std::abs(static_cast<double>(counts[id]) - due) <= 2.0);
            RC_ASSERT((due > 0) == (counts[id] > 0));
        }
    }
}

RC_GTEST_PROP(Weights, round_robin_and_random_give_every_backend_exactly_its_part, ())
{
    auto backends = any_backends();
    take_some_down(backends);
    for (const Algorithm algorithm : by_weight) {
        const auto slots = make_slots(algorithm, backends);
        auto counts = slots_of_each(slots);
        for (const auto& [id, due] : due_of(backends, slots.size()))
            RC_ASSERT(std::abs(static_cast<double>(counts[id]) - due) < 1e-6);
    }
}

RC_GTEST_PROP(Weights, no_run_of_turns_gives_anybody_more_than_two_beyond_its_part, ())
{
    const auto backends = any_backends();
    const auto slots = make_slots(Algorithm::weighted_round_robin, backends);
    const auto due = due_of(backends, 1);
    std::map<BackendId, double> taken;
    for (std::size_t turn = 0; turn < slots.size(); ++turn) {
        taken[slots[turn]] += 1;
        const BackendId id = slots[turn];
        RC_ASSERT(std::abs(taken[id] - due.at(id) * static_cast<double>(turn + 1)) < 2.0);
    }
}

RC_GTEST_PROP(Weights, only_the_slots_of_those_that_go_down_move_and_all_come_back, ())
{
    const auto all_up = any_backends(1);
    auto some = all_up;
    take_some_down(some);
    const auto before = make_slots(Algorithm::maglev, all_up);
    const auto after = make_slots(Algorithm::maglev, some);
    RC_ASSERT(before.size() == after.size());
    for (std::size_t i = 0; i < before.size(); ++i)
        RC_ASSERT(!some[before[i] - 1].up || after[i] == before[i]);
    RC_ASSERT(make_slots(Algorithm::maglev, all_up) == before);
}

RC_GTEST_PROP(Weights, the_slots_of_one_that_is_down_are_shared_by_weight, ())
{
    auto backends = any_backends();
    RC_PRE(std::ranges::count_if(backends, [](const auto& one) { return one.weight > 0; }) > 1);
    const auto before = slots_of_each(make_slots(Algorithm::maglev, backends));
    const auto victim = std::ranges::find_if(backends, [](const auto& one) { return one.weight > 0; });
    victim->up = false;
    const auto slots = make_slots(Algorithm::maglev, backends);
    auto counts = slots_of_each(slots);
    RC_ASSERT(counts[victim->id] == 0);
    for (const auto& [id, due] : due_of(backends, slots.size())) {
        RC_ASSERT(std::abs(static_cast<double>(counts[id]) - due) <= 2.0);
        RC_ASSERT(counts[id] + 1 >= (before.contains(id) && id != victim->id ? before.at(id) : 0));
    }
}

RC_GTEST_PROP(Weights, the_table_depends_neither_on_the_order_of_the_file_nor_on_numbers, ())
{
    auto backends = any_backends();
    take_some_down(backends);
    auto others = backends;
    std::mt19937 random(*rc::gen::arbitrary<unsigned>());
    std::shuffle(others.begin(), others.end(), random);
    BackendId id = 100;
    for (WeightedBackend& backend : others)
        backend.id = ++id;
    for (const Algorithm algorithm : by_hash)
        RC_ASSERT(
            owners_of(make_slots(algorithm, backends), backends) == owners_of(make_slots(algorithm, others), others));
    std::ranges::sort(others, {}, [&](const WeightedBackend& one) {
        return std::ranges::find(backends, one.endpoint, &WeightedBackend::endpoint) - backends.begin();
    });
    for (const Algorithm algorithm : by_weight)
        RC_ASSERT(
            owners_of(make_slots(algorithm, backends), backends) == owners_of(make_slots(algorithm, others), others));
}

// Twenty backends of some size; the table keeps its size in all of these.
Backends twenty(int network, std::mt19937& random)
{
    std::vector<std::uint32_t> weights(20);
    std::ranges::generate(weights, [&] { return std::uniform_int_distribution<std::uint32_t>(20, 100)(random); });
    weights[19] = 20;
    return backends_of(weights, network);
}

struct Moves {
    double moved = 0;
    double least = 0; // that any table must move
    double worst = 0; // beyond the least

    void add(const Backends& before, const Backends& after)
    {
        const auto old = make_slots(Algorithm::maglev, before);
        const auto now = make_slots(Algorithm::maglev, after);
        const double percent = percent_moved(owners_of(old, before), owners_of(now, after));
        const auto then_due = due_of(before, 100);
        const auto now_due = due_of(after, 100);
        double needed = 0;
        for (const auto& [id, due] : then_due)
            needed += std::max(0.0, due - (now_due.contains(id) ? now_due.at(id) : 0));
        moved += percent;
        least += needed;
        worst = std::max(worst, percent - needed);
    }
};

template <typename Change>
Moves moves_of(Change change)
{
    constexpr int rounds = 100;
    std::mt19937 random(4);
    Moves moves;
    for (int network = 0; network < rounds; ++network) {
        const auto before = twenty(network, random);
        auto after = before;
        change(after, random);
        moves.add(before, after);
    }
    moves.moved /= rounds;
    moves.least /= rounds;
    std::printf("moved %.2f %% of the table, the least is %.2f %%, at worst %.2f points beyond it\n", moves.moved,
        moves.least, moves.worst);
    return moves;
}

TEST(WeightedMaglev, moves_no_more_than_it_must_when_one_goes_down)
{
    const Moves moves = moves_of([](Backends& backends, std::mt19937& random) { backends[random() % 19].up = false; });
    EXPECT_LE(moves.worst, 0.2);
}

TEST(WeightedMaglev, moves_little_more_than_it_must_when_one_is_removed)
{
    const Moves moves =
        moves_of([](Backends& backends, std::mt19937& random) { backends.erase(backends.begin() + random() % 19); });
    EXPECT_LE(moves.moved, moves.least + 2.5);
    EXPECT_LE(moves.worst, 6);
}

TEST(WeightedMaglev, moves_little_more_than_it_must_when_one_is_added)
{
    const Moves moves = moves_of([](Backends& backends, std::mt19937&) {
        auto more = backends_of(std::vector<std::uint32_t>(21, 60), 251);
        more.back().id = 21;
        backends.push_back(more.back());
    });
    EXPECT_LE(moves.moved, moves.least + 2.5);
    EXPECT_LE(moves.worst, 6);
}

TEST(WeightedMaglev, moves_little_more_than_it_must_when_a_weight_changes)
{
    const Moves moves = moves_of([](Backends& backends, std::mt19937& random) {
        backends[random() % 19].weight = std::uniform_int_distribution<std::uint32_t>(20, 100)(random);
    });
    EXPECT_LE(moves.moved, moves.least + 2.5);
    EXPECT_LE(moves.worst, 6);
}

TEST(WeightedMaglev, weight_zero_and_back_moves_no_more_than_going_down)
{
    std::mt19937 random(4);
    auto backends = twenty(7, random);
    backends[3].weight = 20;
    const auto before = make_slots(Algorithm::maglev, backends);
    auto down = backends;
    down[3].up = false;
    backends[3].weight = 0;
    EXPECT_EQ(make_slots(Algorithm::maglev, backends), make_slots(Algorithm::maglev, down));
    backends[3].weight = 20;
    EXPECT_EQ(make_slots(Algorithm::maglev, backends), before);
}

} // namespace
} // namespace featherlb
