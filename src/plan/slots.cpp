// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdint>
#include <numeric>

#include "plan/maglev.h"
#include "plan/tables.h"
#include "plan/turns.h"

namespace featherlb {

namespace {

// A table in proportion to weights has one slot for each unit of weight, but no more than this (or one for each
// backend, if those are more).
constexpr std::uint64_t longest_weighted = 65536;

// Where backends have a share of their weight only, it has as many slots as these weights ask for, or so many for each
// backend: enough for every whole percentage.
constexpr std::uint64_t slots_for_shares = 100;

// What a backend gets of a table in proportion to weights.
struct Share {
    BackendId id = 0;
    std::uint32_t weight = 0;
};

// By their weights, or by what they have of these now.
enum class By { weight, share };
std::vector<Share> open_shares(const std::vector<WeightedBackend>& backends, By by = By::weight)
{
    std::vector<Share> shares;
    for (const WeightedBackend& backend : backends) {
        if (backend.up && backend.weight > 0 && backend.share > 0)
            shares.push_back({backend.id, backend.weight * (by == By::share ? backend.share : 1)});
    }
    return shares;
}

std::uint64_t total_of(const std::vector<Share>& shares)
{
    return std::accumulate(shares.begin(), shares.end(), std::uint64_t{0},
        [](std::uint64_t sum, auto& share) { return sum + share.weight; });
}

void divide_by_gcd(std::vector<Share>& shares)
{
    std::uint32_t divisor = 0;
    for (const Share& share : shares)
        divisor = std::gcd(divisor, share.weight);
    for (Share& share : shares)
        share.weight /= divisor;
}

std::size_t longest_for(const std::vector<Share>& shares)
{
    return std::max<std::size_t>(longest_weighted, shares.size());
}

// Slots for these weights.
std::size_t length_by_weights(std::vector<Share> shares)
{
    divide_by_gcd(shares);
    return std::min<std::size_t>(total_of(shares), longest_for(shares));
}

// And for any shares of them.
std::size_t length_by_shares(const std::vector<Share>& shares)
{
    return std::max(length_by_weights(shares), std::min(slots_for_shares * shares.size(), longest_for(shares)));
}

// Weights without common divisor whose sum is within the bound; scaled down, every backend keeps at least one.
std::vector<Share> bounded_shares(const std::vector<WeightedBackend>& backends)
{
    const std::vector<Share> weights = open_shares(backends);
    std::vector<Share> shares = open_shares(backends, By::share);
    divide_by_gcd(shares);
    const bool whole = std::all_of(backends.begin(), backends.end(),
        [](const WeightedBackend& backend) { return !backend.up || backend.share == full_share; });
    const std::size_t longest = whole ? longest_for(shares) : length_by_shares(weights);
    if (total_of(shares) <= longest)
        return shares;
    std::vector<Taker> takers;
    for (const Share& share : shares)
        takers.push_back({.weight = share.weight});
    take_turns(takers, longest, [](std::size_t) {});
    for (std::size_t i = 0; i < shares.size(); ++i)
        shares[i].weight = takers[i].taken;
    return shares;
}

std::vector<BackendId> each_once(const std::vector<Share>& shares)
{
    std::vector<BackendId> slots;
    for (const Share& share : shares)
        slots.push_back(share.id);
    return slots;
}

std::vector<BackendId> in_blocks(const std::vector<Share>& shares)
{
    std::vector<BackendId> slots;
    slots.reserve(total_of(shares));
    for (const Share& share : shares)
        slots.insert(slots.end(), share.weight, share.id);
    return slots;
}

// Smooth weighted round robin, as known from nginx: in every step each backend's credit grows by its weight, the one
// with the most is taken (the first among equals) and pays the sum of all weights. After one step for each unit of
// weight all credits are zero again, so the sequence repeats exactly.
std::vector<BackendId> interleaved(const std::vector<Share>& shares)
{
    const auto total = static_cast<std::int64_t>(total_of(shares));
    if (static_cast<std::size_t>(total) == shares.size())
        return each_once(shares);
    std::vector<std::int64_t> credit(shares.size(), 0);
    std::vector<BackendId> slots;
    slots.reserve(static_cast<std::size_t>(total));
    for (std::int64_t step = 0; step < total; ++step) {
        std::size_t best = 0;
        for (std::size_t i = 0; i < shares.size(); ++i) {
            credit[i] += shares[i].weight;
            if (credit[i] > credit[best])
                best = i;
        }
        credit[best] -= total;
        slots.push_back(shares[best].id);
    }
    return slots;
}

} // namespace

std::size_t count_slots(Algorithm algorithm, const std::vector<WeightedBackend>& backends, bool varying)
{
    const std::vector<Share> shares = open_shares(backends);
    if (shares.empty())
        return 0;
    switch (algorithm) {
    case Algorithm::round_robin:
    case Algorithm::least_connections:
    case Algorithm::weighted_least_connections:
    case Algorithm::power_of_two:
    case Algorithm::weighted_response_time:
        return shares.size();
    case Algorithm::weighted_round_robin:
    case Algorithm::random:
    case Algorithm::resource_based:
        return varying ? length_by_shares(shares) : total_of(bounded_shares(backends));
    case Algorithm::ip_hash:
    case Algorithm::maglev:
        return maglev_size(backends);
    }
    return 0;
}

std::vector<BackendId> make_slots(Algorithm algorithm, const std::vector<WeightedBackend>& backends)
{
    switch (algorithm) {
    case Algorithm::round_robin:
    case Algorithm::least_connections:
    case Algorithm::weighted_least_connections:
    case Algorithm::power_of_two:
    case Algorithm::weighted_response_time:
        return each_once(open_shares(backends));
    case Algorithm::weighted_round_robin:
    case Algorithm::resource_based:
        return interleaved(bounded_shares(backends));
    case Algorithm::random:
        return in_blocks(bounded_shares(backends));
    case Algorithm::ip_hash:
    case Algorithm::maglev:
        return maglev_slots(backends);
    }
    return {};
}

} // namespace featherlb
