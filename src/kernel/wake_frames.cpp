// SPDX-License-Identifier: Apache-2.0
#include "kernel/wake_frames.h"

#include <span>

#include <netinet/in.h>

namespace featherlb {

namespace {

constexpr std::uint8_t ttl = 64;
constexpr std::uint16_t tcp_bytes = 20;
constexpr std::uint16_t window = 1;

void put16(FrameBytes& frame, std::uint32_t value)
{
    frame.push_back(static_cast<std::uint8_t>(value >> 8));
    frame.push_back(static_cast<std::uint8_t>(value));
}

void put32(FrameBytes& frame, std::uint32_t value)
{
    put16(frame, value >> 16);
    put16(frame, value & 0xffff);
}

void put_address(FrameBytes& frame, const IpAddress& address)
{
    const flb_addr bytes = address.to_abi();
    frame.insert(frame.end(), bytes.bytes, bytes.bytes + (address.is_ipv4() ? 4 : 16));
}

// One's complement sum of big-endian words.
std::uint32_t sum_of(std::span<const std::uint8_t> bytes, std::uint32_t sum = 0)
{
    for (std::size_t i = 0; i + 1 < bytes.size(); i += 2)
        sum += static_cast<std::uint32_t>(bytes[i]) << 8 | bytes[i + 1];
    return sum;
}

void set_checksum(FrameBytes& frame, std::size_t at, std::uint32_t sum)
{
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    frame[at] = static_cast<std::uint8_t>(~sum >> 8);
    frame[at + 1] = static_cast<std::uint8_t>(~sum);
}

void put_link(FrameBytes& frame, const flb_hop& hop, const std::array<std::uint8_t, 6>& mac, bool ipv4)
{
    const std::uint32_t tags = (hop.link & FLB_LINK_TAGS) >> FLB_LINK_TAGS_SHIFT;
    frame.insert(frame.end(), hop.mac, hop.mac + sizeof(hop.mac));
    frame.insert(frame.end(), mac.begin(), mac.end());
    for (std::uint32_t i = 0; i < tags && i < FLB_MAX_VLANS; i++) {
        put16(frame, hop.link & (i == 0 ? FLB_LINK_OUTER_AD : FLB_LINK_INNER_AD) ? 0x88a8 : 0x8100);
        put16(frame, hop.vlan[i]);
    }
    put16(frame, ipv4 ? 0x0800 : 0x86dd);
}

void put_network(FrameBytes& frame, const WaitingClient& client)
{
    const std::size_t start = frame.size();
    const bool ipv4 = client.client.address.is_ipv4();
    if (ipv4) {
        put16(frame, 0x4500);
        put16(frame, 20 + tcp_bytes);
        put32(frame, 0x4000); // no identification, don't fragment
        put16(frame, ttl << 8 | IPPROTO_TCP);
        put16(frame, 0);
    } else {
        put32(frame, 6u << 28);
        put16(frame, tcp_bytes);
        put16(frame, IPPROTO_TCP << 8 | ttl);
    }
    put_address(frame, client.service.address);
    put_address(frame, client.client.address);
    if (ipv4)
        set_checksum(frame, start + 10, sum_of(std::span(frame).subspan(start)));
}

FrameBytes bare_ack(const WaitingClient& client, const std::array<std::uint8_t, 6>& mac, std::uint32_t sequence)
{
    const bool ipv4 = client.client.address.is_ipv4();
    FrameBytes frame;
    put_link(frame, client.hop, mac, ipv4);
    put_network(frame, client);
    const std::size_t transport = frame.size();
    const std::size_t addresses = transport - (ipv4 ? 8 : 32);
    put16(frame, client.service.port);
    put16(frame, client.client.port);
    put32(frame, sequence);
    put32(frame, sequence);
    put16(frame, 5 << 12 | 0x10);
    put16(frame, window);
    put32(frame, 0);
    set_checksum(frame, transport + 16, sum_of(std::span(frame).subspan(addresses), tcp_bytes + IPPROTO_TCP));
    return frame;
}

} // namespace

std::array<FrameBytes, 2> wake_frames(
    const WaitingClient& client, const std::array<std::uint8_t, 6>& mac, std::uint32_t sequence)
{
    return {bare_ack(client, mac, sequence), bare_ack(client, mac, sequence + (1u << 31))};
}

} // namespace featherlb
