// SPDX-License-Identifier: Apache-2.0
#include "base/ip.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>

#include <arpa/inet.h>

namespace featherlb {

namespace {

constexpr std::size_t longest_address = INET6_ADDRSTRLEN - 1;
constexpr std::size_t groups_of_ipv6 = 8;

std::size_t length_of(Family family)
{
    return family == Family::ipv4 ? 4 : 16;
}

bool is_ipv4_mapped(const flb_addr& address)
{
    static constexpr std::array<std::uint8_t, 12> prefix{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    return std::equal(prefix.begin(), prefix.end(), address.bytes);
}

std::string ipv4_to_string(const flb_addr& address)
{
    std::string text;
    for (std::size_t i = 0; i < 4; ++i) {
        if (i > 0)
            text += '.';
        text += std::to_string(address.bytes[i]);
    }
    return text;
}

using Groups = std::array<unsigned, groups_of_ipv6>;

struct Run {
    std::size_t begin = 0;
    std::size_t length = 0;
};

// The longest run of zero groups, the first among equals; a single one does not count (RFC 5952, section 4.2).
Run longest_zero_run(const Groups& groups)
{
    Run best;
    for (std::size_t i = 0; i < groups.size(); ++i) {
        std::size_t end = i;
        while (end < groups.size() && groups[end] == 0)
            ++end;
        if (end - i >= 2 && end - i > best.length)
            best = {i, end - i};
        i = std::max(i, end == i ? i : end - 1);
    }
    return best;
}

// RFC 5952, but never the mixed notation, which would need a list of prefixes.
std::string ipv6_to_string(const flb_addr& address)
{
    Groups groups{};
    for (std::size_t i = 0; i < groups.size(); ++i)
        groups[i] = static_cast<unsigned>(address.bytes[2 * i] << 8 | address.bytes[2 * i + 1]);
    const Run zeros = longest_zero_run(groups);
    std::string text;
    for (std::size_t i = 0; i < groups.size(); ++i) {
        if (zeros.length > 0 && i == zeros.begin) {
            text += "::";
            i += zeros.length - 1;
            continue;
        }
        if (!text.empty() && text.back() != ':')
            text += ':';
        std::array<char, 4> digits{};
        const auto written = std::to_chars(digits.data(), digits.data() + digits.size(), groups[i], 16);
        text.append(digits.data(), written.ptr);
    }
    return text;
}

std::optional<std::uint16_t> parse_port(std::string_view text)
{
    if (text.empty() || text.size() > 5 || text.front() == '0')
        return std::nullopt;
    std::uint32_t value = 0;
    const auto read = std::from_chars(text.data(), text.data() + text.size(), value);
    if (read.ec != std::errc{} || read.ptr != text.data() + text.size() || value > 65535)
        return std::nullopt;
    return static_cast<std::uint16_t>(value);
}

// FNV-1a: addresses in hash tables of the daemon are few and not chosen by an attacker.
std::size_t hash_bytes(const std::uint8_t* bytes, std::size_t count, std::size_t seed)
{
    std::uint64_t hash = 0xcbf29ce484222325ULL ^ seed;
    for (std::size_t i = 0; i < count; ++i)
        hash = (hash ^ bytes[i]) * 0x100000001b3ULL;
    return static_cast<std::size_t>(hash);
}

} // namespace

std::optional<IpAddress> IpAddress::parse(std::string_view text)
{
    // inet_pton wants a terminated string; a NUL inside would end it early.
    if (text.empty() || text.size() > longest_address || text.find('\0') != std::string_view::npos)
        return std::nullopt;
    const std::string terminated(text);
    IpAddress address;
    if (text.find(':') == std::string_view::npos) {
        if (inet_pton(AF_INET, terminated.c_str(), address.bytes_.bytes) != 1)
            return std::nullopt;
        return address;
    }
    address.family_ = Family::ipv6;
    if (inet_pton(AF_INET6, terminated.c_str(), address.bytes_.bytes) != 1 || is_ipv4_mapped(address.bytes_))
        return std::nullopt;
    return address;
}

IpAddress IpAddress::from_abi(const flb_addr& bytes, Family family)
{
    IpAddress address;
    address.family_ = family;
    std::memcpy(address.bytes_.bytes, bytes.bytes, length_of(family));
    return address;
}

flb_addr IpAddress::to_abi() const
{
    return bytes_;
}

std::string IpAddress::to_string() const
{
    return is_ipv4() ? ipv4_to_string(bytes_) : ipv6_to_string(bytes_);
}

bool IpAddress::is_unspecified() const
{
    return std::all_of(std::begin(bytes_.bytes), std::end(bytes_.bytes), [](std::uint8_t byte) { return byte == 0; });
}

bool IpAddress::is_loopback() const
{
    if (is_ipv4())
        return bytes_.bytes[0] == 127;
    return bytes_.bytes[15] == 1 && std::all_of(bytes_.bytes, bytes_.bytes + 15, [](auto byte) { return byte == 0; });
}

bool IpAddress::is_multicast() const
{
    if (!is_ipv4())
        return bytes_.bytes[0] == 0xff;
    return (bytes_.bytes[0] & 0xf0) == 0xe0 ||
           std::all_of(bytes_.bytes, bytes_.bytes + 4, [](auto byte) { return byte == 0xff; });
}

bool IpAddress::is_link_local() const
{
    if (is_ipv4())
        return bytes_.bytes[0] == 169 && bytes_.bytes[1] == 254;
    return bytes_.bytes[0] == 0xfe && (bytes_.bytes[1] & 0xc0) == 0x80;
}

std::uint32_t IpAddress::folded() const
{
    std::array<std::uint32_t, 4> words{};
    std::memcpy(words.data(), bytes_.bytes, sizeof(words));
    return is_ipv4() ? words[0] : flb_fold_ipv6(words[0], words[1], words[2], words[3]);
}

std::strong_ordering operator<=>(const IpAddress& a, const IpAddress& b)
{
    if (a.family_ != b.family_)
        return a.family_ <=> b.family_;
    return std::memcmp(a.bytes_.bytes, b.bytes_.bytes, sizeof(a.bytes_.bytes)) <=> 0;
}

std::optional<Endpoint> Endpoint::parse(std::string_view text)
{
    const std::size_t colon = text.rfind(':');
    if (colon == std::string_view::npos)
        return std::nullopt;
    std::string_view host = text.substr(0, colon);
    const bool bracketed = host.size() >= 2 && host.front() == '[' && host.back() == ']';
    if (bracketed)
        host = host.substr(1, host.size() - 2);
    const auto address = IpAddress::parse(host);
    const auto port = parse_port(text.substr(colon + 1));
    if (!address || !port || bracketed == address->is_ipv4())
        return std::nullopt;
    return Endpoint{*address, *port};
}

std::string Endpoint::to_string() const
{
    const std::string host = address.to_string();
    return (address.is_ipv4() ? host : "[" + host + "]") + (port == 0 ? "" : ":" + std::to_string(port));
}

std::string_view to_string(Family family)
{
    return family == Family::ipv4 ? "IPv4" : "IPv6";
}

std::string_view to_string(Protocol protocol)
{
    return protocol == Protocol::tcp ? "tcp" : "udp";
}

} // namespace featherlb

std::size_t std::hash<featherlb::IpAddress>::operator()(const featherlb::IpAddress& address) const noexcept
{
    const flb_addr bytes = address.to_abi();
    return featherlb::hash_bytes(bytes.bytes, sizeof(bytes.bytes), static_cast<std::size_t>(address.family()));
}

std::size_t std::hash<featherlb::Endpoint>::operator()(const featherlb::Endpoint& endpoint) const noexcept
{
    return std::hash<featherlb::IpAddress>{}(endpoint.address) * 31 + endpoint.port;
}
