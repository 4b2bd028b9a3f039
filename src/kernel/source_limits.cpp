// SPDX-License-Identifier: Apache-2.0
#include "kernel/source_limits.h"

#include <algorithm>

namespace {

// What limit.h asks of its surroundings; set for the time of a call.
thread_local std::span<flb_limit_set> current_sets;
thread_local flb_load current_load;

const flb_load* flow_load()
{
    return &current_load;
}

flb_limit_set* limit_set_at(__u32 index)
{
    return index < current_sets.size() ? &current_sets[index] : nullptr;
}

flb_rate_set* limit_rate_at(__u32)
{
    return nullptr;
}

} // namespace

#include "limit.h"

namespace featherlb {

namespace {

std::uint64_t identity_in(const SourceCounts& counts, std::uint32_t service, std::uint64_t client)
{
    current_sets = counts.sets;
    current_load.limit_sets = static_cast<std::uint32_t>(counts.sets.size());
    std::ranges::copy(counts.seed, current_load.flow_seed);
    return limit_identity(service, client);
}

} // namespace

bool SourceCounts::give_back(std::uint32_t service, std::uint64_t client) const
{
    return limit_remove(identity_in(*this, service, client)) != 0;
}

std::uint32_t SourceCounts::open(std::uint32_t service, std::uint64_t client) const
{
    return limit_total(identity_in(*this, service, client));
}

} // namespace featherlb
