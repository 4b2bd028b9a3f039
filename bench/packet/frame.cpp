// SPDX-License-Identifier: Apache-2.0
#include "frame.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "die.h"
#include "harness.h"

namespace featherlb::bench {
namespace {

void put16(std::uint8_t* at, std::size_t value)
{
    at[0] = static_cast<std::uint8_t>(value >> 8);
    at[1] = static_cast<std::uint8_t>(value);
}

std::uint16_t get16(const std::uint8_t* at)
{
    return static_cast<std::uint16_t>(at[0] << 8 | at[1]);
}

std::uint32_t sum16(View data)
{
    std::uint32_t sum = 0;
    for (std::size_t i = 0; i < data.size(); i++)
        sum += static_cast<std::uint32_t>(i % 2 ? data[i] : data[i] << 8);
    return sum;
}

// The sum of something with a right checksum in it is 0xffff.
std::uint16_t error_of(std::uint32_t sum)
{
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return static_cast<std::uint16_t>(~sum);
}

std::size_t address_bytes(bool v6)
{
    return v6 ? 16 : 4;
}

std::size_t source_offset(bool v6)
{
    return link_bytes + (v6 ? 8 : 12);
}

// The last 32 bits plus `step`.
IpAddress plus(const IpAddress& address, std::uint32_t step)
{
    flb_addr bytes = address.to_abi();
    std::uint8_t* last = bytes.bytes + (address.is_ipv4() ? 0 : 12);
    const std::uint32_t value = last_word(address) + step;
    for (unsigned i = 0; i < 4; i++)
        last[i] = static_cast<std::uint8_t>(value >> (24 - 8 * i));
    return IpAddress::from_abi(bytes, address.family());
}

// Each in its own protocol's place, without checksums.
void put_network(std::uint8_t* ip, bool v6, Protocol protocol)
{
    ip[0] = v6 ? 0x60 : 0x45;
    put16(&ip[v6 ? 4 : 2], frame_bytes - link_bytes - (v6 ? network_bytes(v6) : 0));
    ip[v6 ? 6 : 9] = static_cast<std::uint8_t>(protocol);
    ip[v6 ? 7 : 8] = 64;
}

} // namespace

std::uint32_t last_word(const IpAddress& address)
{
    const flb_addr bytes = address.to_abi();
    const std::uint8_t* last = bytes.bytes + (address.is_ipv4() ? 0 : 12);
    return std::uint32_t(last[0]) << 24 | std::uint32_t(last[1]) << 16 | std::uint32_t(last[2]) << 8 | last[3];
}

IpAddress address(const std::string& text)
{
    const auto parsed = IpAddress::parse(text);
    if (!parsed)
        die("no address: " + text);
    return *parsed;
}

std::size_t network_bytes(bool v6)
{
    return v6 ? 40 : 20;
}

bool is_ipv6(View frame)
{
    return get16(&frame[12]) == 0x86dd;
}

std::size_t ttl_offset(bool v6)
{
    return link_bytes + (v6 ? 7 : 8);
}

std::size_t transport_offset(bool v6)
{
    return link_bytes + network_bytes(v6);
}

Protocol protocol_of(View frame)
{
    return static_cast<Protocol>(frame[link_bytes + (is_ipv6(frame) ? 6 : 9)]);
}

std::size_t check_offset(View frame)
{
    return transport_offset(is_ipv6(frame)) + (protocol_of(frame) == Protocol::tcp ? 16 : 6);
}

Tuple tuple_of(View frame)
{
    const bool v6 = is_ipv6(frame);
    const std::size_t bytes = address_bytes(v6), ports = transport_offset(v6);
    flb_addr source{}, destination{};
    std::memcpy(source.bytes, &frame[source_offset(v6)], bytes);
    std::memcpy(destination.bytes, &frame[source_offset(v6) + bytes], bytes);
    const Family family = v6 ? Family::ipv6 : Family::ipv4;
    return {{IpAddress::from_abi(source, family), get16(&frame[ports])},
        {IpAddress::from_abi(destination, family), get16(&frame[ports + 2])}};
}

void set_tuple(std::span<std::uint8_t> frame, const Tuple& tuple)
{
    const bool v6 = is_ipv6(frame);
    const std::size_t bytes = address_bytes(v6), ports = transport_offset(v6);
    const flb_addr source = tuple.source.address.to_abi(), destination = tuple.destination.address.to_abi();
    std::memcpy(&frame[source_offset(v6)], source.bytes, bytes);
    std::memcpy(&frame[source_offset(v6) + bytes], destination.bytes, bytes);
    put16(&frame[ports], tuple.source.port);
    put16(&frame[ports + 2], tuple.destination.port);
}

std::uint16_t header_error(View network_header)
{
    return error_of(sum16(network_header));
}

std::uint16_t transport_error(View frame)
{
    const bool v6 = is_ipv6(frame);
    const View segment = frame.subspan(transport_offset(v6));
    return error_of(sum16(frame.subspan(source_offset(v6), 2 * address_bytes(v6))) +
                    static_cast<std::uint32_t>(protocol_of(frame)) + static_cast<std::uint32_t>(segment.size()) +
                    sum16(segment));
}

Frame make_frame(const Tuple& tuple, Protocol protocol, std::uint8_t tcp_flags)
{
    const bool v6 = !tuple.source.address.is_ipv4();
    Frame frame{};
    std::copy(our_mac.begin(), our_mac.end(), frame.begin());
    std::copy(client_mac.begin(), client_mac.end(), frame.begin() + our_mac.size());
    put16(&frame[12], v6 ? 0x86dd : 0x0800);
    put_network(&frame[link_bytes], v6, protocol);
    std::uint8_t* transport = &frame[transport_offset(v6)];
    // Zero behind what the harness restores: it is what a packet that was cut gets when it grows again.
    std::iota(transport, frame.data() + HARNESS_TEMPLATE_BYTES, static_cast<std::uint8_t>(1));
    set_tuple(frame, tuple);
    if (protocol == Protocol::tcp) {
        transport[12] = 5 << 4;
        transport[13] = tcp_flags;
    } else {
        put16(&transport[4], frame_bytes - transport_offset(v6));
    }
    put16(&frame[check_offset(frame)], 0);
    put16(&frame[check_offset(frame)], transport_error(frame));
    if (!v6)
        put16(&frame[link_bytes + 10], header_error(View(frame).subspan(link_bytes, network_bytes(v6))));
    return frame;
}

void rotate(std::span<std::uint8_t> frame, std::uint32_t flow)
{
    Tuple tuple = tuple_of(frame);
    tuple.source.address = plus(tuple.source.address, flow >> HARNESS_PORT_BITS);
    tuple.source.port = static_cast<std::uint16_t>(tuple.source.port + (flow & HARNESS_PORT_MASK));
    set_tuple(frame, tuple);
}

void rotate_destination(std::span<std::uint8_t> frame, std::uint32_t step)
{
    Tuple tuple = tuple_of(frame);
    tuple.destination.address = plus(tuple.destination.address, step);
    set_tuple(frame, tuple);
}

} // namespace featherlb::bench
