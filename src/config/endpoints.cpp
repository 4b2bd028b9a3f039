// SPDX-License-Identifier: Apache-2.0
#include "config/endpoints.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "base/text.h"
#include "config/values.h"

namespace featherlb {

namespace {

constexpr std::size_t longest_host = 253;
constexpr std::size_t longest_label = 63;

tl::unexpected<Complaint> refuse(std::string what, std::string remedy)
{
    return tl::unexpected(Complaint{std::move(what), std::move(remedy)});
}

// Host and port as written, brackets removed.
struct HostPort {
    std::string_view host;
    std::string_view port;
    std::string_view suffix; // what stood behind the port, for remedies
    bool bracketed = false;
};

bool has_port(std::string_view text)
{
    return text.find(':') != std::string_view::npos && !(text.starts_with('[') && text.ends_with(']'));
}

// "10.0.1.11", "[fd00::11]", "web.internal"
Parsed<HostPort> without_port(std::string_view text)
{
    const bool bracketed = text.size() > 1 && text.starts_with('[') && text.ends_with(']');
    return HostPort{bracketed ? text.substr(1, text.size() - 2) : text, {}, {}, bracketed};
}

// `example`: what a right text looks like; `port`: what is proposed where none stands.
Parsed<HostPort> split(
    std::string_view text, std::string_view suffix, std::string_view example, std::string_view port = "80")
{
    if (text.starts_with('[')) {
        const std::size_t close = text.find(']');
        if (close == std::string_view::npos)
            return refuse(fmt::format("{} has [ without ]", quote(text)), fmt::format("write {}", quote(example)));
        if (close + 1 >= text.size() || text[close + 1] != ':')
            return refuse(fmt::format("{} has no port behind ]", quote(text)),
                fmt::format("write {}", quote(fmt::format("{}:{}{}", text.substr(0, close + 1), port, suffix))));
        return HostPort{text.substr(1, close - 1), text.substr(close + 2), suffix, true};
    }
    const std::size_t colon = text.rfind(':');
    if (colon == std::string_view::npos)
        return refuse(fmt::format("{} has no port", quote(text)),
            fmt::format("write {}", quote(fmt::format("{}:{}{}", text, port, suffix))));
    if (text.find(':') == colon)
        return HostPort{text.substr(0, colon), text.substr(colon + 1), suffix, false};
    std::string remedy = fmt::format("write {}", quote(example));
    if (const auto address = IpAddress::parse(text.substr(0, colon)))
        remedy = fmt::format(
            "write {}", quote(fmt::format("[{}]:{}{}", address->to_string(), text.substr(colon + 1), suffix)));
    return refuse(fmt::format("{} has an IPv6 address without brackets", quote(text)), std::move(remedy));
}

Parsed<std::uint16_t> parse_port(std::string_view text)
{
    static constexpr std::string_view remedy = "write a port from 1 to 65535";
    const auto value = parse_decimal(text);
    if (value && *value >= 1 && *value <= 65535)
        return static_cast<std::uint16_t>(*value);
    const bool only_digits = !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
    if (text.empty())
        return refuse("the port is missing", std::string(remedy));
    if (value || (only_digits && text.front() != '0'))
        return refuse(fmt::format("the port {} is not from 1 to 65535", text.substr(0, 20)), std::string(remedy));
    if (only_digits && text.size() < 10)
        return refuse(fmt::format("the port {} has a leading zero", quote(text)),
            fmt::format(
                "write it as a decimal number from 1 to 65535, such as {}", std::max(1, std::stoi(std::string(text)))));
    return refuse(fmt::format("the port {} is not a decimal number", quote(text)), std::string(remedy));
}

Parsed<std::uint16_t> parse_backend_port(std::string_view text)
{
    const std::size_t dash = text.find('-');
    if (dash != std::string_view::npos && parse_decimal(text.substr(0, dash)) && parse_decimal(text.substr(dash + 1)))
        return refuse(fmt::format("{} is a range of ports, and a backend has one", quote(text)),
            "write one port, or none: then connections keep the port that their client used");
    return parse_port(text);
}

// "80", "8000-8099"
Parsed<PortRange> parse_ports(std::string_view text)
{
    const std::size_t dash = text.find('-');
    const auto first = parse_port(text.substr(0, dash));
    if (!first)
        return tl::unexpected(first.error());
    if (dash == std::string_view::npos)
        return PortRange{*first, *first};
    const auto last = parse_port(text.substr(dash + 1));
    if (!last)
        return tl::unexpected(last.error());
    if (*last < *first)
        return refuse(fmt::format("the range of ports {} ends before it begins", quote(text)),
            fmt::format("write {}-{}", *last, *first));
    return PortRange{*first, *last};
}

// Four groups of digits and three dots.
std::optional<std::string> without_leading_zeros(std::string_view text)
{
    std::string result;
    for (std::size_t at = 0; at <= text.size();) {
        const std::size_t end = std::min(text.find('.', at), text.size());
        std::string_view group = text.substr(at, end - at);
        while (group.size() > 1 && group.front() == '0')
            group.remove_prefix(1);
        result += group;
        if (end < text.size())
            result += '.';
        at = end + 1;
    }
    return IpAddress::parse(result) ? std::optional(result) : std::nullopt;
}

// Why `text` is not an address.
tl::unexpected<Complaint> refuse_address(std::string_view text)
{
    const std::string name = quote(text);
    const std::size_t zone = text.find('%');
    if (zone != std::string_view::npos)
        return refuse(fmt::format("{} has an interface (%) in its address", name), "write an address without %");
    if (text.find('/') != std::string_view::npos)
        return refuse(fmt::format("{} is a network, not one address", name), "write one address, without /");
    if (text.find(':') != std::string_view::npos) {
        const std::size_t last = text.rfind(':');
        if (const auto v4 = IpAddress::parse(text.substr(last + 1)); v4 && v4->is_ipv4())
            return refuse(
                fmt::format("{} is an IPv4 address in IPv6 form", name), fmt::format("write {}", v4->to_string()));
        if (text.starts_with("::ffff:") || text.starts_with("::FFFF:"))
            return refuse(fmt::format("{} is an IPv4 address in IPv6 form", name), "write it as 10.0.0.1");
        return refuse(fmt::format("{} is not an IPv6 address", name), "write an address such as 2001:db8::10");
    }
    if (text.find_first_not_of("0123456789.") == std::string_view::npos) {
        if (const auto meant = without_leading_zeros(text); meant && *meant != text)
            return refuse(fmt::format("{} has leading zeros, which some programs read as octal", name),
                fmt::format("write {}", *meant));
        return refuse(
            fmt::format("{} is not an IPv4 address", name), "write four numbers from 0 to 255, such as 10.0.1.11");
    }
    return refuse(fmt::format("{} is not an address", name), "write an address such as 10.0.1.11");
}

enum class Purpose { listener, backend, source, own };

// Addresses that are addresses but cannot serve.
std::optional<Complaint> unusable(const IpAddress& address, Purpose purpose)
{
    const std::string name = address.to_string();
    const bool nowhere = address.is_unspecified() || (address.is_ipv4() && address.to_abi().bytes[0] == 0);
    if (nowhere && purpose == Purpose::listener)
        return Complaint{
            fmt::format("{} is no address to listen on", name), "write \"*\" for every address of the interfaces"};
    if (nowhere && !(purpose == Purpose::own && address.is_unspecified()))
        return Complaint{fmt::format("{} is no address of a machine", name), "write the machine's own address"};
    if (address.is_multicast())
        return Complaint{
            fmt::format("{} is a multicast or broadcast address", name), "write the address of one machine"};
    if (address.is_loopback() && purpose == Purpose::backend)
        return Complaint{fmt::format("{} is a loopback address, to which nothing can be forwarded", name),
            "write the address that the backend has on the network"};
    if (address.is_loopback() && purpose != Purpose::own)
        return Complaint{fmt::format("{} is a loopback address, which no packet on a network may carry", name),
            "write an address that the network knows"};
    if (!address.is_ipv4() && address.is_link_local())
        return Complaint{fmt::format("{} is a link-local address, which means nothing without an interface", name),
            "write a global or unique local (fd00::/8) address"};
    return std::nullopt;
}

Parsed<IpAddress> parse_address(std::string_view text, Purpose purpose)
{
    const auto address = IpAddress::parse(text);
    if (!address)
        return refuse_address(text);
    if (auto complaint = unusable(*address, purpose))
        return tl::unexpected(std::move(*complaint));
    return *address;
}

Parsed<IpAddress> parse_host(const HostPort& parts, Purpose purpose)
{
    auto address = parse_address(parts.host, purpose);
    if (address && address->is_ipv4() && parts.bracketed)
        return refuse(fmt::format("brackets are for IPv6, and {} is IPv4", parts.host),
            fmt::format("write {}",
                quote(fmt::format("{}{}{}{}", parts.host, parts.port.empty() ? "" : ":", parts.port, parts.suffix))));
    return address;
}

bool is_host_character(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

bool is_label(std::string_view label)
{
    return !label.empty() && label.size() <= longest_label && label.front() != '-' && label.back() != '-' &&
           std::all_of(label.begin(), label.end(), is_host_character);
}

bool is_host_name(std::string_view host)
{
    if (host.ends_with('.'))
        host.remove_suffix(1);
    if (host.empty() || host.size() > longest_host)
        return false;
    for (std::size_t at = 0; at <= host.size();) {
        const std::size_t end = std::min(host.find('.', at), host.size());
        if (!is_label(host.substr(at, end - at)))
            return false;
        at = end + 1;
    }
    return true;
}

// Only digits behind the last dot: somebody's IPv4 address, right or wrong, and never a name.
bool ends_like_address(std::string_view host)
{
    const std::size_t dot = host.rfind('.');
    const std::string_view last = dot == std::string_view::npos ? host : host.substr(dot + 1);
    return !last.empty() && last.find_first_not_of("0123456789") == std::string_view::npos;
}

Parsed<Protocol> parse_protocol(std::string_view text)
{
    static constexpr auto known = std::to_array<std::string_view>({"tcp", "udp"});
    if (text == known[0])
        return Protocol::tcp;
    if (text == known[1])
        return Protocol::udp;
    const auto meant = closest(text, known);
    return refuse(fmt::format("unknown protocol {}", quote(text)),
        meant ? fmt::format("did you mean \"{}\"? supported: tcp, udp", *meant) : "supported: tcp, udp");
}

} // namespace

Parsed<ListenerConfig> parse_listener(std::string_view text)
{
    const std::size_t slash = text.rfind('/');
    if (slash == std::string_view::npos) {
        const bool has_port = text.find(':') != std::string_view::npos || text.starts_with('[');
        return refuse(fmt::format("{} has no protocol", quote(text)),
            fmt::format("write {}", quote(fmt::format("{}{}/tcp", text, has_port ? "" : ":80"))));
    }
    const auto protocol = parse_protocol(text.substr(slash + 1));
    if (!protocol)
        return tl::unexpected(protocol.error());
    const auto parts = split(text.substr(0, slash), text.substr(slash), "[2001:db8::10]:80/tcp");
    if (!parts)
        return tl::unexpected(parts.error());
    ListenerConfig listener;
    listener.protocol = *protocol;
    if ((parts->host != "*" && !parts->host.empty()) || parts->bracketed) {
        const auto address = parse_host(*parts, Purpose::listener);
        if (!address)
            return tl::unexpected(address.error());
        listener.address = *address;
    }
    const auto ports = parse_ports(parts->port);
    if (!ports)
        return tl::unexpected(ports.error());
    listener.port = ports->first;
    listener.more_ports = static_cast<std::uint16_t>(ports->last - ports->first);
    return listener;
}

Parsed<Endpoint> parse_backend_address(std::string_view text)
{
    const std::size_t slash = text.rfind('/');
    const std::string_view tail = slash == std::string_view::npos ? std::string_view{} : text.substr(slash + 1);
    if (tail == "tcp" || tail == "udp")
        return refuse(fmt::format("{} names a protocol; a backend's is that of the listener", quote(text)),
            fmt::format("write {}", quote(text.substr(0, slash))));
    const std::size_t colon = text.rfind(':');
    const auto bare = IpAddress::parse(text);
    if (bare && !bare->is_ipv4() && !IpAddress::parse(text.substr(0, colon)))
        return refuse(fmt::format("{} has an IPv6 address without brackets", quote(text)),
            fmt::format("write \"[{0}]:8080\", or \"[{0}]\" to keep the port that the client used", bare->to_string()));
    const auto parts = has_port(text) ? split(text, "", "[fd00::11]:8080") : without_port(text);
    if (!parts)
        return tl::unexpected(parts.error());
    if (!parts->bracketed && is_host_name(parts->host) && !ends_like_address(parts->host))
        return refuse(
            fmt::format("{} is a name, not an address", quote(parts->host)), fmt::format("write dns: {}", quote(text)));
    const auto address = parse_host(*parts, Purpose::backend);
    if (!address)
        return tl::unexpected(address.error());
    if (!has_port(text))
        return Endpoint{*address, 0};
    const auto port = parse_backend_port(parts->port);
    if (!port)
        return tl::unexpected(port.error());
    return Endpoint{*address, *port};
}

Parsed<DnsName> parse_dns_name(std::string_view text)
{
    const auto bare = IpAddress::parse(text);
    if (bare || Endpoint::parse(text))
        return refuse(fmt::format("{} is an address, not a name", quote(text)),
            fmt::format("write address: {}", quote(bare ? Endpoint{*bare, 0}.to_string() : std::string(text))));
    const auto parts = has_port(text) ? split(text, "", "web.internal:8080") : without_port(text);
    if (!parts)
        return tl::unexpected(parts.error());
    if (parts->bracketed || !is_host_name(parts->host) || ends_like_address(parts->host))
        return refuse(fmt::format("{} is not a DNS name", quote(parts->host)),
            "write a name of letters, digits and '-' with dots between, and a port, such as \"web.internal:8080\"");
    if (!has_port(text))
        return DnsName{std::string(parts->host), 0};
    const auto port = parse_backend_port(parts->port);
    if (!port)
        return tl::unexpected(port.error());
    return DnsName{std::string(parts->host), *port};
}

Parsed<NetworkPrefix> parse_clients(std::string_view text)
{
    if (const auto address = IpAddress::parse(std::string(text)))
        return NetworkPrefix::of(*address, address_bits(address->family()));
    return parse_network(text);
}

Parsed<NetworkPrefix> parse_network(std::string_view text)
{
    const std::size_t slash = text.find('/');
    const auto address = IpAddress::parse(text.substr(0, slash));
    if (!address)
        return tl::unexpected(refuse_address(text.substr(0, slash)).value());
    const std::uint8_t most = address_bits(address->family());
    if (slash == std::string_view::npos)
        return refuse(fmt::format("{} is one address, not a network", quote(text)),
            fmt::format("write {}/{}", address->to_string(), most));
    const auto bits = parse_decimal(text.substr(slash + 1));
    if (!bits || *bits > most)
        return refuse(fmt::format("{} has no prefix length from 0 to {} behind the slash", quote(text), most),
            fmt::format("write a network such as {}", address->is_ipv4() ? "198.51.100.0/24" : "2001:db8::/32"));
    const auto network = NetworkPrefix::of(*address, static_cast<std::uint8_t>(*bits));
    if (network.address != *address)
        return refuse(fmt::format("{} has bits behind its prefix", quote(text)),
            fmt::format("write {}, or {}/{} for this one address", network.to_string(), address->to_string(), most));
    return network;
}

Parsed<Endpoint> parse_own_endpoint(std::string_view text)
{
    const std::size_t slash = text.rfind('/');
    if (slash != std::string_view::npos && parse_protocol(text.substr(slash + 1)))
        return refuse(fmt::format("{} names a protocol, and HTTP has only one", quote(text)),
            fmt::format("write {}", quote(text.substr(0, slash))));
    if (const auto bare = IpAddress::parse(text); bare && !bare->is_ipv4())
        return refuse(fmt::format("{} has no port, or no brackets", quote(text)),
            fmt::format("write \"[{}]:9420\"", bare->to_string()));
    if (text.starts_with(':') || text.starts_with("*:"))
        return refuse(fmt::format("{} has no address", quote(text)),
            fmt::format("write \"127.0.0.1{0}\", or \"0.0.0.0{0}\" for every IPv4 address of the machine, which lets "
                        "everybody ask",
                text.substr(text.find(':'))));
    const auto parts = split(text, "", "[::1]:9420", "9420");
    if (!parts)
        return tl::unexpected(parts.error());
    if (!parts->bracketed && is_host_name(parts->host) && !ends_like_address(parts->host))
        return refuse(fmt::format("{} is a name, not an address", quote(parts->host)),
            fmt::format("write an address of this machine, such as \"127.0.0.1:{}\"", parts->port));
    const auto address = parse_host(*parts, Purpose::own);
    if (!address)
        return tl::unexpected(address.error());
    const auto port = parse_port(parts->port);
    if (!port)
        return tl::unexpected(port.error());
    return Endpoint{*address, *port};
}

Parsed<IpAddress> parse_source_address(std::string_view text)
{
    const auto endpoint = Endpoint::parse(text);
    if (endpoint)
        return refuse(fmt::format("{} has a port", quote(text)),
            fmt::format("write {} here and the ports in snat.ports", endpoint->address.to_string()));
    return parse_address(text, Purpose::source);
}

} // namespace featherlb
