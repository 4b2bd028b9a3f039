// SPDX-License-Identifier: Apache-2.0
// Slot tables of backends that have a share of their weight only: slow start, and what agents report.
#include <numeric>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "unit/shares_support.h"

namespace featherlb {
namespace {

using namespace plan_test;
using testing::ElementsAre;

constexpr std::uint32_t percent(std::uint32_t value)
{
    return value * (full_share / 100);
}

TEST(Shares, of_ten_percent_are_a_tenth_of_the_turns)
{
    auto backends = backends_of({1, 1});
    backends[1].share = percent(10);
    const auto slots = make_slots(Algorithm::weighted_round_robin, backends);
    EXPECT_EQ(slots.size(), 11U);
    EXPECT_EQ(slots_of_each(slots).at(2), 1U);
}

TEST(Shares, of_nothing_are_no_turns)
{
    auto backends = backends_of({1, 1, 2});
    backends[1].share = 0;
    EXPECT_THAT(make_slots(Algorithm::weighted_round_robin, backends), ElementsAre(3, 1, 3));
    EXPECT_THAT(make_slots(Algorithm::random, backends), ElementsAre(1, 3, 3));
}

TEST(Shares, that_are_all_the_same_are_as_if_there_were_none)
{
    auto backends = backends_of({3, 2, 1});
    const auto whole = make_slots(Algorithm::resource_based, backends);
    for (WeightedBackend& backend : backends)
        backend.share = percent(37);
    EXPECT_EQ(make_slots(Algorithm::resource_based, backends), whole);
}

// Whole percentages of up to twelve backends.
RC_GTEST_PROP(Shares, turns_are_in_proportion_to_weight_and_share, ())
{
    auto backends = any_backends();
    for (WeightedBackend& backend : backends)
        backend.share = percent(*rc::gen::inRange<std::uint32_t>(0, 201));
    std::ranges::find_if(backends, [](const auto& one) { return one.weight > 0; })->share = percent(100);
    const auto slots = make_slots(Algorithm::resource_based, backends);
    auto counts = slots_of_each(slots);
    for (const auto& [id, due] : due_of(backends, slots.size())) {
        RC_ASSERT(std::abs(static_cast<double>(counts[id]) - due) <= 2.0);
        RC_ASSERT((due > 0) == (counts[id] > 0));
    }
    RC_ASSERT(slots.size() <= count_slots(Algorithm::resource_based, backends, true));
    RC_ASSERT(slots.size() == count_slots(Algorithm::resource_based, backends));
}

RC_GTEST_PROP(Shares, never_need_more_slots_than_were_counted_for_any_of_them, ())
{
    auto all = any_backends();
    const Algorithm algorithm = *rc::gen::element(Algorithm::resource_based, Algorithm::weighted_round_robin,
        Algorithm::random, Algorithm::maglev, Algorithm::ip_hash);
    const std::size_t most = count_slots(algorithm, all, true);
    take_some_down(all);
    for (WeightedBackend& backend : all)
        backend.share = percent(*rc::gen::inRange<std::uint32_t>(0, 101));
    RC_ASSERT(make_slots(algorithm, all).size() <= most);
}

// Two of them start slowly, some others are down; nobody else has a share only.
struct Ramp {
    Backends backends;
    std::vector<std::size_t> starting;

    void set(std::uint32_t value)
    {
        for (const std::size_t one : starting)
            backends[one].share = percent(value);
    }
    [[nodiscard]] bool starts(BackendId id) const { return std::ranges::find(starting, id - 1) != starting.end(); }
};

Ramp any_ramp()
{
    Ramp ramp{any_backends(), {}};
    take_some_down(ramp.backends);
    for (std::size_t i = 0; i < ramp.backends.size() && ramp.starting.size() < 2; ++i) {
        if (ramp.backends[i].up && ramp.backends[i].weight > 0)
            ramp.starting.push_back(i);
    }
    return ramp;
}

RC_GTEST_PROP(SlowStartOfMaglev, moves_slots_to_those_that_start_and_no_others, ())
{
    Ramp ramp = any_ramp();
    ramp.set(100);
    const auto full = make_slots(Algorithm::maglev, ramp.backends);
    ramp.set(10);
    auto before = make_slots(Algorithm::maglev, ramp.backends);
    for (std::uint32_t value = 20; value <= 100; value += 10) {
        ramp.set(value);
        const auto after = make_slots(Algorithm::maglev, ramp.backends);
        RC_ASSERT(after.size() == before.size());
        for (std::size_t i = 0; i < after.size(); ++i)
            RC_ASSERT(after[i] == before[i] || ramp.starts(after[i]));
        before = after;
    }
    RC_ASSERT(before == full);
}

RC_GTEST_PROP(SlowStartOfMaglev, has_the_part_of_its_slots_that_it_shall_have, ())
{
    Ramp ramp = any_ramp();
    const auto all = slots_of_each(make_slots(Algorithm::maglev, ramp.backends));
    const bool others = all.size() > ramp.starting.size();
    const auto value = *rc::gen::inRange<std::uint32_t>(1, 101);
    ramp.set(value);
    auto counts = slots_of_each(make_slots(Algorithm::maglev, ramp.backends));
    for (const std::size_t one : ramp.starting) {
        const BackendId id = ramp.backends[one].id;
        const double due = static_cast<double>(all.at(id)) * (others ? value : 100) / 100;
        RC_ASSERT(static_cast<double>(counts[id]) >= due);
        RC_ASSERT(static_cast<double>(counts[id]) < due + 1);
    }
}

// The one that comes up was down until now: from there to its first step, too, only it gets slots.
RC_GTEST_PROP(SlowStartOfMaglev, begins_without_moving_a_slot_between_others_where_all_others_are_up, ())
{
    auto backends = any_backends(1);
    RC_PRE(backends.size() > 1);
    auto& one = backends[*rc::gen::inRange<std::size_t>(0, backends.size())];
    one.up = false;
    const auto before = make_slots(Algorithm::maglev, backends);
    one.up = true;
    one.share = percent(10);
    const auto after = make_slots(Algorithm::maglev, backends);
    for (std::size_t i = 0; i < after.size(); ++i)
        RC_ASSERT(after[i] == before[i] || after[i] == one.id);
}

TEST(SlowStartOfMaglev, takes_a_tenth_then_more_then_all)
{
    auto backends = backends_of({1, 1, 1, 1});
    std::vector<std::size_t> counts;
    for (const std::uint32_t value : {10, 50, 100}) {
        backends[2].share = percent(value);
        const auto slots = make_slots(Algorithm::maglev, backends);
        EXPECT_EQ(slots.size(), 1021U);
        counts.push_back(slots_of_each(slots).at(3));
    }
    EXPECT_THAT(counts, ElementsAre(26U, 128U, 255U));
}

RC_GTEST_PROP(SlowStartOfTurns, grows_with_every_step, ())
{
    Ramp ramp = any_ramp();
    double before = 0;
    for (std::uint32_t value = 10; value <= 100; value += 10) {
        ramp.set(value);
        const auto slots = make_slots(Algorithm::weighted_round_robin, ramp.backends);
        auto counts = slots_of_each(slots);
        double part = 0;
        for (const std::size_t one : ramp.starting)
            part += static_cast<double>(counts[ramp.backends[one].id]) / static_cast<double>(slots.size());
        RC_ASSERT(part >= before - 2.0 / static_cast<double>(slots.size()));
        before = part;
    }
}

} // namespace
} // namespace featherlb
