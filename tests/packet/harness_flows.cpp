// SPDX-License-Identifier: Apache-2.0
// The flow table as the tests see it.
#include <algorithm>
#include <map>
#include <set>
#include <stdexcept>
#include <tuple>

#include <arpa/inet.h>

#include "harness.h"

namespace featherlb::packet {
namespace {

IpAddress ipv4(std::uint32_t address_be)
{
    flb_addr bytes{};
    __builtin_memcpy(bytes.bytes, &address_be, sizeof(address_be));
    return IpAddress::from_abi(bytes, Family::ipv4);
}

Entry entry_of(flb_flow4& flow, std::uint32_t index)
{
    Entry entry{&flow.f, index, ipv4(flow.key.saddr), ipv4(flow.key.daddr), ntohs(flow.key.sport),
        ntohs(flow.key.dport), flow.key.protocol, ipv4(flow.saddr), ipv4(flow.daddr)};
    entry.new_sport = ntohs(flow.f.sport);
    entry.new_dport = ntohs(flow.f.dport);
    return entry;
}

Entry entry_of(flb_flow6& flow, std::uint32_t index)
{
    const auto address = [](const flb_addr& bytes) { return IpAddress::from_abi(bytes, Family::ipv6); };
    Entry entry{&flow.f, index, address(flow.key.saddr), address(flow.key.daddr), ntohs(flow.key.sport),
        ntohs(flow.key.dport), flow.key.protocol, address(flow.saddr), address(flow.daddr)};
    entry.new_sport = ntohs(flow.f.sport);
    entry.new_dport = ntohs(flow.f.dport);
    return entry;
}

auto key_of(const Entry& e)
{
    return std::make_tuple(e.source, e.sport, e.destination, e.dport, e.protocol);
}

} // namespace

std::uint64_t Entry::ctl() const
{
    if (!flow)
        throw std::logic_error("the flow table has no such entry");
    return __atomic_load_n(&flow->ctl, __ATOMIC_ACQUIRE);
}

void Entry::grow_old(std::uint32_t ticks) const
{
    const std::uint64_t old = ctl();
    flow->ctl = (old & ~0xffffffffULL) | static_cast<std::uint32_t>(static_cast<std::uint32_t>(old) - ticks);
}

void Entry::set_state(unsigned state) const
{
    flow->ctl = (ctl() & ~FLB_CTL_STATE) | static_cast<std::uint64_t>(state) << FLB_CTL_STATE_SHIFT;
}

Entry Harness::at(std::uint32_t index) const
{
    return v6() ? entry_of(plane_->flows6()[index], index) : entry_of(plane_->flows4()[index], index);
}

std::vector<Entry> Harness::entries() const
{
    std::vector<Entry> found;
    const std::size_t count = v6() ? plane_->flows6().size() : plane_->flows4().size();
    for (std::uint32_t index = 0; index < count; index++)
        if (const Entry entry = at(index); entry.state() != FLB_FLOW_EMPTY)
            found.push_back(entry);
    return found;
}

Entry Harness::find(const Frame& packet) const
{
    for (const Entry& entry : entries())
        if (key_of(entry) ==
            std::make_tuple(packet.source, packet.sport, packet.destination, packet.dport, packet.protocol))
            return entry;
    return {};
}

Entry Harness::reply_of(const Entry& owner) const
{
    if (owner.flow->pair == FLB_NO_PAIR)
        return {};
    const Entry reply = at(owner.flow->pair);
    return reply.is_reply() && reply.flow->pair == owner.index && reply.flow->aux == owner.generation() ? reply
                                                                                                        : Entry{};
}

void Harness::forget_flows()
{
    std::ranges::fill(plane_->flows4(), flb_flow4{});
    std::ranges::fill(plane_->flows6(), flb_flow6{});
    for (flb_backend_load& load : plane_->loads())
        load.open = 0;
    for (std::uint32_t n = 0; n < Plane::max_backends; n++)
        plane_->bounds().lowered(n);
}

void Harness::expect_sound_bounds() const
{
    for (std::uint32_t n = 0; n < Plane::max_backends; n++) {
        const std::uint64_t chunk = plane_->backend_chunks()[n];
        if (chunk == 0)
            continue;
        const std::uint64_t word =
            plane_->slot_bounds()[(chunk - 1) / FLB_CHUNKS_BOUNDED].chunk[(chunk - 1) % FLB_CHUNKS_BOUNDED];
        const std::uint64_t open = word & FLB_BOUND_OPEN;
        const std::uint64_t weight = (word >> FLB_BOUND_WEIGHT_SHIFT & FLB_BOUND_WEIGHT) + 1;
        const flb_backend_load load = plane_->loads()[n];
        const std::uint64_t really = static_cast<std::int32_t>(load.open) < 0 ? 0 : load.open;
        EXPECT_LE(open * (load.weight ? load.weight : 100), really * weight) << "the bound of backend " << n;
    }
}

void Harness::expect_sound_loads() const
{
    std::map<std::uint32_t, std::uint32_t> open;
    for (const Entry& entry : entries())
        if (FLB_FLOW_LOAD >> entry.state() & 1)
            open[entry.flow->backend]++;
    for (std::uint32_t n = 0; n < Plane::max_backends; n++)
        EXPECT_EQ(plane_->loads()[n].open, open.contains(n) ? open.at(n) : 0u) << "open connections of backend " << n;
    expect_sound_bounds();
}

void Harness::expect_sound_table() const
{
    expect_sound_loads();
    std::set<decltype(key_of(Entry{}))> keys;
    std::set<std::uint32_t> replies;
    for (const Entry& entry : entries()) {
        EXPECT_TRUE(keys.insert(key_of(entry)).second) << "twice: " << entry.source.to_string() << ":" << entry.sport
                                                       << " -> " << entry.destination.to_string() << ":" << entry.dport;
        EXPECT_NE(entry.state(), FLB_FLOW_BUSY) << "left claimed: " << entry.index;
        EXPECT_EQ(entry.ctl() & FLB_CTL_LOCK, 0u) << "left locked: " << entry.index;
        if (entry.is_reply())
            continue;
        if (entry.flow->pair == FLB_NO_PAIR)
            continue;
        const Entry reply = reply_of(entry);
        EXPECT_TRUE(reply.exists()) << "no reply: " << entry.index;
        if (!reply.exists())
            continue;
        EXPECT_TRUE(replies.insert(reply.index).second) << "reply of two: " << reply.index;
        EXPECT_EQ(reply.source, entry.new_destination);
        EXPECT_EQ(reply.destination, entry.new_source);
        EXPECT_EQ(reply.dport, entry.new_sport);
        EXPECT_EQ(reply.sport, entry.new_dport);
        EXPECT_EQ(reply.flow->backend, entry.flow->backend);
    }
}

// ---- connections -------------------------------------------------------------------------------------------

Connection Harness::connection(flb_forward forward, std::uint8_t protocol) const
{
    const Connection c{.h = *this, .protocol = protocol};
    return forward == FLB_SNAT ? c : c.kept();
}

Connection Connection::kept() const
{
    Connection result = *this;
    result.outside = client;
    result.outside_port = client_port;
    return result;
}

Frame Connection::request(std::uint8_t flags, Bytes payload) const
{
    Frame f;
    f.to = client_side.mac;
    f.from = client_mac;
    f.tags = client_tags;
    f.source = client;
    f.destination = h.get().service_address(service);
    f.protocol = protocol;
    f.sport = client_port;
    f.dport = port;
    f.flags = flags;
    f.payload = std::move(payload);
    return f;
}

Frame Connection::forwarded(Frame f) const
{
    f.to = Harness::backend_mac(backend);
    f.from = backend_side.mac;
    f.tags = backend_tags;
    f.source = outside;
    f.sport = outside_port;
    f.destination = h.get().backend_address(backend);
    f.dport = port_there;
    f.ttl--;
    return f;
}

Frame Connection::answer(std::uint8_t flags, Bytes payload) const
{
    Frame f;
    f.to = backend_side.mac;
    f.from = Harness::backend_mac(backend);
    f.tags = backend_tags;
    f.source = h.get().backend_address(backend);
    f.destination = outside;
    f.protocol = protocol;
    f.sport = port_there;
    f.dport = outside_port;
    f.ttl = 60;
    f.id = 0x4321;
    f.flags = flags;
    f.payload = std::move(payload);
    return f;
}

Frame Connection::returned(Frame f) const
{
    f.to = client_mac;
    f.from = client_side.mac;
    f.tags = client_tags;
    f.source = h.get().service_address(service);
    f.sport = port;
    f.destination = client;
    f.dport = client_port;
    f.ttl--;
    return f;
}

Step Connection::there(const std::string& what, const Frame& f) const
{
    return {what, f, h.get().sent(client_side, backend_side), forwarded(f)};
}

Step Connection::back(const std::string& what, const Frame& f) const
{
    return {what, f, h.get().sent(backend_side, client_side), returned(f)};
}

Frame Connection::syn() const
{
    Frame f = request(tcp_syn);
    f.seq = 1000;
    return f;
}

Frame Connection::syn_ack() const
{
    Frame f = answer(tcp_syn | tcp_ack);
    f.seq = 5000;
    f.ack = 1001;
    return f;
}

Frame Connection::first_ack() const
{
    return request_data(tcp_ack);
}

Frame Connection::request_data(std::uint8_t flags, Bytes payload) const
{
    Frame f = request(flags, std::move(payload));
    f.seq = 1001;
    f.ack = 5001;
    return f;
}

Frame Connection::answer_data(std::uint8_t flags, Bytes payload) const
{
    Frame f = answer(flags, std::move(payload));
    f.seq = 5001;
    f.ack = 1001;
    return f;
}

std::vector<Step> Connection::handshake() const
{
    return {there("SYN", syn()), back("SYN-ACK", syn_ack()), there("ACK", first_ack())};
}

} // namespace featherlb::packet
