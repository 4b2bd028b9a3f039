// SPDX-License-Identifier: Apache-2.0
// What the configuration asks of this machine: interfaces that exist, source addresses that are its own, source
// ports that its own programs do not use. And the choice that `interfaces: auto` stands for. Pure functions over
// what network.h and host_ports.h read, so that `check`, `run` and `reload` say the same.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "config/config.h"
#include "daemon/host_ports.h"
#include "kernel/network.h"

namespace featherlb {

struct Machine {
    std::vector<Interface> interfaces;
    std::vector<InterfaceAddress> addresses;
    HostPorts ports;
};

// Of the namespace that `network` looks at.
[[nodiscard]] Result<Machine> read_machine(Network& network);

struct MachineReport {
    std::vector<Problem> problems; // the configuration cannot work here
    std::vector<std::string> warnings;
};
[[nodiscard]] MachineReport check_machine(const Config& config, const Machine& machine);

struct ChosenInterface {
    std::uint32_t ifindex = 0;
    std::string name;
    Attach mode = Attach::automatic;
    std::string why; // "configured", "carries 203.0.113.10", "leads to backend 10.0.1.11"
    friend bool operator==(const ChosenInterface&, const ChosenInterface&) = default;
};

// Where programs belong. Configured interfaces, as far as they exist. `auto`: Ethernet interfaces that are up and
// carry a listener's address or lead to a backend; a listener whose address is on none of them (on `lo`, or routed
// here) may be asked for by any interface with an address, so then all of those. An address on a VLAN device counts
// for the device below it, where the tagged frames arrive.
[[nodiscard]] std::vector<ChosenInterface> choose_interfaces(
    const Config& config, const Machine& machine, const std::map<IpAddress, Way>& ways);

// The addresses of the chosen interfaces and of the VLAN devices on them: what "*" means.
// The machine's own addresses, and the interface below (of a VLAN, say) that carries each.
[[nodiscard]] std::map<IpAddress, std::uint32_t> homes_of(const Machine& machine);
[[nodiscard]] std::set<IpAddress> addresses_of(const std::vector<ChosenInterface>& chosen, const Machine& machine);

} // namespace featherlb
