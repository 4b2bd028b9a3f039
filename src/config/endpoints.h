// SPDX-License-Identifier: Apache-2.0
// Texts that name a place in the network: what a service listens on, where a backend is, where connections to
// backends come from. Each says exactly what is wrong with a text that does not fit, and what was probably meant.
// Addresses that cannot work for the purpose (unspecified, loopback, multicast, IPv6 link-local) are refused.
#pragma once

#include <string>
#include <string_view>

#include <tl/expected.hpp>

#include "config/config.h"

namespace featherlb {

struct Complaint {
    std::string what;
    std::string remedy;
};
template <typename T>
using Parsed = tl::expected<T, Complaint>;

// "203.0.113.10:80/tcp", "[2001:db8::10]:8000-8099/udp", "*:80/tcp", ":80/tcp". The place is left to the caller.
[[nodiscard]] Parsed<ListenerConfig> parse_listener(std::string_view text);
// "10.0.1.11:8080", "[fd00::11]:8080"; "10.0.1.11", "[fd00::11]": port 0
[[nodiscard]] Parsed<Endpoint> parse_backend_address(std::string_view text);
// "web.internal:8080"; "web.internal": port 0
[[nodiscard]] Parsed<DnsName> parse_dns_name(std::string_view text);
// "10.0.0.5": an address of the machine's own.
[[nodiscard]] Parsed<IpAddress> parse_source_address(std::string_view text);

// "127.0.0.1:9420", "[::1]:9420": a port of the machine's own; 0.0.0.0 and [::] are all its addresses.
[[nodiscard]] Parsed<Endpoint> parse_own_endpoint(std::string_view text);

// "198.51.100.0/24": a network of clients.
[[nodiscard]] Parsed<NetworkPrefix> parse_network(std::string_view text);
// The same, or an address, which is a network of one.
[[nodiscard]] Parsed<NetworkPrefix> parse_clients(std::string_view text);

} // namespace featherlb
