// SPDX-License-Identifier: Apache-2.0
#include "daemon/room.h"

#include <algorithm>
#include <vector>

namespace featherlb {

namespace {

constexpr std::uint64_t addresses_of_a_name = 4; // as many backends as a DNS name is expected to stand for
constexpr std::uint64_t growth = 2;
constexpr std::uint64_t most_rows = 1u << 24;
constexpr std::uint64_t most_slots = 1u << 30;

std::uint32_t room(std::uint32_t least, std::uint64_t needed, std::uint64_t most)
{
    return static_cast<std::uint32_t>(std::clamp<std::uint64_t>(needed * growth, least, most));
}

// The backends of one IP version, as far as the number and the weights of slots depend on them.
struct Half {
    std::vector<WeightedBackend> backends;
    bool listens = false;
};

std::uint64_t slots_of(const ServiceConfig& service, const Half& half)
{
    const bool varying = service.sharing.agent || service.sharing.slow_start.count() > 0;
    const std::size_t slots = count_slots(service.algorithm, half.backends, varying);
    return (slots + FLB_SLOTS_PER_CHUNK - 1) / FLB_SLOTS_PER_CHUNK * FLB_SLOTS_PER_CHUNK;
}

} // namespace

DataPlaneSizes sizes_for(const Config& config)
{
    std::uint64_t services = 1, backends = 1, slots = 0; // the first rows are not used
    for (const ServiceConfig& service : config.services) {
        Half halves[2];
        for (const ListenerConfig& listener : service.listeners) {
            halves[0].listens |= !listener.address || listener.address->is_ipv4();
            halves[1].listens |= !listener.address || !listener.address->is_ipv4();
        }
        for (const BackendConfig& backend : service.backends) {
            const auto* endpoint = std::get_if<Endpoint>(&backend.target);
            for (const bool ipv4 : {true, false}) {
                if (endpoint == nullptr || endpoint->address.is_ipv4() == ipv4 || service.forward == Forward::ipip)
                    halves[ipv4 ? 0 : 1].backends.insert(halves[ipv4 ? 0 : 1].backends.end(),
                        endpoint == nullptr ? addresses_of_a_name : 1,
                        WeightedBackend{.endpoint = {}, .weight = backend.weight});
            }
        }
        for (const Half& half : halves) {
            if (!half.listens || half.backends.empty())
                continue;
            ++services;
            backends += half.backends.size();
            slots += slots_of(service, half);
        }
    }
    DataPlaneSizes sizes;
    sizes.flows_max = config.flows_max;
    sizes.services = room(sizes.services, services, most_rows);
    sizes.backends = room(sizes.backends, backends, most_rows);
    // A slot table is replaced by a new one beside it, so half of this may be in use at rest.
    sizes.slots = room(sizes.slots, slots * growth, most_slots);
    return sizes;
}

} // namespace featherlb
