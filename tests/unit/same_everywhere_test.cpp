// SPDX-License-Identifier: Apache-2.0
// Whatever happened to a balancer before, its tables are those of a balancer that was started just now, also with
// backups, slow starts and what agents say.
#include <gtest/gtest.h>

#include "unit/shares_support.h"

namespace featherlb {
namespace {

using namespace plan_test;

std::string name_of(int number)
{
    return "10.0.1." + std::to_string(number) + ":80";
}

// A service with some of these backends, the last ones as backups, in any order where turns do not go by it; with
// weights of 0 to 1000.
ServiceConfig any_service(Algorithm algorithm, const std::map<int, std::uint32_t>& weights)
{
    std::vector<BackendConfig> backends;
    for (const auto& [number, weight] : weights) {
        backends.push_back(backend(name_of(number), weight));
        backends.back().backup = number > 8;
    }
    if (algorithm == Algorithm::maglev || algorithm == Algorithm::ip_hash) {
        std::mt19937 random(*rc::gen::arbitrary<unsigned>());
        std::shuffle(backends.begin(), backends.end(), random);
    }
    ServiceConfig made = service("web", {listen("203.0.113.10:80")}, backends, Forward::dnat, algorithm);
    made.sharing.slow_start = std::chrono::seconds(30);
    if (algorithm == Algorithm::resource_based)
        made.sharing.agent = AgentConfig{.port = 9, .send = ""};
    return made;
}

std::map<int, std::uint32_t> some_weights()
{
    std::map<int, std::uint32_t> weights;
    const int count = *rc::gen::inRange(1, 9);
    for (int i = 0; i < count; ++i)
        weights[*rc::gen::inRange(1, 12)] = *rc::gen::element<std::uint32_t>(0, 1, 2, 5, 100, 1000);
    weights.begin()->second = std::max(weights.begin()->second, 1U);
    return weights;
}

World some_world()
{
    World world;
    for (int number = 1; number < 12; ++number) {
        world.next_hops[endpoint(name_of(number)).address] = next_hop("10.0.0.1");
        if (*rc::gen::inRange(0, 4) == 0)
            world.down.insert({"web", endpoint(name_of(number))});
        if (*rc::gen::inRange(0, 4) == 0)
            world.ramps[{"web", endpoint(name_of(number))}] = 10 * *rc::gen::inRange<std::uint32_t>(1, 11);
        if (*rc::gen::inRange(0, 2) == 0)
            world.percents[{"web", endpoint(name_of(number))}] = *rc::gen::inRange<std::uint32_t>(0, 201);
    }
    return world;
}

std::vector<Endpoint> owners(const Tables& tables)
{
    std::vector<Endpoint> all;
    for (const BackendId id : tables.services.at(1).slots)
        all.push_back(tables.backends.at(id).endpoint);
    return all;
}

RC_GTEST_PROP(SameEverywhere, tables_depend_on_the_configuration_and_on_who_is_up_alone, ())
{
    const Algorithm algorithm = *rc::gen::element(
        Algorithm::maglev, Algorithm::ip_hash, Algorithm::weighted_round_robin, Algorithm::resource_based);
    Tables have;
    const int events = *rc::gen::inRange(0, 8);
    for (int i = 0; i < events; ++i) {
        std::set<BackendId> unreferenced;
        for (const auto& [id, row] : have.backends) {
            if (row.draining && *rc::gen::arbitrary<bool>())
                unreferenced.insert(id);
        }
        have =
            *make_tables(config_of({any_service(algorithm, some_weights())}), some_world(), have, unreferenced, roomy);
    }
    const auto weights = some_weights();
    const World world = some_world();
    const Tables old = *make_tables(config_of({any_service(algorithm, weights)}), world, have, {}, roomy);
    const Tables fresh = *make_tables(config_of({any_service(algorithm, weights)}), world, {}, {}, roomy);
    RC_ASSERT(owners(old) == owners(fresh));
    RC_ASSERT(old.services.at(1).pick_seed == fresh.services.at(1).pick_seed);
}

} // namespace
} // namespace featherlb
