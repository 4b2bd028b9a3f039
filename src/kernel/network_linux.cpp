// SPDX-License-Identifier: Apache-2.0
// The real Network: one netlink socket for questions, one for events.
#include <algorithm>
#include <cerrno>
#include <map>
#include <tuple>
#include <utility>

#include <fmt/format.h>
#include <linux/rtnetlink.h>

#include "kernel/ethtool.h"
#include "kernel/netlink_messages.h"
#include "kernel/netlink_neighbours.h"
#include "kernel/netlink_socket.h"
#include "kernel/network.h"
#include "kernel/network_reasons.h"

namespace featherlb {

namespace {

constexpr std::array<unsigned, 6> event_groups{
    RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE, RTNLGRP_NEIGH};
constexpr std::uint32_t largest_mtu = 65535;

class LinuxNetwork final : public Network {
public:
    LinuxNetwork(NetlinkSocket questions, NetlinkSocket events)
        : questions_(std::move(questions)), events_(std::move(events)), neighbours_(questions_)
    {
    }

    Result<std::vector<Interface>> interfaces() override;
    Result<std::vector<InterfaceAddress>> addresses() override;
    Way next_hop(const IpAddress& destination) override;
    void retain(const std::set<IpAddress>& destinations) override;
    bool maintain() override;
    void release() override;
    int event_fd() const override { return events_.fd(); }
    NetworkChanges drain() override;

private:
    struct CachedRoute {
        std::optional<Route> route; // one of these two, once asked
        std::optional<Error> refused;
        std::optional<NeighbourKey> neighbour; // that was asked for because of it
        std::uint64_t generation = 0;          // when it was asked
    };
    Result<void> refresh_links();
    Result<void> refresh_addresses();
    const std::string& driver_of(const Interface& interface);
    std::optional<Error> refresh_route(const IpAddress& destination, CachedRoute& cached);
    void resolve(const NeighbourKey& key, const Interface& device, const WayOut& out, Way& way);
    bool address_is_news(const nlmsghdr& header) const;

    NetlinkSocket questions_;
    NetlinkSocket events_;
    Ethtool ethtool_;
    NeighbourTable neighbours_;
    std::vector<Interface> interfaces_;
    std::vector<InterfaceAddress> addresses_;
    std::map<std::pair<std::uint32_t, std::string>, std::string> drivers_;
    std::map<IpAddress, CachedRoute> routes_; // of all destinations that are wanted
    std::uint64_t generation_ = 1;            // of links, addresses and routes
    bool links_stale_ = true;
    bool addresses_stale_ = true;
};

// Some drivers ask their firmware: once for each device is enough.
const std::string& LinuxNetwork::driver_of(const Interface& interface)
{
    const auto [entry, inserted] = drivers_.try_emplace({interface.index, interface.name});
    if (inserted)
        entry->second = ethtool_.driver(interface.name);
    return entry->second;
}

Result<void> LinuxNetwork::refresh_links()
{
    if (!links_stale_)
        return {};
    std::vector<Interface> fresh;
    Request request = Request::dump_links();
    auto done = questions_.ask(
        request.header(),
        [&](const nlmsghdr& header) {
            if (auto interface = parse_link(header))
                fresh.push_back(std::move(*interface));
        },
        [&] { fresh.clear(); });
    if (!done)
        return fail(not_asked("the interfaces", done.error()));
    std::sort(fresh.begin(), fresh.end(), [](const Interface& a, const Interface& b) { return a.index < b.index; });
    std::erase_if(drivers_, [&](const auto& entry) { return find_interface(fresh, entry.first.first) == nullptr; });
    for (Interface& interface : fresh) {
        if (!interface.ethernet)
            continue;
        interface.driver = driver_of(interface);
        const DeviceOffloads offloads = ethtool_.offloads(interface.name);
        interface.rx_vlan_offload = offloads.rx_vlan;
        interface.tx_checksum_offload = offloads.tx_checksum;
    }
    interfaces_ = std::move(fresh);
    links_stale_ = false;
    return {};
}

Result<void> LinuxNetwork::refresh_addresses()
{
    if (!addresses_stale_)
        return {};
    std::vector<InterfaceAddress> fresh;
    Request request = Request::dump_addresses();
    auto done = questions_.ask(
        request.header(),
        [&](const nlmsghdr& header) {
            if (const auto message = parse_address(header); message && message->working)
                fresh.push_back(message->address);
        },
        [&] { fresh.clear(); });
    if (!done)
        return fail(not_asked("the addresses", done.error()));
    std::sort(fresh.begin(), fresh.end(), [](const InterfaceAddress& a, const InterfaceAddress& b) {
        return std::tie(a.ifindex, a.address) < std::tie(b.ifindex, b.address);
    });
    addresses_ = std::move(fresh);
    addresses_stale_ = false;
    return {};
}

Result<std::vector<Interface>> LinuxNetwork::interfaces()
{
    if (auto done = refresh_links(); !done)
        return fail(done.error());
    return interfaces_;
}

Result<std::vector<InterfaceAddress>> LinuxNetwork::addresses()
{
    if (auto done = refresh_addresses(); !done)
        return fail(done.error());
    return addresses_;
}

// Asks the kernel unless nothing changed since. Returns why it could not be asked; then what was known stays.
std::optional<Error> LinuxNetwork::refresh_route(const IpAddress& destination, CachedRoute& cached)
{
    if (cached.generation == generation_)
        return std::nullopt;
    std::optional<Route> route;
    Request request = Request::get_route(destination);
    auto done = questions_.ask(request.header(), [&](const nlmsghdr& header) { route = parse_route(header); });
    // Out of memory says nothing about the route.
    if (!done && (!done.error().from_kernel || done.error().number == ENOMEM || done.error().number == ENOBUFS))
        return not_asked("the route to " + destination.to_string(), done.error());
    cached.generation = generation_;
    cached.route = std::nullopt;
    if (!done)
        cached.refused = describe_refusal(destination, done.error());
    else if (!route)
        cached.refused = Error{fmt::format("the kernel's route to {} is not understood", destination.to_string()), {}};
    else if (cached.refused = refuse_route(destination, *route); !cached.refused)
        cached.route = route;
    return std::nullopt;
}

void LinuxNetwork::resolve(const NeighbourKey& key, const Interface& device, const WayOut& out, Way& way)
{
    std::optional<Error> failure;
    if (auto known = neighbours_.refresh(); !known)
        failure = not_asked("the neighbours", known.error());
    if (!device.no_arp)
        if (auto kept = neighbours_.keep(key); !kept)
            failure = describe_keep_failure(key, device.name, kept.error());
    const Neighbour* neighbour = neighbours_.find(key);
    // A device without ARP shows its own MAC for neighbours that nobody gave.
    const bool usable =
        neighbour != nullptr && neighbour->usable() && (!device.no_arp || (neighbour->state & NUD_PERMANENT) != 0);
    if (usable) {
        std::copy(neighbour->mac->begin(), neighbour->mac->end(), way.next.hop.mac);
        way.next.hop.link = out.link;
        std::copy(out.vlan.begin(), out.vlan.end(), way.next.hop.vlan);
    } else if (!failure) {
        failure = describe_unresolved(key, device, neighbour);
    }
    if (failure)
        way.problem = std::move(failure);
}

Way LinuxNetwork::next_hop(const IpAddress& destination)
{
    Way way;
    if ((way.problem = refuse_destination(destination)))
        return way;
    if (auto links = refresh_links(); !links)
        way.problem = links.error();
    CachedRoute& cached = routes_[destination];
    if (auto failure = refresh_route(destination, cached))
        way.problem = std::move(failure);
    if (!cached.route) {
        if (cached.refused)
            way.problem = cached.refused;
        return way;
    }
    const Route& route = *cached.route;
    // A device younger than our list: its event waits.
    if (find_interface(interfaces_, route.ifindex) == nullptr) {
        links_stale_ = true;
        (void)refresh_links();
    }
    const auto out = way_out(interfaces_, route.ifindex);
    if (!out) {
        way.problem = out.error();
        return way;
    }
    const Interface& device = *find_interface(interfaces_, route.ifindex);
    const NeighbourKey key{route.ifindex, route.gateway.value_or(destination)};
    way.ifindex = out->ifindex;
    way.device = device.name;
    way.neighbour = key.address;
    way.next.source = route.source;
    way.next.gateway = route.gateway.has_value() && *route.gateway != destination;
    way.next.mtu =
        static_cast<std::uint16_t>(std::min({out->mtu, route.mtu == 0 ? largest_mtu : route.mtu, largest_mtu}));
    cached.neighbour = key;
    resolve(key, device, *out, way);
    return way;
}

void LinuxNetwork::retain(const std::set<IpAddress>& destinations)
{
    std::erase_if(routes_, [&](const auto& entry) { return !destinations.contains(entry.first); });
    std::set<NeighbourKey> keys;
    for (const auto& [destination, cached] : routes_)
        if (cached.neighbour)
            keys.insert(*cached.neighbour);
    neighbours_.retain(keys);
}

bool LinuxNetwork::maintain()
{
    bool changed = false;
    for (auto& [destination, cached] : routes_) {
        const std::optional<Route> before = cached.route;
        if (before && before->temporary)
            cached.generation = 0;
        (void)next_hop(destination); // its caller has the answer of the last change
        changed |= cached.route != before;
    }
    neighbours_.probe();
    return changed;
}

void LinuxNetwork::release()
{
    routes_.clear();
    neighbours_.release();
}

// Lifetimes are refreshed by every router advertisement: that is no reason to look up all routes again.
bool LinuxNetwork::address_is_news(const nlmsghdr& header) const
{
    const auto message = parse_address(header);
    if (addresses_stale_ || !message)
        return true;
    const auto same = std::find_if(addresses_.begin(), addresses_.end(), [&](const InterfaceAddress& known) {
        return known.ifindex == message->address.ifindex && known.address == message->address.address;
    });
    if (header.nlmsg_type == RTM_DELADDR || !message->working)
        return same != addresses_.end();
    return same == addresses_.end() || *same != message->address;
}

NetworkChanges LinuxNetwork::drain()
{
    NetworkChanges changes;
    const bool all = events_.read_events([&](const nlmsghdr& header) {
        switch (header.nlmsg_type) {
        case RTM_NEWLINK:
        case RTM_DELLINK:
            changes.links |= parse_link(header).has_value();
            break;
        case RTM_NEWADDR:
        case RTM_DELADDR:
            if (!changes.addresses)
                changes.addresses = address_is_news(header);
            break;
        case RTM_NEWROUTE:
        case RTM_DELROUTE:
            changes.routes = true;
            break;
        case RTM_NEWNEIGH:
        case RTM_DELNEIGH:
            changes.neighbours |= neighbours_.apply(header);
            break;
        default:
            break;
        }
    });
    if (!all) {
        changes = NetworkChanges::everything();
        neighbours_.forget();
    }
    links_stale_ |= changes.links;
    addresses_stale_ |= changes.addresses;
    // Routes vanish without an event of their own when their link goes down.
    if (changes.links || changes.addresses || changes.routes) {
        ++generation_;
        neighbours_.kick();
    }
    return changes;
}

} // namespace

Result<std::unique_ptr<Network>> open_network()
{
    auto questions = NetlinkSocket::open();
    if (!questions)
        return fail(questions.error());
    // Before the first question, so that nothing between the two is missed.
    auto events = NetlinkSocket::open(event_groups, false);
    if (!events)
        return fail(events.error());
    return std::make_unique<LinuxNetwork>(std::move(*questions), std::move(*events));
}

} // namespace featherlb
