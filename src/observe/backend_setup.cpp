// SPDX-License-Identifier: Apache-2.0
#include "observe/backend_setup.h"

#include <algorithm>
#include <set>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace featherlb {

namespace {

constexpr std::uint32_t tcp_header = 20;

std::uint32_t ip_header(Family family)
{
    return family == Family::ipv4 ? 20 : 40;
}

std::string_view digit(Family family)
{
    return family == Family::ipv4 ? "4" : "6";
}

// "ip -4", "ip -6": without the number a command for IPv6 may mean IPv4.
std::string ip(Family family)
{
    return fmt::format("ip -{}", digit(family));
}

std::string prefix_of(const IpAddress& address)
{
    return fmt::format("{}/{}", address.to_string(), address.is_ipv4() ? 32 : 128);
}

// The service addresses that the backend is to own; in `dsr` those of its own IP version.
std::vector<IpAddress> addresses_for(const ServiceConfig& service, const IpAddress& backend)
{
    std::set<IpAddress> all;
    for (const ListenerConfig& listener : service.listeners)
        if (listener.address && (service.forward == Forward::ipip || listener.address->family() == backend.family()))
            all.insert(*listener.address);
    return {all.begin(), all.end()};
}

bool has_family(const std::vector<IpAddress>& addresses, Family family)
{
    return std::any_of(
        addresses.begin(), addresses.end(), [family](const IpAddress& address) { return address.family() == family; });
}

// First of all the backend must not say by ARP that it is the service; then it may be.
void own_addresses(const std::vector<IpAddress>& addresses, std::vector<std::string>& commands)
{
    if (has_family(addresses, Family::ipv4)) {
        commands.emplace_back("sysctl -w net.ipv4.conf.all.arp_ignore=1");
        commands.emplace_back("sysctl -w net.ipv4.conf.all.arp_announce=2");
        commands.emplace_back("sysctl -w net.ipv4.conf.all.rp_filter=2");
    }
    for (const IpAddress& address : addresses)
        commands.push_back(address.is_ipv4()
                               ? fmt::format("ip -4 addr replace {} dev lo", prefix_of(address))
                               : fmt::format("ip -6 addr replace {} dev lo nodad preferred_lft 0", prefix_of(address)));
}

// `ip link add` refuses what is there: then it is as it should be. To a device without an address, rp_filter=2 is as
// strict as 1, so it gets the IPv4 addresses, too.
void add_tunnel(
    Family inner, const IpAddress& local, const std::vector<IpAddress>& addresses, std::vector<std::string>& commands)
{
    const std::string name = fmt::format("flb{}in{}", digit(inner), digit(local.family()));
    std::string type = fmt::format("ip6tnl mode any encaplimit none local {} remote ::", local.to_string());
    if (local.is_ipv4())
        type = fmt::format("{} local {} remote any", inner == Family::ipv4 ? "ipip" : "sit", local.to_string());
    commands.push_back(fmt::format("ip link show {0} >/dev/null 2>&1 || ip link add {0} type {1}", name, type));
    commands.push_back(fmt::format("ip link set {} up", name));
    for (const IpAddress& address : addresses)
        if (inner == Family::ipv4 && address.is_ipv4())
            commands.push_back(fmt::format("ip -4 addr replace {} dev {}", prefix_of(address), name));
}

void advertise_less(Family inner, std::uint32_t mss, std::vector<std::string>& commands)
{
    commands.push_back(fmt::format("{0} route replace $({0} route show default | head -n 1 | "
                                   "sed 's/ advmss [0-9]*//; s/ expires [^ ]*//') advmss {1}",
        ip(inner), mss));
}

void setup_ipip(const std::vector<IpAddress>& addresses, const BackendView& backend, BackendSetup& setup)
{
    const Family outer = backend.address.family();
    setup.instead_of = setup.commands.size();
    bool crosses = false;
    bool one_device = false; // ip6tnl in mode any takes both
    for (const Family inner : {Family::ipv4, Family::ipv6}) {
        if (!has_family(addresses, inner))
            continue;
        crosses = crosses || inner != outer;
        if (outer == Family::ipv4 || !one_device)
            add_tunnel(inner, backend.address, addresses, setup.commands);
        one_device = true;
        advertise_less(inner, backend.mtu - ip_header(outer) - ip_header(inner) - tcp_header, setup.commands);
    }
    std::string decap = "featherlb decap --interface";
    if (backend.balancer) {
        decap += fmt::format(
            " \"$({} -o route get {} | sed 's/.* dev \\([^ ]*\\).*/\\1/')\"", ip(outer), backend.balancer->to_string());
        decap += fmt::format(" --from {}", prefix_of(*backend.balancer));
        for (const NetworkPrefix& network : backend.sources)
            decap += fmt::format(" --from {}", network.to_string());
        setup.notes.emplace_back(
            "--from names this balancer; add the networks of others that serve the same addresses");
    } else {
        decap += " eth0";
        setup.notes.emplace_back("put the interface that faces the balancers in the place of eth0");
    }
    for (const IpAddress& address : addresses)
        decap += fmt::format(" --service {}", address.to_string());
    if (crosses)
        setup.notes.emplace_back("decap: IPv4 in IPv6 or IPv6 in IPv4 needs Linux 6.3 or --attach xdp");
    setup.alternative.push_back(decap);
}

void setup_dnat(const BackendView& backend, BackendSetup& setup)
{
    const Family family = backend.address.family();
    if (backend.balancer && backend.on_link)
        setup.commands.push_back(
            fmt::format("{} route replace default via {}", ip(family), backend.balancer->to_string()));
    else
        setup.notes.push_back(fmt::format("there is a router between the balancer and {}: it is the router's routes to "
                                          "the clients that have to lead through the balancer",
            backend.address.to_string()));
}

} // namespace

BackendSetup backend_setup(const ServiceConfig& service, const BackendView& backend)
{
    BackendSetup setup{
        .name = backend.name, .address = backend.address, .commands = {}, .alternative = {}, .notes = {}};
    if (service.forward == Forward::snat) {
        setup.notes.emplace_back("nothing to do: in `snat` a backend needs no settings of its own");
        return setup;
    }
    if (service.forward == Forward::dnat) {
        setup_dnat(backend, setup);
        return setup;
    }
    const std::vector<IpAddress> addresses = addresses_for(service, backend.address);
    own_addresses(addresses, setup.commands);
    if (std::any_of(service.listeners.begin(), service.listeners.end(),
            [](const ListenerConfig& listener) { return !listener.address; }))
        setup.notes.emplace_back(
            "the service listens on \"*\": add each address that clients use to lo in the same way");
    if (service.forward == Forward::ipip)
        setup_ipip(addresses, backend, setup);
    return setup;
}

std::string format_setups(const ServiceConfig& service, const std::vector<BackendSetup>& setups)
{
    std::string text;
    for (const BackendSetup& setup : setups) {
        text += fmt::format("# service {} ({}): on backend {} ({})\n", service.name, to_string(service.forward),
            setup.name, setup.address.to_string());
        for (std::size_t i = 0; i < setup.commands.size(); ++i) {
            if (!setup.alternative.empty() && i == setup.instead_of)
                text += "# the tunnel:\n";
            text += setup.commands[i] + "\n";
        }
        if (!setup.alternative.empty())
            text += "# without tunnel devices, run this in their place (it also lowers the MSS):\n";
        for (const std::string& command : setup.alternative)
            text += "#   " + command + "\n";
        for (const std::string& note : setup.notes)
            text += "# note: " + note + "\n";
        text += "\n";
    }
    if (!text.empty())
        text.pop_back();
    return text;
}

nlohmann::json setups_to_json(const ServiceConfig& service, const std::vector<BackendSetup>& setups)
{
    nlohmann::json backends = nlohmann::json::array();
    for (const BackendSetup& setup : setups) {
        nlohmann::json one{{"name", setup.name}, {"address", setup.address.to_string()}, {"commands", setup.commands},
            {"notes", setup.notes}};
        if (!setup.alternative.empty()) {
            std::vector<std::string> other(
                setup.commands.begin(), setup.commands.begin() + static_cast<std::ptrdiff_t>(setup.instead_of));
            other.insert(other.end(), setup.alternative.begin(), setup.alternative.end());
            one["commands_with_decap"] = other;
        }
        backends.push_back(std::move(one));
    }
    return {{"service", service.name}, {"forward", to_string(service.forward)}, {"backends", backends}};
}

} // namespace featherlb
