// SPDX-License-Identifier: Apache-2.0
// Frame: the packet that a measurement starts from, 98 bytes untagged, and what has to be known of a packet to judge
// one: sums, fields, places. A packet's "error" is what is wrong with its checksum: the harness's rotation changes
// addresses and ports without correcting it, and a program that corrects by differences must leave the error as it was.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/ip.h"

namespace featherlb::bench {

inline constexpr std::size_t frame_bytes = 98;
inline constexpr std::size_t link_bytes = 14;
inline constexpr std::uint8_t tcp_syn = 0x02, tcp_ack = 0x10;
using Frame = std::array<std::uint8_t, frame_bytes>;
using Bytes = std::vector<std::uint8_t>;
using View = std::span<const std::uint8_t>;
using Mac = std::array<std::uint8_t, 6>;

inline constexpr Mac our_mac{2, 0, 0, 0, 0, 1}, client_mac{2, 0, 0, 0, 0, 2};

struct Tuple {
    Endpoint source, destination;
    friend auto operator<=>(const Tuple&, const Tuple&) = default;
};

[[nodiscard]] IpAddress address(const std::string& text);        // one that is known to be right
[[nodiscard]] std::uint32_t last_word(const IpAddress& address); // its last 32 bits, in host byte order

// From the client's MAC to ours, TTL 64, checksums right, the payload not all the same.
[[nodiscard]] Frame make_frame(const Tuple& tuple, Protocol protocol, std::uint8_t tcp_flags);

// Where things are. All of these take a whole frame without tags, IPv4 without options and IPv6 without extensions.
[[nodiscard]] bool is_ipv6(View frame);
[[nodiscard]] std::size_t network_bytes(bool v6);
[[nodiscard]] Protocol protocol_of(View frame);
[[nodiscard]] std::size_t ttl_offset(bool v6);
[[nodiscard]] std::size_t transport_offset(bool v6);
[[nodiscard]] std::size_t check_offset(View frame); // of TCP or UDP
[[nodiscard]] Tuple tuple_of(View frame);
void set_tuple(std::span<std::uint8_t> frame, const Tuple& tuple); // leaves the checksums as they are

// 0: right. Else the one's complement number by which it is wrong.
[[nodiscard]] std::uint16_t header_error(View network_header); // IPv4, 20 bytes
[[nodiscard]] std::uint16_t transport_error(View frame);

// Changes the address and port of the client as the harness does.
void rotate(std::span<std::uint8_t> frame, std::uint32_t flow);
// The address of the service, likewise.
void rotate_destination(std::span<std::uint8_t> frame, std::uint32_t step);

} // namespace featherlb::bench
