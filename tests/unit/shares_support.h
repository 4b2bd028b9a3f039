// SPDX-License-Identifier: Apache-2.0
// What the tests of slot tables share: backends with weights, and tables as who has which slot.
#pragma once

#include <algorithm>
#include <map>
#include <random>
#include <string>
#include <vector>

#include <rapidcheck/gtest.h>

#include "unit/plan_support.h"

namespace featherlb::plan_test {

using Backends = std::vector<WeightedBackend>;

// Backends 1, 2, ... with these weights.
inline Backends backends_of(const std::vector<std::uint32_t>& weights, int network = 0)
{
    Backends backends;
    for (const std::uint32_t weight : weights) {
        const auto id = static_cast<BackendId>(backends.size() + 1);
        const std::string address = "10." + std::to_string(network) + "." + std::to_string(id / 250) + "." +
                                    std::to_string(id % 250 + 1) + ":80";
        backends.push_back({.endpoint = endpoint(address), .id = id, .weight = weight, .up = true});
    }
    return backends;
}

// Up to twelve, with weights from 0 to 1000, at least one of them not 0; of any size, and of one size.
inline std::vector<std::uint32_t> any_weights()
{
    const auto size = *rc::gen::inRange<std::size_t>(1, 13);
    const std::uint32_t most = *rc::gen::element<std::uint32_t>(2, 10, 100, 1001);
    auto weights = *rc::gen::container<std::vector<std::uint32_t>>(size, rc::gen::inRange<std::uint32_t>(0, most));
    auto& one = weights[*rc::gen::inRange<std::size_t>(0, size)];
    one = std::max(one, 1U);
    return weights;
}

inline Backends any_backends(std::uint32_t least = 0)
{
    auto weights = any_weights();
    for (std::uint32_t& weight : weights)
        weight = std::max(weight, least);
    return backends_of(weights, *rc::gen::inRange(0, 250));
}

// Some of them are down, but not all that have a weight.
inline void take_some_down(Backends& backends)
{
    for (WeightedBackend& backend : backends)
        backend.up = *rc::gen::inRange(0, 3) != 0;
    const auto weighted = std::ranges::find_if(backends, [](const auto& backend) { return backend.weight > 0; });
    weighted->up = true;
}

inline std::map<BackendId, std::size_t> slots_of_each(const std::vector<BackendId>& slots)
{
    std::map<BackendId, std::size_t> counts;
    for (const BackendId id : slots)
        ++counts[id];
    return counts;
}

// By who they are, whatever their numbers.
inline std::vector<Endpoint> owners_of(const std::vector<BackendId>& slots, const Backends& backends)
{
    std::map<BackendId, Endpoint> names;
    for (const WeightedBackend& backend : backends)
        names.emplace(backend.id, backend.endpoint);
    std::vector<Endpoint> owners;
    for (const BackendId id : slots)
        owners.push_back(names.at(id));
    return owners;
}

// What each is due: its part of the weights of those that take connections, in slots.
inline std::map<BackendId, double> due_of(const Backends& backends, std::size_t slots)
{
    double total = 0;
    for (const WeightedBackend& backend : backends)
        total += backend.up ? static_cast<double>(backend.weight) * backend.share : 0;
    std::map<BackendId, double> due;
    for (const WeightedBackend& backend : backends) {
        const double mine = backend.up ? static_cast<double>(backend.weight) * backend.share : 0;
        due[backend.id] = mine / total * static_cast<double>(slots);
    }
    return due;
}

// In percent of the table.
template <typename Owner>
double percent_moved(const std::vector<Owner>& before, const std::vector<Owner>& after)
{
    EXPECT_EQ(before.size(), after.size());
    std::size_t moved = 0;
    for (std::size_t i = 0; i < std::min(before.size(), after.size()); ++i)
        moved += before[i] != after[i] ? 1 : 0;
    return 100.0 * static_cast<double>(moved) / static_cast<double>(before.size());
}

} // namespace featherlb::plan_test
