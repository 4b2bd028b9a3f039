// SPDX-License-Identifier: Apache-2.0
#include "kernel/network_reasons.h"

#include <cerrno>

#include <fmt/format.h>
#include <linux/rtnetlink.h>

namespace featherlb {

namespace {

constexpr const char* elsewhere =
    "a backend must be another machine, or have a network namespace (container) of its own";

} // namespace

Error not_asked(const std::string& what, const NetlinkError& error)
{
    return {fmt::format("cannot read {} from the kernel: {}", what, error.message), {}};
}

std::optional<Error> refuse_destination(const IpAddress& destination)
{
    const std::string text = destination.to_string();
    if (destination.is_unspecified() || destination.is_multicast())
        return Error{fmt::format("{} is not the address of a machine", text), {}};
    if (destination.is_loopback())
        return Error{fmt::format("{} is this machine itself", text), elsewhere};
    if (destination.is_link_local() && !destination.is_ipv4())
        return Error{fmt::format("{} is a link-local address, which means nothing without an interface", text),
            "use an address of the backend that is routed"};
    return std::nullopt;
}

Error describe_refusal(const IpAddress& address, const NetlinkError& error)
{
    const std::string destination = address.to_string();
    const std::string look = fmt::format("see `ip route get {}`", destination);
    switch (error.number) {
    case ENETUNREACH:
        return {fmt::format("there is no route to {}", destination),
            fmt::format(
                "see `ip route get {}`: is the interface that leads there up, and has it an address?", destination)};
    case EHOSTUNREACH:
        return {fmt::format("the route to {} says unreachable", destination), look};
    case EACCES:
        return {fmt::format("the route to {} says prohibited", destination), look};
    case EINVAL:
        return {fmt::format("the route to {} is a blackhole", destination), look};
    default:
        return {fmt::format("there is no way to {}: {}", destination, error.message), {}};
    }
}

std::optional<Error> refuse_route(const IpAddress& destination, const Route& route)
{
    const std::string text = destination.to_string();
    if (route.type == RTN_LOCAL)
        return Error{fmt::format("{} is an address of this machine", text), elsewhere};
    if (route.type == RTN_BROADCAST || route.type == RTN_MULTICAST || route.type == RTN_ANYCAST)
        return Error{fmt::format("{} is a broadcast or multicast address here", text), {}};
    if (route.type != RTN_UNICAST || route.ifindex == 0)
        return Error{
            fmt::format("the route to {} does not lead anywhere", text), fmt::format("see `ip route get {}`", text)};
    if (route.encapsulated)
        return Error{fmt::format("the route to {} wraps packets in a tunnel or labels", text),
            "lead the route over an Ethernet device"};
    return std::nullopt;
}

Error describe_keep_failure(const NeighbourKey& key, const std::string& device, const NetlinkError& error)
{
    std::string remedy;
    if (error.number == EPERM)
        remedy = "featherlb needs CAP_NET_ADMIN for this";
    else if (error.number == ENOBUFS)
        remedy = fmt::format("the neighbour table is full: raise net.{}.neigh.default.gc_thresh3",
            key.address.is_ipv4() ? "ipv4" : "ipv6");
    return {
        fmt::format("cannot have {} on {} kept resolved: {}", key.address.to_string(), device, error.message), remedy};
}

Error describe_unresolved(const NeighbourKey& key, const Interface& device, const Neighbour* neighbour)
{
    const std::string text = key.address.to_string();
    if (!device.carrier)
        return {fmt::format("{} has no carrier", device.name), "check the cable, or the other end of a virtual device"};
    if (device.no_arp)
        return {fmt::format("{} resolves no neighbours (NOARP)", device.name),
            fmt::format("give its MAC: ip neigh replace {} lladdr MAC dev {} nud permanent", text, device.name)};
    if (neighbour != nullptr && (neighbour->state & NUD_FAILED) != 0)
        return {fmt::format("{} does not answer {} on {}", text,
                    key.address.is_ipv4() ? "ARP requests" : "neighbour solicitations", device.name),
            "is the machine up, and on this network segment?"};
    return {fmt::format("{} on {} has not answered yet", text, device.name), {}};
}

} // namespace featherlb
