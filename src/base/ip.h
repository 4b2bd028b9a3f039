// SPDX-License-Identifier: Apache-2.0
// IPv4 and IPv6 addresses and (address, port) pairs as values: parsed strictly, printed canonically (RFC 5952),
// comparable and hashable. IPv4-mapped IPv6 addresses are refused by the parser: they are never meant.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "featherlb/abi.h"

namespace featherlb {

enum class Family : std::uint8_t { ipv4 = FLB_IPV4, ipv6 = FLB_IPV6 };
enum class Protocol : std::uint8_t { tcp = 6, udp = 17 };

class IpAddress {
public:
    IpAddress() = default; // 0.0.0.0
    // "10.0.0.1", "2001:db8::1"; no brackets, no zone, no leading zeros in IPv4, nothing around it.
    [[nodiscard]] static std::optional<IpAddress> parse(std::string_view text);
    // From the bytes of an abi record, of which IPv4 uses the first four.
    [[nodiscard]] static IpAddress from_abi(const flb_addr& bytes, Family family);

    [[nodiscard]] Family family() const { return family_; }
    [[nodiscard]] bool is_ipv4() const { return family_ == Family::ipv4; }
    [[nodiscard]] flb_addr to_abi() const;
    [[nodiscard]] std::string to_string() const;
    [[nodiscard]] bool is_unspecified() const; // 0.0.0.0, ::
    [[nodiscard]] bool is_loopback() const;
    [[nodiscard]] bool is_multicast() const; // and 255.255.255.255
    [[nodiscard]] bool is_link_local() const;

    // What flb_prefilter_index takes.
    [[nodiscard]] std::uint32_t folded() const;

    friend std::strong_ordering operator<=>(const IpAddress& a, const IpAddress& b);
    friend bool operator==(const IpAddress& a, const IpAddress& b) { return (a <=> b) == 0; }

private:
    Family family_ = Family::ipv4;
    flb_addr bytes_{};
};

struct Endpoint {
    IpAddress address;
    std::uint16_t port = 0;

    // "10.0.0.1:80", "[2001:db8::1]:80".
    [[nodiscard]] static std::optional<Endpoint> parse(std::string_view text);
    // The same; without a port (0), which parse() does not take, "10.0.0.1", "[2001:db8::1]".
    [[nodiscard]] std::string to_string() const;
    friend auto operator<=>(const Endpoint&, const Endpoint&) = default;
};

[[nodiscard]] std::string_view to_string(Family family);     // "IPv4", "IPv6"
[[nodiscard]] std::string_view to_string(Protocol protocol); // "tcp", "udp"

} // namespace featherlb

template <>
struct std::hash<featherlb::IpAddress> {
    std::size_t operator()(const featherlb::IpAddress& address) const noexcept;
};
template <>
struct std::hash<featherlb::Endpoint> {
    std::size_t operator()(const featherlb::Endpoint& endpoint) const noexcept;
};
