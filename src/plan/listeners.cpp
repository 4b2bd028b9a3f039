// SPDX-License-Identifier: Apache-2.0
#include "plan/listeners.h"

#include <algorithm>
#include <map>
#include <set>
#include <unordered_map>
#include <utility>

#include <fmt/format.h>

namespace featherlb {

namespace {

struct KeyHash {
    std::size_t operator()(const ListenerKey& key) const noexcept
    {
        return (std::hash<IpAddress>{}(key.address) * 31 + key.port) * 31 + static_cast<std::size_t>(key.protocol);
    }
};

// Source addresses that may have rows for fragments; a bound that saves counting them.
constexpr std::size_t sources_at_most = 65536;

Error too_many_listeners(std::uint64_t rows, const Limits& limits)
{
    return {fmt::format("the listeners need {} rows, one for each address and port (\"*\" is every address of the "
                        "interfaces, and what is being replaced counts, too), more than the {} of the map `listeners`",
                rows, limits.listeners),
        "use smaller ranges of ports, or name addresses instead of \"*\""};
}

template <typename Map>
std::size_t rows_together(const Map& a, const Map& b)
{
    const auto more = std::ranges::count_if(a, [&b](const auto& entry) { return !b.contains(entry.first); });
    return b.size() + static_cast<std::size_t>(more);
}

// What the listeners of a half stand for.
class Expansion {
public:
    Expansion(const World& world, const std::vector<Half>& halves)
    {
        for (const Half& half : halves) {
            if (!half.targets.empty())
                served_.insert(half.config);
        }
        for (const IpAddress& address : world.local_addresses) {
            if (address.is_ipv4() || !address.is_link_local())
                local_.push_back(address);
        }
    }

    // "*" stands for the local addresses of the families that the service has backends in; while it has none at all
    // (its names have no answer) for all, so that its clients meet the service and not the host.
    template <typename Use>
    void each_address(const ListenerConfig& listener, const Half& half, Use use) const
    {
        if (listener.address && listener.address->family() == half.family)
            return use(*listener.address);
        if (listener.address || (half.targets.empty() && served_.contains(half.config)))
            return;
        for (const IpAddress& address : local_) {
            if (address.family() == half.family)
                use(address);
        }
    }

    template <typename Use>
    void each_key(const ListenerConfig& listener, const Half& half, Use use) const
    {
        each_address(listener, half, [&](const IpAddress& address) {
            for (std::uint32_t port = listener.port; port <= listener.last_port(); ++port)
                use(ListenerKey{address, static_cast<std::uint16_t>(port), listener.protocol});
        });
    }

private:
    std::set<const ServiceConfig*> served_; // that have backends, of either family
    std::vector<IpAddress> local_;
};

} // namespace

std::optional<Error> claim_listeners(const World& world, const Limits& limits, std::vector<Half>& halves)
{
    const Expansion expansion(world, halves);
    std::uint64_t rows = 0;
    for (const Half& half : halves) {
        for (const ListenerConfig& listener : half.config->listeners)
            expansion.each_address(listener, half, [&](const IpAddress&) { rows += listener.count(); });
    }
    // An address and port may be there twice, by "*" and by itself.
    if (rows > 2ULL * limits.listeners)
        return too_many_listeners(rows, limits);
    std::unordered_map<ListenerKey, const ServiceConfig*, KeyHash> owners;
    owners.reserve(rows);
    for (const bool written_out : {true, false}) {
        for (const Half& half : halves) {
            for (const ListenerConfig& listener : half.config->listeners) {
                if (listener.address.has_value() == written_out)
                    expansion.each_key(
                        listener, half, [&](const ListenerKey& key) { owners.emplace(key, half.config); });
            }
        }
    }
    for (Half& half : halves) {
        for (const ListenerConfig& listener : half.config->listeners) {
            expansion.each_key(listener, half, [&](const ListenerKey& key) {
                if (owners.at(key) == half.config)
                    half.listeners.push_back(key);
            });
        }
    }
    std::erase_if(halves, [](const Half& half) { return half.listeners.empty(); });
    return std::nullopt;
}

std::optional<Error> exceeded_listeners(const Tables& have, const Limits& limits, const Tables& want)
{
    if (2 * (have.listeners.size() + want.listeners.size()) + 2 * sources_at_most <= limits.listeners)
        return std::nullopt;
    const auto rows = rows_together(have.listeners, want.listeners) + make_own_addresses(want).size();
    return rows > limits.listeners ? std::optional(too_many_listeners(rows, limits)) : std::nullopt;
}

// What a dnat backend sends without a flow leaves as the first listener of its protocol; without a port of its own, as
// the first with the port that it sends from. Backends that drain from a service that still listens keep this, but one
// that is configured goes before them; else the first service has it.
std::optional<Error> put_sources(
    const std::vector<Half>& halves, const Tables& have, const Limits& limits, Tables& want)
{
    std::map<ServiceId, std::vector<BackendId>> draining;
    for (const auto& [id, row] : want.backends) {
        if (row.draining && !row.one_way)
            draining[row.service].push_back(id);
    }
    const auto put = [&](const Half& half, BackendId id) {
        const Endpoint& own = want.backends.at(id).endpoint;
        for (const ListenerKey& key : half.listeners) {
            if (want.sources.size() <= limits.sources)
                want.sources.emplace(ListenerKey{own.address, own.port == 0 ? key.port : own.port, key.protocol},
                    SourceRow{.service = {key.address, key.port}, .backend = id});
        }
    };
    for (const Half& half : halves) {
        if (half.config->forward != Forward::dnat)
            continue;
        for (const Half::Target& target : half.targets)
            put(half, target.id);
    }
    for (const Half& half : halves) {
        if (half.config->forward != Forward::dnat)
            continue;
        for (const BackendId id : draining[half.id])
            put(half, id);
    }
    if (have.sources.size() + want.sources.size() <= limits.sources ||
        rows_together(have.sources, want.sources) <= limits.sources)
        return std::nullopt;
    return Error{fmt::format("the answers of `dnat` backends need more rows than the {} of the map `sources`: one for "
                             "each address and port that a backend answers from (what is being replaced counts, too)",
                     limits.sources),
        "give the backends a port, use smaller ranges of ports, or forward: snat"};
}

} // namespace featherlb
