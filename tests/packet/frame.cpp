// SPDX-License-Identifier: Apache-2.0
#include "frame.h"

#include <algorithm>

#include <fmt/format.h>

namespace featherlb::packet {
namespace {

void put8(Bytes& out, unsigned value)
{
    out.push_back(static_cast<std::uint8_t>(value));
}

void put16(Bytes& out, unsigned value)
{
    put8(out, value >> 8);
    put8(out, value & 0xff);
}

void put32(Bytes& out, std::uint32_t value)
{
    put16(out, value >> 16);
    put16(out, value & 0xffff);
}

void put(Bytes& out, std::span<const std::uint8_t> bytes)
{
    out.insert(out.end(), bytes.begin(), bytes.end());
}

void put_address(Bytes& out, const IpAddress& address)
{
    const flb_addr raw = address.to_abi();
    put(out, std::span(raw.bytes, address.is_ipv4() ? 4 : 16));
}

void set16(Bytes& out, std::size_t at, unsigned value)
{
    out[at] = static_cast<std::uint8_t>(value >> 8);
    out[at + 1] = static_cast<std::uint8_t>(value);
}

// RFC 1071, over bytes, an odd one last.
std::uint16_t checksum(std::span<const std::uint8_t> bytes)
{
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < bytes.size(); i++)
        sum += i % 2 ? bytes[i] : static_cast<unsigned>(bytes[i]) << 8;
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return static_cast<std::uint16_t>(~sum);
}

Bytes icmp(const Frame& f)
{
    Bytes out, summed;
    put8(out, f.icmp_type);
    put8(out, f.icmp_code);
    put16(out, 0);
    put32(out, f.icmp_rest);
    put(out, f.payload);
    if (!f.is_ipv4()) {
        put_address(summed, f.source);
        put_address(summed, f.destination);
        put32(summed, static_cast<std::uint32_t>(out.size()));
        put32(summed, f.protocol);
    }
    put(summed, out);
    set16(out, 2, checksum(summed));
    return out;
}

Bytes transport(const Frame& f)
{
    if (f.bare)
        return f.payload;
    if (f.is_icmp())
        return icmp(f);
    Bytes out;
    put16(out, f.sport);
    put16(out, f.dport);
    if (f.is_tcp()) {
        const std::size_t words = 5 + f.tcp_options.size() / 4;
        put32(out, f.seq);
        put32(out, f.ack);
        put8(out, static_cast<unsigned>(f.tcp_words.value_or(static_cast<std::uint8_t>(words))) << 4);
        put8(out, f.flags);
        put16(out, f.window);
        put32(out, 0); // checksum, urgent pointer
        put(out, f.tcp_options);
    } else {
        put16(out, f.udp_length.value_or(static_cast<std::uint16_t>(8 + f.payload.size())));
        put16(out, 0);
    }
    put(out, f.payload);

    Bytes summed;
    put_address(summed, f.source);
    put_address(summed, f.destination);
    put32(summed, static_cast<std::uint32_t>(out.size()));
    put32(summed, f.protocol);
    put(summed, out);
    unsigned sum = checksum(summed);
    if (!f.is_tcp() && sum == 0)
        sum = 0xffff; // RFC 768
    if (f.without_checksum)
        sum = 0;
    set16(out, f.is_tcp() ? 16 : 6, sum);
    return out;
}

void put_ipv4(Bytes& out, const Frame& f)
{
    Bytes header;
    put8(header, 4u << 4 | f.header_words.value_or(static_cast<std::uint8_t>(5 + f.options.size() / 4)));
    put8(header, f.tos);
    put16(header, f.length.value_or(static_cast<std::uint16_t>(packet_length(f))));
    put16(header, f.id);
    put16(header, f.fragment);
    put8(header, f.ttl);
    put8(header, f.protocol);
    put16(header, 0);
    put_address(header, f.source);
    put_address(header, f.destination);
    put(header, f.options);
    set16(header, 10, checksum(header));
    put(out, header);
}

void put_ipv6(Bytes& out, const Frame& f)
{
    put32(out, 6u << 28 | static_cast<std::uint32_t>(f.tos) << 20 | f.flow_label);
    put16(out, f.length.value_or(static_cast<std::uint16_t>(packet_length(f) - 40)));
    put8(out, f.extensions.empty() ? f.protocol : f.extensions.front().type);
    put8(out, f.ttl);
    put_address(out, f.source);
    put_address(out, f.destination);
    for (std::size_t i = 0; i < f.extensions.size(); i++) {
        put8(out, i + 1 < f.extensions.size() ? f.extensions[i + 1].type : f.protocol);
        put(out, f.extensions[i].rest);
    }
}

} // namespace

std::size_t network_offset(const Frame& frame)
{
    return 14 + frame.tags.size() * 4;
}

std::size_t transport_offset(const Frame& frame)
{
    std::size_t at = network_offset(frame) + (frame.is_ipv4() ? 20 + frame.options.size() : 40);
    for (const Extension& extension : frame.extensions)
        at += 1 + extension.rest.size();
    return at;
}

std::size_t packet_length(const Frame& frame)
{
    const std::size_t header = frame.bare ? 0 : frame.is_tcp() ? 20 + frame.tcp_options.size() : 8;
    return transport_offset(frame) - network_offset(frame) + header + frame.payload.size();
}

Bytes to_bytes(const Frame& frame)
{
    Bytes out;
    put(out, frame.to);
    put(out, frame.from);
    for (const Tag& tag : frame.tags) {
        put16(out, tag.protocol);
        put16(out, tag.tci);
    }
    put16(out, frame.is_ipv4() ? 0x0800 : 0x86dd);
    if (frame.is_ipv4())
        put_ipv4(out, frame);
    else
        put_ipv6(out, frame);
    put(out, transport(frame));
    put(out, frame.padding);
    return out;
}

std::uint16_t transport_checksum(const Frame& frame, const Bytes& bytes)
{
    const std::size_t at = transport_offset(frame) + (frame.is_tcp() ? 16 : 6);
    return static_cast<std::uint16_t>(bytes.at(at) << 8 | bytes.at(at + 1));
}

Bytes quote(const Frame& frame, std::size_t bytes)
{
    const Bytes all = to_bytes(frame);
    const auto begin = all.begin() + static_cast<std::ptrdiff_t>(network_offset(frame));
    return {begin, begin + static_cast<std::ptrdiff_t>(std::min(bytes, packet_length(frame)))};
}

Frame padded(Frame frame)
{
    const std::size_t size = 14 + packet_length(frame);
    if (size < 60)
        frame.padding.assign(60 - size, 0xa5);
    return frame;
}

Bytes pattern(std::size_t n)
{
    Bytes out(n);
    for (std::size_t i = 0; i < n; i++)
        out[i] = static_cast<std::uint8_t>(i * 7 + 3);
    return out;
}

Extension hop_by_hop()
{
    return {0, {0, 5, 2, 0, 0, 1, 0}}; // router alert, PadN
}

Extension destination_options(std::size_t extra_words)
{
    Extension extension{
        60, {static_cast<std::uint8_t>(extra_words), 1, static_cast<std::uint8_t>(4 + extra_words * 8)}};
    extension.rest.resize(7 + extra_words * 8);
    return extension;
}

Extension routing()
{
    return {43, {0, 253, 0, 0, 0, 0, 0}}; // an experimental type, no segments left
}

Extension authentication()
{
    Extension extension{51, {4}}; // (4 + 2) * 4 = 24 bytes
    extension.rest.resize(23, 0x5a);
    extension.rest[0] = 4;
    return extension;
}

Extension fragment(std::uint16_t offset, bool more, std::uint32_t id)
{
    Extension extension{44, {0}};
    put16(extension.rest, static_cast<unsigned>(offset) << 3 | (more ? 1 : 0));
    put32(extension.rest, id);
    return extension;
}

Bytes timestamps()
{
    return {1, 1, 8, 10, 0, 1, 2, 3, 4, 5, 6, 7};
}

std::string difference(const Bytes& expected, const Bytes& got)
{
    if (expected == got)
        return {};
    std::string text = fmt::format("{} bytes expected, got {}", expected.size(), got.size());
    for (std::size_t line = 0; line < std::max(expected.size(), got.size()); line += 16) {
        const auto part = [line](const Bytes& bytes) {
            const auto begin = bytes.begin() + static_cast<std::ptrdiff_t>(std::min(line, bytes.size()));
            return Bytes(begin, begin + std::min<std::ptrdiff_t>(16, bytes.end() - begin));
        };
        const Bytes a = part(expected), b = part(got);
        if (a != b)
            text += fmt::format(
                "\n  {:4}: expected {:02x}\n        got      {:02x}", line, fmt::join(a, " "), fmt::join(b, " "));
    }
    return text;
}

} // namespace featherlb::packet
