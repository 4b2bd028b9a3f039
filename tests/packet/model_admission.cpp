// SPDX-License-Identifier: Apache-2.0
// Who may connect, how many connections a source has open, and which backend it had last.
#include "model.h"

namespace featherlb::packet {
namespace {

std::uint8_t source_bits(const IpAddress& client)
{
    return client.is_ipv4() ? 32 : 64;
}

} // namespace

ModelService& Model::service_of(const Owner& owner)
{
    return world.services.at(world.backends.at(owner.backend).service);
}

unsigned& Model::count_of(unsigned service, const IpAddress& client)
{
    return counts_[{service, NetworkPrefix::of(client, source_bits(client))}];
}

flb_drop_reason Model::lists_say(const ModelService& service, const IpAddress& client) const
{
    for (int bits = client.is_ipv4() ? 32 : 128; bits >= 0; bits--) {
        const auto found = service.lists.find(NetworkPrefix::of(client, static_cast<std::uint8_t>(bits)));
        if (found != service.lists.end())
            return found->second ? FLB_DROP_none : FLB_DROP_denied;
    }
    return FLB_DROP_none;
}

unsigned Model::pinned(unsigned number, const IpAddress& client) const
{
    const ModelService& service = world.services.at(number);
    if (!service.affinity_ticks)
        return 0;
    const auto pin = pins_.find({number, NetworkPrefix::of(client, service.affinity_prefix)});
    if (pin == pins_.end() || world.now - pin->second.seen > service.affinity_ticks)
        return 0;
    const ModelBackend& backend = world.backends.at(pin->second.backend);
    const bool reached = backend.hop && (service.forward == FLB_DNAT || !backend.pool.empty());
    return backend.valid && !backend.down && reached ? pin->second.backend : 0;
}

void Model::use_pin(const Key& key, const Owner& owner, bool proven)
{
    const ModelService& service = service_of(owner);
    if (!service.affinity_ticks)
        return;
    const SourceKey who{
        world.backends.at(owner.backend).service, NetworkPrefix::of(key.source, service.affinity_prefix)};
    const auto pin = pins_.find(who);
    if (proven || (pin != pins_.end() && pin->second.backend == owner.backend))
        pins_[who] = {owner.backend, world.now};
}

void Model::touch(const Key& key, Owner& owner)
{
    const std::uint32_t before = world.clock - (world.now - owner.seen);
    const bool is_short = service_of(owner).affinity_ticks < 64;
    if (is_open(owner.state) && ((before ^ world.clock) >> 4 || (is_short && before != world.clock)))
        use_pin(key, owner, false);
    owner.seen = world.now;
}

bool Model::move(const Key& key, Owner& owner, unsigned next, bool by_client)
{
    if (next == owner.state)
        return true;
    const unsigned limit = service_of(owner).source_connections;
    unsigned& count = count_of(world.backends.at(owner.backend).service, key.source);
    const bool was_open = is_open(owner.state);
    if (limit && is_open(next) && !is_proven(owner.state)) {
        if (by_client && count >= limit)
            return false;
        count++;
        owner.counted = true;
    }
    if (!is_open(next) && owner.counted) {
        count--;
        owner.counted = false;
    }
    if (was_open != is_open(next))
        use_pin(key, owner, !was_open);
    owner.state = next;
    return true;
}

void Model::forget(const Key& key)
{
    const Owner& owner = owners_.at(key);
    if (owner.counted)
        count_of(world.backends.at(owner.backend).service, key.source)--;
    owners_.erase(key);
}

void Model::sweep()
{
    std::vector<Key> expired;
    for (const auto& [key, owner] : owners_)
        if (has_expired(owner))
            expired.push_back(key);
    for (const Key& key : expired)
        forget(key);
    std::erase_if(replies_, [this](const auto& each) {
        return each.second.superseded && world.now - each.second.seen > world.timeout.at(FLB_FLOW_SUPERSEDED);
    });
}

} // namespace featherlb::packet
