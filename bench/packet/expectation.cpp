// SPDX-License-Identifier: Apache-2.0
#include "expectation.h"

#include <algorithm>

#include <fmt/format.h>
#include <linux/bpf.h>
#include <linux/pkt_cls.h>

#include "floors.h"

namespace featherlb::bench {
namespace {

using Wrong = std::optional<std::string>;

std::uint32_t verdict_of(const Expectation& expected)
{
    if (expected.hook == Hook::xdp)
        return expected.passed ? XDP_PASS : XDP_TX;
    if (expected.passed)
        return static_cast<std::uint32_t>(TC_ACT_UNSPEC);
    return expected.balancer ? TC_ACT_REDIRECT : TC_ACT_OK;
}

void put_macs(Bytes& frame, const Mac& to)
{
    std::copy(to.begin(), to.end(), frame.begin());
    std::copy(our_mac.begin(), our_mac.end(), frame.begin() + to.size());
}

// 0 and 0xffff are the same number.
bool same(std::uint16_t a, std::uint16_t b)
{
    return a % 0xffff == b % 0xffff;
}

Wrong compare(View wanted, View got, const char* what)
{
    if (wanted.size() != got.size())
        return fmt::format("{}: {} bytes instead of {}", what, got.size(), wanted.size());
    for (std::size_t i = 0; i < wanted.size(); i++)
        if (wanted[i] != got[i])
            return fmt::format("{}: byte {} is {:02x} instead of {:02x}", what, i, got[i], wanted[i]);
    return {};
}

// The checksums of `out` are as right as those of `in`; then they are what is wanted.
Wrong take_checksums(Bytes& wanted, View in, View out)
{
    const bool v6 = is_ipv6(in);
    if (out.size() != in.size() || is_ipv6(out) != v6)
        return "another IP version or length";
    if (!v6 && !same(header_error(in.subspan(link_bytes, 20)), header_error(out.subspan(link_bytes, 20))))
        return "the checksum of the IPv4 header";
    if (!same(transport_error(in), transport_error(out)))
        return "the checksum of the transport";
    if (!v6)
        std::copy_n(&out[link_bytes + 10], 2, &wanted[link_bytes + 10]);
    std::copy_n(&out[check_offset(in)], 2, &wanted[check_offset(in)]);
    return {};
}

// A packet with other addresses and ports on its way through a router.
Wrong forwarded(const Mac& to, const Tuple& tuple, View in, View out)
{
    Bytes wanted(in.begin(), in.end());
    put_macs(wanted, to);
    wanted[ttl_offset(is_ipv6(in))]--;
    set_tuple(wanted, tuple);
    if (auto wrong = take_checksums(wanted, in, out))
        return wrong;
    return compare(wanted, out, "packet");
}

Wrong rewritten(const Expectation& expected, View in, View out)
{
    const Tuple before = tuple_of(in), after = tuple_of(out);
    const Mac* to = expected.balancer->backend(expected.kind, after.destination.address);
    Tuple wanted{before.source, {after.destination.address, Balancer::backend_port(expected.kind.forward)}};
    if (!to)
        return "it goes to none of the backends: " + after.destination.to_string();
    if (expected.kind.forward == Forward::snat) {
        const PortRange range;
        if (!Balancer::is_source(after.source.address) || after.source.port < range.first ||
            after.source.port > range.last)
            return "it comes from where nothing may come from: " + after.source.to_string();
        wanted.source = after.source;
    }
    return forwarded(*to, wanted, in, out);
}

// New link addresses of one of the backends, which one the address does not say.
Wrong addressed(const Expectation& expected, View in, View out)
{
    for (const auto& mac : expected.balancer->backend_macs(expected.kind))
        if (std::equal(mac.begin(), mac.end(), out.begin()))
            return forwarded(mac, tuple_of(in), in, out);
    return "it goes to none of the backends";
}

// docs/backends.md, "ipip": an outer header of the backend's IP version, the packet with one TTL less behind it.
Wrong tunnelled(const Expectation& expected, View in, View out)
{
    const bool v6 = expected.kind.v6;
    const std::size_t outer_bytes = network_bytes(v6), inner_at = link_bytes + outer_bytes;
    if (out.size() != in.size() + outer_bytes)
        return fmt::format("{} bytes", out.size());
    const View outer = out.subspan(link_bytes, outer_bytes);
    flb_addr from{}, to{};
    const std::size_t address_bytes = v6 ? 16 : 4, source_at = v6 ? 8 : 12;
    std::copy_n(&outer[source_at], address_bytes, from.bytes);
    std::copy_n(&outer[source_at + address_bytes], address_bytes, to.bytes);
    const Family family = v6 ? Family::ipv6 : Family::ipv4;
    const Mac* mac = expected.balancer->backend(expected.kind, IpAddress::from_abi(to, family));
    if (!mac || !Balancer::is_source(IpAddress::from_abi(from, family)))
        return "outer addresses";

    Bytes wanted(out.begin(), out.begin() + static_cast<long>(inner_at));
    put_macs(wanted, *mac);
    const std::size_t bytes = in.size() - link_bytes + (v6 ? 0 : outer_bytes);
    const Bytes fixed4{0x45, 0, std::uint8_t(bytes >> 8), std::uint8_t(bytes), 0, 0, 0x40, 0, 64, 4};
    const Bytes fixed6{std::uint8_t(bytes >> 8), std::uint8_t(bytes), 41, 64};
    std::copy_n(&in[12], 2, &wanted[12]);
    if (v6) { // the flow label is free
        wanted[link_bytes] = 0x60;
        wanted[link_bytes + 1] &= 0x0f;
        std::copy(fixed6.begin(), fixed6.end(), &wanted[link_bytes + 4]);
    } else {
        std::copy(fixed4.begin(), fixed4.end(), &wanted[link_bytes]);
        if (header_error(outer))
            return "the checksum of the outer header";
    }
    if (auto wrong = compare(wanted, out.first(inner_at), "outer header"))
        return wrong;

    Bytes inner(in.begin(), in.begin() + link_bytes), wanted_inner(in.begin(), in.end());
    inner.insert(inner.end(), out.begin() + static_cast<long>(inner_at), out.end());
    wanted_inner[ttl_offset(v6)]--;
    if (auto wrong = take_checksums(wanted_inner, in, inner))
        return "inner packet: " + *wrong;
    return compare(wanted_inner, inner, "inner packet");
}

// Behind the constant header, or without one: the packet as it came. (What the memory floor reads, from an empty table,
// and stores in it is what is there already.)
Wrong untouched(const Expectation& expected, View in, View out)
{
    const std::size_t header = expected.fate == Fate::constant_header ? FLOOR_OUTER_BYTES : 0;
    Bytes wanted(floor_outer, floor_outer + header);
    wanted.insert(wanted.end(), in.begin() + (header ? link_bytes : 0), in.end());
    return compare(wanted, out, "packet");
}

} // namespace

std::optional<std::string> what_is_wrong(const Expectation& expected, View in, const Output& out)
{
    if (out.verdict != verdict_of(expected))
        return fmt::format("verdict {} instead of {}", out.verdict, verdict_of(expected));
    if (out.bytes.size() < in.size())
        return fmt::format("{} bytes", out.bytes.size());
    switch (expected.fate) {
    case Fate::untouched:
    case Fate::constant_header:
        return untouched(expected, in, out.bytes);
    case Fate::to_client:
        return forwarded(client_mac, expected.returned, in, out.bytes);
    case Fate::to_backend:
        break;
    }
    if (expected.kind.forward == Forward::ipip)
        return tunnelled(expected, in, out.bytes);
    if (expected.kind.forward == Forward::dsr)
        return addressed(expected, in, out.bytes);
    return rewritten(expected, in, out.bytes);
}

std::size_t blind_bytes(const Expectation& expected, View in, const Output& out)
{
    std::size_t blind = 0;
    Output changed = out;
    for (std::uint8_t& byte : changed.bytes) {
        byte ^= 1;
        blind += !what_is_wrong(expected, in, changed);
        byte ^= 1;
    }
    return blind;
}

std::size_t free_bytes(const Expectation& expected)
{
    const bool label = expected.fate == Fate::to_backend && expected.kind.forward == Forward::ipip && expected.kind.v6;
    return label ? 3 : 0;
}

} // namespace featherlb::bench
