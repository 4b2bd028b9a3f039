// SPDX-License-Identifier: Apache-2.0
#include "case.h"

#include <fmt/format.h>

namespace featherlb::bench {
namespace {

const char* version(bool v6)
{
    return v6 ? "ipv6" : "ipv4";
}

// The parts of an id that differ from what is usual.
std::string unusual(const Case& c)
{
    const ServiceKind usual;
    std::string text;
    if (c.flows_max)
        text += fmt::format("/flows-max={}", c.flows_max);
    if (c.services)
        text += fmt::format("/services={}", c.services);
    if (c.all_services)
        text += "/in-turn";
    if (c.kind.algorithm != usual.algorithm)
        text += fmt::format("/pick={}", to_string(c.kind.algorithm));
    if (c.kind.backends != usual.backends && !c.services)
        text += fmt::format("/backends={}", c.kind.backends);
    if (c.kind.with != usual.with)
        text += fmt::format("/with={}", to_string(c.kind.with));
    return text;
}

std::string grouped(std::uint32_t number)
{
    std::string text = std::to_string(number);
    for (int at = static_cast<int>(text.size()) - 3; at > 0; at -= 3)
        text.insert(static_cast<std::size_t>(at), ",");
    return text;
}

} // namespace

std::string_view to_string(Group group)
{
    switch (group) {
    case Group::floor:
        return "floor";
    case Group::not_ours:
        return "not-ours";
    case Group::established:
        return "established";
    case Group::opening:
        return "new";
    }
    return "";
}

std::string_view to_string(Fill fill)
{
    switch (fill) {
    case Fill::empty:
        return "empty";
    case Fill::half:
        return "half";
    case Fill::full:
        return "full";
    }
    return "";
}

std::string Case::id() const
{
    std::string text = hook == Hook::tc ? "tc/" : "";
    text += to_string(group);
    switch (group) {
    case Group::floor:
        text += "/" + floor;
        if (floor.starts_with("memory"))
            text += fmt::format("/flows={}{}", flows, flows_max ? fmt::format("/flows-max={}", flows_max) : "");
        return text;
    case Group::not_ours:
        return text + fmt::format("/{}/{}", version(kind.v6), to_string(protocol));
    case Group::established:
        text += fmt::format("/{}/{}/{}/{}/flows={}", version(kind.v6), to_string(protocol), to_string(kind.forward),
            to_client ? "to-client" : "to-backend", flows);
        break;
    case Group::opening:
        text += fmt::format(
            "/{}/{}/{}/table={}", version(kind.v6), to_string(protocol), to_string(kind.forward), to_string(fill));
        break;
    }
    return text + unusual(*this);
}

std::string Case::name() const
{
    const std::string packet = fmt::format("{}{} {}", hook == Hook::tc ? "TC: " : "", kind.v6 ? "IPv6" : "IPv4",
        protocol == Protocol::tcp ? "TCP" : "UDP");
    std::string text;
    switch (group) {
    case Group::floor:
        text = hook == Hook::tc ? "TC: " : "";
        if (floor == "empty")
            return text + "an empty program";
        if (floor == "header")
            return "a constant outer header";
        return fmt::format("one random line of a table for {} connections, {} clients in turn{}",
            grouped(table_flows()), grouped(flows), floor == "memory" ? "" : ", and a constant outer header");
    case Group::not_ours:
        return packet + ", not ours";
    case Group::established:
        text = fmt::format("{} {}, established, to the {}, {} flow{}", packet, to_string(kind.forward),
            to_client ? "client" : "backend", grouped(flows), flows == 1 ? "" : "s in turn");
        break;
    case Group::opening:
        text = fmt::format("{} {}, new flow, {}, table {}", packet, to_string(kind.forward), to_string(kind.algorithm),
            fill == Fill::full ? "full of unproven ones" : to_string(fill));
        break;
    }
    if (flows_max)
        text += fmt::format(", table for {}", grouped(flows_max));
    if (services)
        text += fmt::format(
            ", {} service{}{}", grouped(services), services == 1 ? "" : "s", all_services ? " in turn" : "");
    if (kind.backends != ServiceKind{}.backends && !services)
        text += fmt::format(", {} backends", grouped(kind.backends));
    if (kind.with != With::nothing)
        text += kind.with == With::all ? ", affinity, limits and lists" : fmt::format(", {}", to_string(kind.with));
    return text;
}

std::uint32_t Case::table_flows() const
{
    if (flows_max)
        return flows_max;
    return flows > 1 && !services ? flows : default_flows_max;
}

std::string Case::balancer_key() const
{
    const bool alone = flows > 1 || services || fill == Fill::full;
    if (alone)
        return id();
    return group == Group::opening ? "opening" : "standing";
}

std::string Case::memory_floor_id(const std::string& name) const
{
    Case floor_case{.group = Group::floor, .floor = name, .flows = flows, .flows_max = flows_max};
    if (!flows_max && table_flows() != floor_case.table_flows())
        floor_case.flows_max = table_flows();
    return floor_case.id();
}

} // namespace featherlb::bench
