// SPDX-License-Identifier: Apache-2.0
#include "plan/shares.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include <fmt/format.h>

#include "plan/loads.h"

namespace featherlb {

namespace {

constexpr std::size_t useless = 6; // the rank of one that is not up

bool resolved(const flb_hop& hop)
{
    const auto not_zero = [](auto value) { return value != 0; };
    return hop.link != 0 || std::any_of(std::begin(hop.mac), std::end(hop.mac), not_zero);
}

// Who shares the slots, from the best to the worst, and each time others before backups: those that can be reached
// and have a share; that can be reached; that are up, since a next hop may come back any moment.
std::size_t rank(const Half& half, const Half::Target& target, const Tables& want)
{
    const BackendRow& row = want.backends.at(target.id);
    if (!row.up)
        return useless;
    const bool needs_source = half.config->forward == Forward::snat || half.config->forward == Forward::ipip;
    const bool has_source = !needs_source || !row.snat_addresses.empty();
    const bool reachable = resolved(row.hop) && has_source;
    return (!reachable ? 4U : target.share == 0 ? 2U : 0U) + (target.backup ? 1U : 0U);
}

// The backends that the slots are made of: the backups or all others, so that neither moves a slot of the other.
std::vector<WeightedBackend> weighted(const Half& half, Tables& want)
{
    std::vector<std::size_t> ranks;
    for (const Half::Target& target : half.targets)
        ranks.push_back(rank(half, target, want));
    const std::size_t best = ranks.empty() ? useless : *std::ranges::min_element(ranks);
    const bool backups = best != useless && best % 2 == 1;
    std::vector<WeightedBackend> backends;
    bool any_share = false;
    for (std::size_t i = 0; i < ranks.size(); ++i) {
        const Half::Target& target = half.targets[i];
        const bool used = best != useless && ranks[i] == best;
        if (target.backup && !backups)
            want.backends.at(target.id).up = false;
        if (target.backup != backups)
            continue;
        backends.push_back(
            {.endpoint = target.endpoint, .id = target.id, .weight = target.weight, .up = used, .share = target.share});
        any_share = any_share || (used && target.share > 0);
    }
    for (WeightedBackend& backend : backends)
        backend.share = any_share ? backend.share : full_share;
    return backends;
}

std::uint64_t in_whole_chunks(std::uint64_t slots)
{
    return (slots + FLB_SLOTS_PER_CHUNK - 1) / FLB_SLOTS_PER_CHUNK * FLB_SLOTS_PER_CHUNK;
}

// What its slots may come to, whoever is up: no failure of a backend asks for more room than there is.
std::uint64_t most_slots(const Half& half)
{
    std::vector<WeightedBackend> all[2];
    for (const Half::Target& target : half.targets)
        all[target.backup ? 1 : 0].push_back(
            {.endpoint = target.endpoint, .id = target.id, .weight = target.weight, .up = true});
    const SharingConfig& sharing = half.config->sharing;
    const bool varying = sharing.agent || sharing.slow_start.count() > 0;
    const Algorithm algorithm = half.config->algorithm;
    return std::max(count_slots(algorithm, all[0], varying), count_slots(algorithm, all[1], varying));
}

} // namespace

Half::Target target_of(
    const ServiceConfig& service, const BackendConfig& backend, const Endpoint& endpoint, const World& world)
{
    Half::Target target{.endpoint = endpoint, .weight = backend.weight, .backup = backend.backup};
    const SharingConfig& sharing = service.sharing;
    if (!sharing.agent && sharing.slow_start.count() == 0 && world.overrides.empty())
        return target;
    const BackendKey key{service.name, endpoint};
    if (const auto said = world.overrides.find(key); said != world.overrides.end()) {
        target.weight = said->second.weight.value_or(target.weight);
        target.drained = said->second.drained;
    }
    const auto known = [&key](const std::map<BackendKey, std::uint32_t>& percents) {
        const auto found = percents.find(key);
        return found == percents.end() ? 100 : found->second;
    };
    target.drained = target.drained || (sharing.agent && world.drained.contains(key));
    target.share = (sharing.agent ? known(world.percents) : 100) * known(world.ramps);
    return target;
}

void settle_backups(Half& half)
{
    const bool any_other = std::ranges::any_of(half.targets, [](const Half::Target& target) { return !target.backup; });
    for (Half::Target& target : half.targets)
        target.backup = target.backup && any_other;
}

std::uint32_t weight_now(const Half::Target& target)
{
    const std::uint32_t weight = target.weight * target.share / (full_share / 100);
    return weight == 0 && target.weight > 0 && target.share > 0 ? 1 : weight;
}

std::optional<Error> put_slots(const std::vector<Half>& halves, const Tables& have, const Limits& limits, Tables& want)
{
    std::uint64_t needed = 0;
    for (const Half& half : halves) {
        if (auto error = too_many_to_compare(*half.config, half.family, half.targets.size()))
            return error;
        needed += in_whole_chunks(most_slots(half));
    }
    if (needed > limits.slots)
        return Error{fmt::format("the slot tables of all services need {} slots, more than the {} of the map `slots`",
                         needed, limits.slots),
            "use round-robin, which needs one slot a backend, where maglev is not needed; " +
                std::string(limit_remedy)};
    for (const Half& half : halves) {
        ServiceRow& row = want.services.at(half.id);
        const auto old = have.services.find(half.id);
        SlotTable::Recipe recipe{half.config->algorithm, weighted(half, want)};
        if (old != have.services.end() && old->second.slots.made_from(recipe)) {
            row.slots = old->second.slots;
        } else {
            auto slots = make_slots(recipe.algorithm, recipe.backends);
            row.slots = SlotTable(std::move(slots), std::move(recipe));
        }
        row.refuse = row.slots.empty() && half.config->failure.all_down == AllDown::refuse;
    }
    return std::nullopt;
}

} // namespace featherlb
