// SPDX-License-Identifier: Apache-2.0
#include "config/one_way.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/text.h"
#include "config/endpoints.h"
#include "config/lists.h"
#include "config/values.h"

namespace featherlb {

namespace {

constexpr std::uint8_t least_ipv4_bits = 8; // shorter ones are mistakes
constexpr std::uint8_t least_ipv6_bits = 16;

void read_source(const Node& node, IpipConfig& ipip, Problems& problems)
{
    const auto text = read_text(node, "ipip.source", problems);
    if (!text)
        return;
    const auto network = parse_network(*text);
    if (!network)
        return problems.add(node.place, fmt::format("ipip.source: {}", network.error().what), network.error().remedy);
    const bool ipv4 = network->address.is_ipv4();
    const std::uint8_t least = ipv4 ? least_ipv4_bits : least_ipv6_bits;
    if (network->bits < least)
        return problems.add(node.place,
            fmt::format("ipip.source: {} is not a network that belongs to a balancer", network->to_string()),
            fmt::format("write one of at least {} bits that is routed to this machine, such as {}", least,
                ipv4 ? "10.127.0.0/16" : "fd00:127::/64"));
    if (network->address.is_loopback() || network->address.is_multicast() || network->address.is_unspecified() ||
        network->address.is_link_local())
        return problems.add(node.place, fmt::format("ipip.source: nothing can come from {}", network->to_string()),
            fmt::format("write a network that is routed to this machine, such as {}",
                ipv4 ? "10.127.0.0/16" : "fd00:127::/64"));
    auto& source = ipip.source[ipv4 ? 0 : 1];
    if (source)
        return problems.add(node.place,
            fmt::format("ipip.source has two {} networks", to_string(network->address.family())),
            "write one for each IP version");
    source = *network;
}

std::uint16_t port_of(const BackendConfig& backend)
{
    if (const auto* endpoint = std::get_if<Endpoint>(&backend.target))
        return endpoint->port;
    return std::get<DnsName>(backend.target).port;
}

void check_ports(const ServiceConfig& service, Problems& problems)
{
    for (const BackendConfig& backend : service.backends) {
        const std::uint16_t port = port_of(backend);
        if (port == 0)
            continue; // the one that the client used
        const auto other = std::ranges::find_if(service.listeners,
            [port](const ListenerConfig& listener) { return listener.port != port || listener.more_ports != 0; });
        if (other == service.listeners.end())
            continue;
        problems.add(backend.place,
            fmt::format("the backend has port {}, but the service listens on {}, and {} changes no ports", port,
                other->port, to_string(service.forward)),
            fmt::format(
                "write port {} here, or none, or make a service of each port, or use forward: snat", other->port));
    }
}

} // namespace

IpipConfig read_ipip(const Node& node, Problems& problems)
{
    const Section section(node, keys::ipip, "ipip: {source: auto}", problems);
    IpipConfig ipip;
    const Node* source = section.find("source");
    if (source == nullptr || (source->kind == Node::Kind::scalar && source->text == "auto"))
        return ipip;
    if (source->kind != Node::Kind::sequence) {
        read_source(*source, ipip, problems);
        return ipip;
    }
    for (const Node* item :
        list_items(*source, "ipip.source", R"(auto or ["10.127.0.0/16", "fd00:127::/64"])", problems))
        read_source(*item, ipip, problems);
    return ipip;
}

void finish_one_way(const Section& section, ServiceConfig& service, Problems& problems)
{
    if (!is_one_way(service.forward))
        return;
    const std::string_view forward = to_string(service.forward);
    if (section.has("syn_failover") && service.failure.syn_failover)
        problems.add(section.place("syn_failover"),
            fmt::format(
                "syn_failover cannot be true under forward: {}: whether a backend has answered is not seen", forward),
            "remove it, or use forward: snat or dnat");
    service.failure.syn_failover = false;
    if (picks_by_load(service.algorithm)) // they judge backends by what comes back from them
        problems.add(section.has("algorithm") ? section.place("algorithm") : service.place,
            fmt::format("algorithm: {} cannot be had under forward: {}: what backends answer is not seen",
                to_string(service.algorithm), forward),
            "use maglev, ip-hash, random, or a kind of round-robin; or forward: snat or dnat");
    check_ports(service, problems);
}

} // namespace featherlb
