// SPDX-License-Identifier: Apache-2.0
#include "daemon/host_ports.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <fstream>
#include <iterator>
#include <utility>

namespace featherlb {

namespace {

constexpr unsigned tcp_listen = 10; // state column; linux/tcp_states.h
constexpr unsigned udp_unconnected = 7;

std::string read_all(const std::string& path)
{
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
}

template <typename T>
bool parse_number(std::string_view text, int base, T& value)
{
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
    return error == std::errc{} && end == text.data() + text.size();
}

std::vector<std::string_view> split(std::string_view text, std::string_view separators)
{
    std::vector<std::string_view> words;
    for (std::size_t from = 0; (from = text.find_first_not_of(separators, from)) != std::string_view::npos;) {
        const std::size_t to = std::min(text.find_first_of(separators, from), text.size());
        words.push_back(text.substr(from, to - from));
        from = to;
    }
    return words;
}

// "0100007F:0016": the address as 32-bit words in the machine's byte order, then the port.
std::optional<Endpoint> parse_kernel_endpoint(std::string_view text)
{
    const std::size_t colon = text.find(':');
    if (colon != 8 && colon != 32)
        return std::nullopt;
    flb_addr bytes{};
    for (std::size_t word = 0; word < colon / 8; ++word) {
        std::uint32_t value = 0;
        if (!parse_number(text.substr(word * 8, 8), 16, value))
            return std::nullopt;
        std::memcpy(bytes.bytes + word * 4, &value, 4);
    }
    std::uint16_t port = 0;
    if (!parse_number(text.substr(colon + 1), 16, port))
        return std::nullopt;
    return Endpoint{IpAddress::from_abi(bytes, colon == 8 ? Family::ipv4 : Family::ipv6), port};
}

} // namespace

std::vector<PortRange> parse_port_ranges(std::string_view text)
{
    std::vector<PortRange> ranges;
    for (const std::string_view word : split(text, ", \t\n")) {
        const std::size_t dash = word.find('-');
        PortRange range;
        const bool first = parse_number(word.substr(0, dash), 10, range.first);
        range.last = range.first;
        if (first && (dash == std::string_view::npos || parse_number(word.substr(dash + 1), 10, range.last)))
            ranges.push_back(range);
    }
    return ranges;
}

std::vector<HostListener> parse_socket_table(std::string_view text, Protocol protocol)
{
    std::vector<HostListener> listeners;
    const unsigned wanted = protocol == Protocol::tcp ? tcp_listen : udp_unconnected;
    for (const std::string_view line : split(text, "\n")) {
        const std::vector<std::string_view> columns = split(line, " ");
        unsigned state = 0;
        if (columns.size() < 4 || !parse_number(columns[3], 16, state) || state != wanted)
            continue;
        if (const auto endpoint = parse_kernel_endpoint(columns[1]); endpoint && endpoint->port != 0)
            listeners.push_back({*endpoint, protocol});
    }
    return listeners;
}

HostPorts read_host_ports(const std::string& proc)
{
    HostPorts ports;
    const auto local = parse_port_ranges(read_all(proc + "/sys/net/ipv4/ip_local_port_range"));
    if (local.size() == 2)
        ports.local = PortRange{local[0].first, local[1].first};
    ports.reserved = parse_port_ranges(read_all(proc + "/sys/net/ipv4/ip_local_reserved_ports"));
    for (const auto& [table, protocol] :
        {std::pair{"tcp", Protocol::tcp}, {"tcp6", Protocol::tcp}, {"udp", Protocol::udp}, {"udp6", Protocol::udp}}) {
        const auto listeners = parse_socket_table(read_all(proc + "/self/net/" + table), protocol);
        ports.listeners.insert(ports.listeners.end(), listeners.begin(), listeners.end());
    }
    std::sort(ports.listeners.begin(), ports.listeners.end());
    ports.listeners.erase(std::unique(ports.listeners.begin(), ports.listeners.end()), ports.listeners.end());
    return ports;
}

} // namespace featherlb
