// SPDX-License-Identifier: Apache-2.0
#include "one_way.h"

#include <algorithm>

namespace featherlb::packet {

constexpr std::uint8_t protocol_ipip = 4, protocol_ipv6 = 41;

std::ostream& operator<<(std::ostream& out, const OneWayMode& mode)
{
    if (mode.forward == FLB_DSR)
        return out << "dsr";
    return out << "ipip to " << to_string(mode.outer);
}

void OneWay::serve_one_way(const OneWayMode& mode, std::vector<unsigned> numbers, flb_pick pick)
{
    serve(1, {.forward = mode.forward, .pick = pick, .backends = std::move(numbers), .outer = mode.outer});
}

Frame OneWay::there(const OneWayMode& mode, const Frame& in, unsigned n, std::uint32_t label) const
{
    Frame inner = in;
    inner.ttl--;
    if (mode.forward == FLB_DSR) {
        inner.to = backend_mac(n);
        inner.from = backends().mac;
        inner.tags.clear();
        return inner;
    }
    Frame out;
    out.to = backend_mac(n);
    out.from = backends().mac;
    out.source = address(mode.outer, 2, 1);
    out.destination = address(mode.outer, 3, 10 + n);
    out.protocol = in.is_ipv4() ? protocol_ipip : protocol_ipv6;
    out.ttl = 64;
    out.tos = in.tos;
    out.id = 0;
    out.fragment = 0x4000;
    out.flow_label = label;
    out.bare = true;
    out.payload = quote(inner, packet_length(inner));
    out.padding = in.padding;
    return out;
}

std::uint32_t OneWay::label_of(const OneWayMode& mode, const Bytes& bytes, std::size_t tags)
{
    const std::size_t at = 14 + 4 * tags;
    if (mode.forward == FLB_DSR || mode.outer == Family::ipv4 || bytes.size() < at + 4)
        return 0;
    return static_cast<std::uint32_t>(bytes[at + 1] & 15) << 16 | static_cast<std::uint32_t>(bytes[at + 2]) << 8 |
           bytes[at + 3];
}

Bytes OneWay::expect_there(const std::string& what, const OneWayMode& mode, const Frame& in, unsigned n)
{
    const std::uint64_t drops = all_drops();
    const Outcome outcome = run(in);
    EXPECT_EQ(outcome.verdict, sent(clients(), backends())) << mode << ", " << what << ": returned " << outcome.code;
    EXPECT_TRUE(same(to_bytes(there(mode, in, n, label_of(mode, outcome.bytes))), outcome.bytes))
        << mode << ", " << what;
    EXPECT_EQ(all_drops(), drops) << mode << ", " << what;
    return outcome.bytes;
}

Frame OneWay::segment(std::uint8_t flags, Bytes payload) const
{
    return connection(FLB_DNAT).request_data(flags, std::move(payload));
}

Frame OneWay::syn() const
{
    return connection(FLB_DNAT).syn();
}

} // namespace featherlb::packet
