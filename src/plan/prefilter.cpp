// SPDX-License-Identifier: Apache-2.0
#include "plan/tables.h"

#include <netinet/in.h>

namespace featherlb {

std::array<std::uint8_t, FLB_PREFILTER_SIZE> make_prefilter(const Tables& tables)
{
    std::array<std::uint8_t, FLB_PREFILTER_SIZE> kinds{};
    const auto mark = [&kinds](const IpAddress& address, std::uint32_t kind) {
        std::uint8_t& entry = kinds[flb_prefilter_index(address.folded())];
        entry = static_cast<std::uint8_t>(entry | kind);
    };
    for (const auto& [key, service] : tables.listeners)
        mark(key.address, FLB_KIND_LISTENER);
    for (const auto& [id, backend] : tables.backends) {
        if (backend.one_way == Forward::ipip)
            mark(backend.endpoint.address, FLB_KIND_TUNNEL);
        if (backend.one_way)
            continue;
        for (const IpAddress& address : backend.snat_addresses)
            mark(address, FLB_KIND_SNAT);
        const auto service = tables.services.find(backend.service);
        if (service != tables.services.end() && service->second.forward == Forward::dnat)
            mark(backend.endpoint.address, FLB_KIND_BACKEND);
    }
    return kinds;
}

std::set<ListenerKey> make_own_addresses(const Tables& tables)
{
    std::set<ListenerKey> keys;
    for (const auto& [key, service] : tables.listeners)
        keys.insert({.address = key.address, .port = 0, .protocol = key.protocol});
    // What an ICMP error quotes as sent to an `ipip` backend is a packet of ours.
    constexpr auto tunnel = static_cast<Protocol>(IPPROTO_IPIP);
    std::set<IpAddress> sources; // backends share them
    for (const auto& [id, backend] : tables.backends) {
        if (backend.one_way == Forward::ipip)
            keys.insert({.address = backend.endpoint.address, .port = 0, .protocol = tunnel});
        if (!backend.one_way)
            sources.insert(backend.snat_addresses.begin(), backend.snat_addresses.end());
    }
    for (const IpAddress& address : sources)
        for (const Protocol protocol : {Protocol::tcp, Protocol::udp})
            keys.insert({.address = address, .port = 0, .protocol = protocol});
    return keys;
}

} // namespace featherlb
