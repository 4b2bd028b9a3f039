// SPDX-License-Identifier: Apache-2.0
// The ports that the machine itself uses: those it takes for its own outgoing connections, and those that programs
// on it listen on. Read from /proc; of the network namespace of the process.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/ip.h"
#include "config/config.h"

namespace featherlb {

struct HostListener {
    Endpoint endpoint; // unspecified address: all addresses (of both IP versions, if it is ::)
    Protocol protocol = Protocol::tcp;
    friend auto operator<=>(const HostListener&, const HostListener&) = default;
};

struct HostPorts {
    std::optional<PortRange> local;  // net.ipv4.ip_local_port_range, which holds for IPv6 too
    std::vector<PortRange> reserved; // net.ipv4.ip_local_reserved_ports: left out of it
    std::vector<HostListener> listeners;
};

// `proc`: where /proc is. What cannot be read is left empty: these are checks for the operator's sake.
[[nodiscard]] HostPorts read_host_ports(const std::string& proc = "/proc");

// Pure parts.
// "1024-2000,3000\n", separated by commas or, two numbers, by white space as in ip_local_port_range.
[[nodiscard]] std::vector<PortRange> parse_port_ranges(std::string_view text);
// The lines of /proc/net/{tcp,tcp6,udp,udp6}: listening TCP sockets and unconnected UDP sockets.
[[nodiscard]] std::vector<HostListener> parse_socket_table(std::string_view text, Protocol protocol);

} // namespace featherlb
