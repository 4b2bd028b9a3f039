// SPDX-License-Identifier: Apache-2.0
// Properties of whole plans where a service has backups, agents and slow starts: who has slots, in what proportion,
// what moves when one goes and comes back. Those of the tables alone are in shares_test.cpp and weights_test.cpp; that
// plans are the same on every balancer is in same_everywhere_test.cpp.
#include <gtest/gtest.h>

#include "unit/shares_support.h"

namespace featherlb {
namespace {

using namespace plan_test;

const std::vector by_hash = {Algorithm::maglev, Algorithm::ip_hash};

BackendKey named(const BackendConfig& backend)
{
    return {"web", std::get<Endpoint>(backend.target)};
}

// Two to eight backends with weights of 1 to 1000, of which at least one is no backup.
struct Plan {
    Config config;
    World world;
    Tables have;

    ServiceConfig& web() { return config.services[0]; }
    std::vector<BackendConfig>& backends() { return web().backends; }
    const Tables& plan()
    {
        have = *make_tables(config, world, have, {}, roomy);
        return have;
    }
    std::vector<Endpoint> owners()
    {
        std::vector<Endpoint> all;
        for (const BackendId id : plan().services.at(1).slots)
            all.push_back(have.backends.at(id).endpoint);
        return all;
    }
    // Of its weight, in ten-thousandths; 0 if it cannot take connections.
    [[nodiscard]] std::uint32_t share(const BackendConfig& backend) const
    {
        const BackendKey key = named(backend);
        const auto known = [&key](const auto& percents) { return percents.contains(key) ? percents.at(key) : 100U; };
        return world.down.contains(key) ? 0 : known(world.percents) * known(world.ramps);
    }
    // Those whose turn it is: the backups only if nobody else has a share.
    [[nodiscard]] std::vector<const BackendConfig*> in_charge()
    {
        for (const bool backups : {false, true}) {
            std::vector<const BackendConfig*> found;
            for (const BackendConfig& backend : backends())
                if (backend.backup == backups && share(backend) > 0)
                    found.push_back(&backend);
            if (!found.empty())
                return found;
        }
        return {};
    }
};

Plan any_plan(Algorithm algorithm)
{
    Plan made;
    std::vector<BackendConfig> backends;
    const int count = *rc::gen::inRange(2, 9);
    for (int i = 0; i < count; ++i) {
        const std::string text = "10.0.1." + std::to_string(i + 1) + ":80";
        backends.push_back(backend(text, *rc::gen::element<std::uint32_t>(1, 2, 3, 10, 100, 1000)));
        backends.back().backup = i > 0 && *rc::gen::inRange(0, 3) == 0;
        made.world.next_hops[endpoint(text).address] = next_hop("10.0.0.1");
    }
    made.config =
        config_of({service("web", {listen("203.0.113.10:80")}, std::move(backends), Forward::dnat, algorithm)});
    made.web().failure.min_healthy = 0;
    made.web().sharing.slow_start = std::chrono::seconds(30);
    return made;
}

// Some are down, some start slowly, agents say something of others.
void let_things_happen(Plan& plan)
{
    plan.web().sharing.agent = AgentConfig{.port = 9, .send = ""};
    for (const BackendConfig& backend : plan.backends()) {
        if (*rc::gen::inRange(0, 4) == 0)
            plan.world.down.insert(named(backend));
        if (*rc::gen::inRange(0, 2) == 0)
            plan.world.percents[named(backend)] = *rc::gen::element<std::uint32_t>(0, 1, 50, 75, 100, 200);
        if (*rc::gen::inRange(0, 3) == 0)
            plan.world.ramps[named(backend)] = 10 * *rc::gen::inRange<std::uint32_t>(1, 11);
    }
}

RC_GTEST_PROP(PlanShares, turns_are_those_of_who_is_in_charge_in_proportion_to_weight_percentage_and_ramp, ())
{
    Plan plan = any_plan(*rc::gen::element(Algorithm::weighted_round_robin, Algorithm::resource_based));
    let_things_happen(plan);
    const BackendKey one = named(plan.backends()[*rc::gen::inRange<std::size_t>(0, plan.backends().size())]);
    plan.world.down.erase(one);
    plan.world.percents.erase(one);
    const auto takers = plan.in_charge();
    std::map<Endpoint, double> counts;
    const auto owners = plan.owners();
    for (const Endpoint& owner : owners)
        counts[owner] += 1;
    RC_ASSERT(counts.size() == takers.size());
    double total = 0;
    for (const BackendConfig* taker : takers)
        total += static_cast<double>(taker->weight) * plan.share(*taker);
    const auto due = [&](const BackendConfig* taker) {
        return taker->weight * plan.share(*taker) / total * static_cast<double>(owners.size());
    };
    // Everyone has one slot at least; the others give that up, the largest of them the most.
    const auto lifted = std::ranges::count_if(takers, [&](const BackendConfig* taker) { return due(taker) < 1; });
    for (const BackendConfig* taker : takers) {
        RC_ASSERT(counts.contains(named(*taker).endpoint));
        RC_ASSERT(std::abs(counts.at(named(*taker).endpoint) - due(taker)) <= 2.0 + static_cast<double>(lifted));
    }
}

RC_GTEST_PROP(PlanShares, hashed_tables_give_each_in_charge_its_part_and_backups_stand_in_by_the_same_rule, ())
{
    Plan plan = any_plan(*rc::gen::elementOf(by_hash));
    plan.backends().back().backup = true;
    for (const BackendConfig& backend : plan.backends())
        if (!backend.backup || *rc::gen::inRange(0, 4) == 0)
            plan.world.down.insert(named(backend));
    const bool one_is_up = *rc::gen::arbitrary<bool>();
    if (one_is_up)
        plan.world.down.erase(named(plan.backends()[0]));
    else
        plan.world.down.erase(named(plan.backends().back()));
    const auto takers = plan.in_charge();
    RC_ASSERT(one_is_up != takers[0]->backup);
    const auto owners = plan.owners();
    double total = 0;
    for (const BackendConfig* taker : takers)
        total += taker->weight;
    double all = 0;
    for (const BackendConfig* taker : takers) {
        const auto slots = static_cast<double>(std::ranges::count(owners, named(*taker).endpoint));
        RC_ASSERT(std::abs(slots - taker->weight / total * static_cast<double>(owners.size())) <= 2.0);
        all += slots;
    }
    RC_ASSERT(all == static_cast<double>(owners.size()));
}

RC_GTEST_PROP(PlanShares, one_that_goes_down_moves_its_slots_alone_and_has_all_of_them_again_when_it_is_back, ())
{
    Plan plan = any_plan(*rc::gen::elementOf(by_hash));
    const auto before = plan.owners();
    const auto others = plan.in_charge();
    const Endpoint victim = named(*others[*rc::gen::inRange<std::size_t>(0, others.size())]).endpoint;
    plan.world.down = {{"web", victim}};
    const auto without = plan.owners();
    if (others.size() > 1)
        RC_ASSERT(before.size() == without.size());
    for (std::size_t i = 0; others.size() > 1 && i < before.size(); ++i)
        RC_ASSERT((without[i] == before[i]) == (before[i] != victim));
    RC_ASSERT(std::ranges::find(without, victim) == without.end());

    // It starts slowly: each step gives slots to it and to nobody else.
    plan.world.down.clear();
    auto last = without;
    for (std::uint32_t percent = 10; percent <= 100 && others.size() > 1; percent += 10) {
        plan.world.ramps = {{{"web", victim}, percent}};
        const auto now = plan.owners();
        for (std::size_t i = 0; i < now.size(); ++i)
            RC_ASSERT(now[i] == last[i] || now[i] == victim);
        last = now;
    }
    plan.world.ramps.clear();
    RC_ASSERT(plan.owners() == before);
}

RC_GTEST_PROP(PlanShares, all_that_fail_leave_everything_to_the_backups_and_get_everything_back, ())
{
    Plan plan = any_plan(*rc::gen::element(
        Algorithm::maglev, Algorithm::ip_hash, Algorithm::weighted_round_robin, Algorithm::resource_based));
    plan.backends().back().backup = true;
    const auto before = plan.owners();
    for (const BackendConfig* one : plan.in_charge())
        plan.world.down.insert(named(*one));
    for (const Endpoint& owner : plan.owners())
        RC_ASSERT(std::ranges::find_if(plan.backends(), [&](const BackendConfig& one) {
            return named(one).endpoint == owner;
        })->backup);
    plan.world.down.clear();
    RC_ASSERT(plan.owners() == before);
}

// `featherlb weight web/... 1000`, and 0.
RC_GTEST_PROP(PlanShares, a_weight_said_at_run_time_from_0_to_1000_is_as_if_the_file_said_it, ())
{
    const Algorithm algorithm =
        *rc::gen::element(Algorithm::maglev, Algorithm::ip_hash, Algorithm::weighted_round_robin, Algorithm::random);
    Plan said = any_plan(algorithm);
    Plan written = said;
    const std::size_t one = *rc::gen::inRange<std::size_t>(0, said.backends().size());
    const std::uint32_t weight = *rc::gen::element<std::uint32_t>(0, 1, 999, 1000);
    said.owners(); // it runs with another weight before
    said.world.overrides[named(said.backends()[one])] = {.weight = weight};
    written.backends()[one].weight = weight;
    RC_ASSERT(said.owners() == written.owners());
    RC_ASSERT(said.have.backends.at(static_cast<BackendId>(one + 1)).draining == (weight == 0));
}

TEST(PlanShares, A1000AtRunTimeIsAThousandTimesA1)
{
    Plan plan;
    plan.config = config_of({service("web", {listen("203.0.113.10:80")},
        {backend("10.0.1.1:80"), backend("10.0.1.2:80")}, Forward::dnat, Algorithm::weighted_round_robin)});
    for (const BackendConfig& backend : plan.backends())
        plan.world.next_hops[named(backend).endpoint.address] = next_hop("10.0.0.1");
    plan.world.overrides[named(plan.backends()[0])] = {.weight = 1000};
    const auto owners = plan.owners();
    EXPECT_EQ(owners.size(), 1001U);
    EXPECT_EQ(std::ranges::count(owners, named(plan.backends()[1]).endpoint), 1);
    plan.world.overrides[named(plan.backends()[0])] = {.weight = 0};
    EXPECT_EQ(plan.owners(), std::vector{named(plan.backends()[1]).endpoint});
}

} // namespace
} // namespace featherlb
