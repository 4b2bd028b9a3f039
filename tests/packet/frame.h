// SPDX-License-Identifier: Apache-2.0
// Frame: a packet as a description (addresses, tags, flags, payload), and its bytes with every length and checksum
// computed from scratch. Packets that the programs are expected to send are written the same way, so a test compares
// an incremental update with a whole computation. All numbers are in host byte order.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/ip.h"

namespace featherlb::packet {

using Bytes = std::vector<std::uint8_t>;
using Mac = std::array<std::uint8_t, 6>;

constexpr std::uint8_t tcp_fin = 0x01, tcp_syn = 0x02, tcp_rst = 0x04, tcp_psh = 0x08, tcp_ack = 0x10;
constexpr std::uint8_t protocol_icmp = 1, protocol_tcp = 6, protocol_udp = 17, protocol_icmpv6 = 58;
constexpr std::uint16_t tag_q = 0x8100, tag_ad = 0x88a8;

struct Tag {
    std::uint16_t tci = 0;
    std::uint16_t protocol = tag_q;
    friend bool operator==(const Tag&, const Tag&) = default;
};

// An IPv6 extension header: its type and what follows its first byte, which names the next header.
struct Extension {
    std::uint8_t type = 0;
    Bytes rest;
};

struct Frame {
    Mac to{}, from{};
    std::vector<Tag> tags; // outer first

    IpAddress source, destination; // their family is the packet's
    std::uint8_t protocol = protocol_tcp;
    std::uint8_t ttl = 64;
    std::uint8_t tos = 0;            // IPv6: traffic class
    std::uint16_t id = 0x1234;       // IPv4
    std::uint16_t fragment = 0x4000; // IPv4: flags and offset
    std::uint32_t flow_label = 0;    // IPv6
    Bytes options;                   // IPv4, a multiple of four bytes
    std::vector<Extension> extensions;

    std::uint16_t sport = 0, dport = 0;
    std::uint32_t seq = 0, ack = 0;
    std::uint8_t flags = 0;
    std::uint16_t window = 0xfaf0;
    Bytes tcp_options; // a multiple of four bytes
    Bytes payload;
    bool without_checksum = false; // UDP over IPv4
    bool bare = false;             // no transport header: the payload is all that follows IP, as in later fragments
    std::uint8_t icmp_type = 0, icmp_code = 0;
    std::uint32_t icmp_rest = 0; // the second word of the header
    Bytes padding;               // behind the IP packet, as a card adds it to short frames

    // Lies: what stands in the header instead of the right number.
    std::optional<std::uint16_t> length, udp_length;
    std::optional<std::uint8_t> header_words, tcp_words;

    [[nodiscard]] bool is_ipv4() const { return source.is_ipv4(); }
    [[nodiscard]] bool is_tcp() const { return protocol == protocol_tcp; }
    [[nodiscard]] bool is_icmp() const { return protocol == protocol_icmp || protocol == protocol_icmpv6; }
};

[[nodiscard]] Bytes to_bytes(const Frame& frame);
// Offsets in the bytes of a frame.
[[nodiscard]] std::size_t network_offset(const Frame& frame);
[[nodiscard]] std::size_t transport_offset(const Frame& frame);
// Bytes of the IP packet.
[[nodiscard]] std::size_t packet_length(const Frame& frame);
// The transport checksum as it stands in the bytes.
[[nodiscard]] std::uint16_t transport_checksum(const Frame& frame, const Bytes& bytes);

// The first bytes of the IP packet, as an ICMP error quotes it.
[[nodiscard]] Bytes quote(const Frame& frame, std::size_t bytes);

// Fills the frame up to the 60 bytes that Ethernet wants, tags not counted.
[[nodiscard]] Frame padded(Frame frame);
// n bytes that differ.
[[nodiscard]] Bytes pattern(std::size_t n);
// Common extension headers and options.
[[nodiscard]] Extension hop_by_hop();
[[nodiscard]] Extension destination_options(std::size_t extra_words = 0);
[[nodiscard]] Extension routing();
[[nodiscard]] Extension authentication();
[[nodiscard]] Extension fragment(std::uint16_t offset, bool more, std::uint32_t id = 0x1234);
[[nodiscard]] Bytes timestamps(); // of TCP, padded to 12 bytes

// Lines that differ, as hex with offsets; empty if equal.
[[nodiscard]] std::string difference(const Bytes& expected, const Bytes& got);

} // namespace featherlb::packet
