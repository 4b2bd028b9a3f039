// SPDX-License-Identifier: Apache-2.0
#include "daemon/machine.h"

#include <algorithm>
#include <set>
#include <utility>

#include <fmt/format.h>

#include "base/group.h"
#include "base/text.h"
#include "daemon/probe_marks.h"

namespace featherlb {

namespace {

const Interface* by_name(const Machine& machine, std::string_view name)
{
    const auto found = std::find_if(machine.interfaces.begin(), machine.interfaces.end(),
        [name](const Interface& interface) { return interface.name == name; });
    return found == machine.interfaces.end() ? nullptr : &*found;
}

bool is_local(const Machine& machine, const IpAddress& address)
{
    return std::any_of(machine.addresses.begin(), machine.addresses.end(),
        [&address](const InterfaceAddress& entry) { return entry.address == address; });
}

// The device whose ingress sees the frames for this interface: below its VLAN devices.
std::uint32_t lowest(const Machine& machine, std::uint32_t ifindex)
{
    const Result<WayOut> way = way_out(machine.interfaces, ifindex);
    return way ? way->ifindex : 0;
}

std::string missing_remedy(const Machine& machine, std::string_view name)
{
    std::vector<std::string_view> names;
    for (const Interface& interface : machine.interfaces) {
        if (interface.ethernet)
            names.push_back(interface.name);
    }
    if (const auto meant = closest(name, names))
        return fmt::format("did you mean {}?", quote(*meant));
    return names.empty() ? "this machine has no Ethernet interface" : fmt::format("this machine has {}", join(names));
}

void check_interfaces(const Config& config, const Machine& machine, MachineReport& report)
{
    if (!config.interfaces)
        return;
    for (const InterfaceConfig& wanted : *config.interfaces) {
        const Interface* interface = by_name(machine, wanted.name);
        if (interface == nullptr)
            report.problems.push_back({wanted.place, fmt::format("interface {} does not exist", quote(wanted.name)),
                missing_remedy(machine, wanted.name)});
        else if (interface->loopback)
            report.problems.push_back({wanted.place, fmt::format("interface {} is the loopback", quote(wanted.name)),
                "name the interfaces that the clients' packets come in by"});
        else if (!interface->ethernet)
            report.problems.push_back(
                {wanted.place, fmt::format("interface {} does not carry Ethernet frames", quote(wanted.name)),
                    "name an Ethernet interface; tunnels are not served"});
        else if (!interface->up)
            report.warnings.push_back(
                fmt::format("interface {} is down; `ip link set {} up`", wanted.name, wanted.name));
    }
}

void check_snat_addresses(const Config& config, const Machine& machine, MachineReport& report)
{
    std::vector<std::string> own;
    for (const InterfaceAddress& entry : machine.addresses) {
        if (!entry.link_local && !entry.address.is_loopback())
            own.push_back(entry.address.to_string());
    }
    const std::vector<std::string_view> words(own.begin(), own.end());
    for (const IpAddress& address : config.snat.addresses) {
        if (!is_local(machine, address))
            report.problems.push_back({config.snat.place,
                fmt::format("the source address {} is not an address of this machine", address.to_string()),
                own.empty() ? "add it to an interface"
                            : fmt::format("add it to an interface, or use {}", join(words))});
    }
}

std::string write_range(const PortRange& range)
{
    return fmt::format("{}-{}", range.first, range.last);
}

bool inside(std::uint16_t port, const PortRange& range)
{
    return port >= range.first && port <= range.last;
}

// The largest range beside the machine's own ports.
PortRange free_range(const PortRange& local)
{
    const int below = static_cast<int>(local.first) - 1024;
    const int above = 65535 - static_cast<int>(local.last);
    if (below >= above)
        return {1024, static_cast<std::uint16_t>(std::max(below, 0) + 1023)};
    return {static_cast<std::uint16_t>(local.last + 1), 65535};
}

bool uses_snat(const Config& config)
{
    return std::any_of(config.services.begin(), config.services.end(),
        [](const ServiceConfig& service) { return service.forward == Forward::snat; });
}

void check_snat_ports(const Config& config, const Machine& machine, MachineReport& report)
{
    const PortRange& ours = config.snat.ports;
    if (!uses_snat(config) || !machine.ports.local)
        return;
    const PortRange& local = *machine.ports.local;
    const auto reserved = [&machine](std::uint16_t port) {
        return std::any_of(machine.ports.reserved.begin(), machine.ports.reserved.end(),
            [port](const PortRange& range) { return inside(port, range); });
    };
    bool overlap = false;
    for (std::uint32_t port = std::max(ours.first, local.first); port <= std::min(ours.last, local.last); ++port)
        overlap = overlap || !reserved(static_cast<std::uint16_t>(port));
    if (!overlap)
        return;
    const PortRange suggestion = free_range(local);
    const std::string reserve =
        fmt::format("keep the machine off them by `sysctl -w net.ipv4.ip_local_reserved_ports={}`", write_range(ours));
    report.problems.push_back({config.snat.place,
        fmt::format("the source ports {} overlap {}, which this machine uses for its own connections "
                    "(net.ipv4.ip_local_port_range)",
            write_range(ours), write_range(local)),
        suggestion.last > suggestion.first ? fmt::format("use {}, or {}", write_range(suggestion), reserve) : reserve});
}

// Does the host's socket answer at this address? A socket on :: usually answers for IPv4 as well.
bool answers_at(const HostListener& host, const std::optional<IpAddress>& address)
{
    if (host.endpoint.address.is_loopback())
        return address && *address == host.endpoint.address;
    if (!address || host.endpoint.address == *address)
        return true;
    return host.endpoint.address.is_unspecified() && (!host.endpoint.address.is_ipv4() || address->is_ipv4());
}

void check_host_listeners(const Config& config, const Machine& machine, MachineReport& report)
{
    using Port = std::pair<Protocol, std::uint16_t>;
    std::multimap<Port, const HostListener*> hosts;
    for (const HostListener& host : machine.ports.listeners)
        hosts.emplace(Port{host.protocol, host.endpoint.port}, &host);
    std::set<std::pair<std::string_view, Port>> said;
    for (const ServiceConfig& service : config.services) {
        for (const ListenerConfig& listener : service.listeners) {
            const auto last = hosts.upper_bound({listener.protocol, listener.last_port()});
            for (auto at = hosts.lower_bound({listener.protocol, listener.port}); at != last; ++at) {
                const HostListener& host = *at->second;
                if (answers_at(host, listener.address) && said.emplace(service.name, at->first).second)
                    report.warnings.push_back(fmt::format("a program on this machine listens on {}/{}; while service "
                                                          "{} takes these packets, it gets none of them",
                        host.endpoint.to_string(), to_string(host.protocol), service.name));
            }
        }
    }
    if (!uses_snat(config))
        return;
    std::set<std::string> in_range;
    for (const HostListener& host : machine.ports.listeners) {
        if (!host.endpoint.address.is_loopback() && inside(host.endpoint.port, config.snat.ports))
            in_range.insert(fmt::format("{}/{}", host.endpoint.port, to_string(host.protocol)));
    }
    if (in_range.empty())
        return;
    const std::vector<std::string_view> words(in_range.begin(), in_range.end());
    report.warnings.push_back(fmt::format("programs on this machine listen on {}, inside snat.ports {}; a backend that "
                                          "connects to them from its service port may not get through",
        join(words), write_range(config.snat.ports)));
}

// Collects for `auto`: the first reason that an interface is chosen for is the one that is told.
class Chooser {
public:
    explicit Chooser(const Machine& machine) : machine_(machine) {}

    bool add(std::uint32_t ifindex, const std::string& why)
    {
        const Interface* interface = find_interface(machine_.interfaces, lowest(machine_, ifindex));
        if (interface == nullptr || !interface->ethernet || !interface->up)
            return false;
        chosen_.emplace(interface->index, ChosenInterface{interface->index, interface->name, Attach::automatic, why});
        return true;
    }
    bool add_owner(const IpAddress& address)
    {
        bool added = false;
        for (const InterfaceAddress& entry : machine_.addresses) {
            if (entry.address == address && add(entry.ifindex, "carries " + address.to_string()))
                added = true;
        }
        return added;
    }
    void add_all(const std::string& why)
    {
        for (const InterfaceAddress& entry : machine_.addresses) {
            if (!entry.link_local)
                add(entry.ifindex, why);
        }
    }
    std::vector<ChosenInterface> take()
    {
        std::vector<ChosenInterface> all;
        for (auto& [index, interface] : chosen_)
            all.push_back(std::move(interface));
        return all;
    }

private:
    const Machine& machine_;
    std::map<std::uint32_t, ChosenInterface> chosen_;
};

std::vector<ChosenInterface> choose_configured(const std::vector<InterfaceConfig>& wanted, const Machine& machine)
{
    std::vector<ChosenInterface> all;
    for (const InterfaceConfig& config : wanted) {
        const Interface* interface = by_name(machine, config.name);
        if (interface != nullptr && interface->ethernet)
            all.push_back({interface->index, interface->name, config.attach, "configured"});
    }
    return all;
}

void check_admin_group(const Config& config, MachineReport& report)
{
    const std::string& group = config.admin_access.group;
    if (group.empty())
        return;
    if (const Result<gid_t> found = find_group(group); !found)
        report.problems.push_back(
            {config.admin_group_place, "admin.group: " + found.error().message, found.error().remedy});
}

} // namespace

Result<Machine> read_machine(Network& network)
{
    Result<std::vector<Interface>> interfaces = network.interfaces();
    if (!interfaces)
        return fail(std::move(interfaces.error()));
    Result<std::vector<InterfaceAddress>> addresses = network.addresses();
    if (!addresses)
        return fail(std::move(addresses.error()));
    return Machine{.interfaces = std::move(*interfaces), .addresses = std::move(*addresses), .ports = {}};
}

MachineReport check_machine(const Config& config, const Machine& machine)
{
    MachineReport report;
    check_interfaces(config, machine, report);
    check_snat_addresses(config, machine, report);
    check_snat_ports(config, machine, report);
    check_host_listeners(config, machine, report);
    check_admin_group(config, report);
    for (std::string& warning : probe_warnings(config))
        report.warnings.push_back(std::move(warning));
    std::stable_sort(report.problems.begin(), report.problems.end(), [](const Problem& a, const Problem& b) {
        return std::pair{a.place.line, a.place.column} < std::pair{b.place.line, b.place.column};
    });
    return report;
}

std::vector<ChosenInterface> choose_interfaces(
    const Config& config, const Machine& machine, const std::map<IpAddress, Way>& ways)
{
    if (config.interfaces)
        return choose_configured(*config.interfaces, machine);
    Chooser chooser(machine);
    for (const ServiceConfig& service : config.services) {
        for (const ListenerConfig& listener : service.listeners) {
            if (!listener.address)
                chooser.add_all("carries an address of " + to_string(listener));
            else if (!chooser.add_owner(*listener.address))
                chooser.add_all(fmt::format("may be asked for {}", listener.address->to_string()));
        }
    }
    for (const auto& [destination, way] : ways) {
        if (way.ifindex != 0)
            chooser.add(way.ifindex, "leads to backend " + destination.to_string());
    }
    return chooser.take();
}

std::map<IpAddress, std::uint32_t> homes_of(const Machine& machine)
{
    std::map<IpAddress, std::uint32_t> homes;
    for (const InterfaceAddress& entry : machine.addresses)
        homes.emplace(entry.address, lowest(machine, entry.ifindex));
    return homes;
}

std::set<IpAddress> addresses_of(const std::vector<ChosenInterface>& chosen, const Machine& machine)
{
    std::set<std::uint32_t> indexes;
    for (const ChosenInterface& interface : chosen)
        indexes.insert(interface.ifindex);
    std::set<IpAddress> addresses;
    for (const InterfaceAddress& entry : machine.addresses) {
        if (indexes.contains(entry.ifindex) || indexes.contains(lowest(machine, entry.ifindex)))
            addresses.insert(entry.address);
    }
    return addresses;
}

} // namespace featherlb
