// SPDX-License-Identifier: Apache-2.0
#include "harness.h"

#include <algorithm>
#include <cstring>

#include <arpa/inet.h>

#include <fmt/format.h>

namespace featherlb::packet {

std::string name_of(const ::testing::TestParamInfo<Param>& info)
{
    return std::string(info.param.hook == Hook::xdp ? "xdp" : "tc") +
           (info.param.family == Family::ipv4 ? "_ipv4" : "_ipv6");
}

std::ostream& operator<<(std::ostream& out, const Param& param)
{
    return out << name_of({param, 0});
}

std::ostream& operator<<(std::ostream& out, Verdict verdict)
{
    switch (verdict) {
    case Verdict::pass:
        return out << "pass";
    case Verdict::drop:
        return out << "drop";
    case Verdict::transmit:
        return out << "transmit";
    case Verdict::redirect:
        return out << "redirect";
    case Verdict::other:
        break;
    }
    return out << "something else";
}

::testing::AssertionResult same(const Bytes& expected, const Bytes& got)
{
    if (expected == got)
        return ::testing::AssertionSuccess();
    return ::testing::AssertionFailure() << difference(expected, got) << "\n";
}

void Harness::SetUp()
{
    use({});
}

void Harness::use(Sets sets)
{
    plane_ = &Plane::of(sets);
    plane_->clear();
    flb_settings& settings = plane_->settings();
    settings.timeout[FLB_FLOW_SYN] = settings.timeout[FLB_FLOW_SYN_ACK] = settings.timeout[FLB_FLOW_MIDSTREAM] = 30;
    settings.timeout[FLB_FLOW_UDP_NEW] = settings.timeout[FLB_FLOW_UDP_REPLIED] = 31;
    settings.timeout[FLB_FLOW_UDP_STREAM] = 125;
    settings.timeout[FLB_FLOW_ESTABLISHED] = 7200;
    settings.timeout[FLB_FLOW_FIN_CLIENT] = settings.timeout[FLB_FLOW_FIN_BACKEND] = 120;
    settings.timeout[FLB_FLOW_CLOSED_CLIENT] = settings.timeout[FLB_FLOW_CLOSED_BACKEND] = 10;
    settings.timeout[FLB_FLOW_CLOSED_ONE_WAY] = 120;
    settings.timeout[FLB_FLOW_RESET] = 2;
    settings.timeout[FLB_FLOW_KILLED] = 10;
    settings.timeout[FLB_FLOW_REPLY_NEW] = 31;
    settings.timeout[FLB_FLOW_SUPERSEDED] = 30;
    settings.timeout[FLB_FLOW_REPLY] = 7200;
    set_ports(first_snat_port, snat_ports, 1);
    for (const Interface* interface : {&clients(), &backends()}) {
        flb_iface& record = iface(*interface);
        std::memcpy(record.mac, interface->mac.data(), interface->mac.size());
        record.mtu = 1500;
        record.ifindex = interface->index;
        record.flags = FLB_IFACE_ATTACHED;
    }
}

IpAddress Harness::address(unsigned net, unsigned host) const
{
    return address(GetParam().family, net, host);
}

IpAddress Harness::address(Family family, unsigned net, unsigned host)
{
    const std::string text = family == Family::ipv6 ? fmt::format("fd00:{:x}::{:x}", net, host)
                                                    : fmt::format("10.{}.{}.{}", net, host >> 8, host & 0xff);
    return IpAddress::parse(text).value();
}

Verdict Harness::sent(const Interface& in, const Interface& out) const
{
    return hook() == Hook::xdp && in.index == out.index ? Verdict::transmit : Verdict::redirect;
}

flb_iface& Harness::iface(const Interface& interface)
{
    return plane_->ifaces()[interface.index % FLB_IFACE_SLOTS];
}

flb_hop Harness::hop(const Mac& mac, const Interface& interface, const std::vector<Tag>& tags)
{
    flb_hop hop{};
    std::memcpy(hop.mac, mac.data(), mac.size());
    unsigned link = interface.index % FLB_IFACE_SLOTS | static_cast<unsigned>(tags.size()) << FLB_LINK_TAGS_SHIFT;
    for (std::size_t i = 0; i < tags.size(); i++) {
        hop.vlan[i] = tags[i].tci;
        if (tags[i].protocol == tag_ad)
            link |= i == 0 ? FLB_LINK_OUTER_AD : FLB_LINK_INNER_AD;
    }
    hop.link = static_cast<std::uint16_t>(link);
    return hop;
}

void Harness::mark(const IpAddress& address, std::uint8_t kinds)
{
    plane_->prefilter().kinds[flb_prefilter_index(address.folded())] |= kinds;
}

void Harness::listen(const IpAddress& address, std::uint16_t port, std::uint8_t protocol, unsigned service)
{
    flb_listener_key key{};
    key.address = address.to_abi();
    key.port = htons(port);
    key.protocol = protocol;
    key.family = static_cast<std::uint8_t>(address.family());
    plane_->put_listener(key, {service, 0});
    put_own_address(address, protocol);
    mark(address, FLB_KIND_LISTENER);
}

void Harness::put_own_address(const IpAddress& address, std::uint8_t protocol)
{
    flb_listener_key key{};
    key.address = address.to_abi();
    key.protocol = protocol;
    key.family = static_cast<std::uint8_t>(static_cast<unsigned>(address.family()) | FLB_FAMILY_ADDRESS);
    plane_->put_listener(key, {});
}

void Harness::put_backend(unsigned n, unsigned service, flb_forward forward, std::optional<Family> outer)
{
    flb_backend& record = backend(n);
    record.address = backend_address(n).to_abi();
    record.hop = hop(backend_mac(n), backends());
    record.port = htons(backend_port);
    record.mtu = 1500;
    record.flags = FLB_BACKEND_VALID | FLB_BACKEND_UP;
    record.service = service;
    if (forward == FLB_SNAT) {
        put_snat_addresses(n, n / 100, 1);
        return;
    }
    if (forward == FLB_DSR) {
        record.flags |= FLB_BACKEND_DSR;
        record.port = htons(service_port);
        return;
    }
    if (forward == FLB_IPIP) {
        const Family family = outer.value_or(GetParam().family);
        record.flags |= FLB_BACKEND_IPIP | (family == Family::ipv6 ? FLB_BACKEND_IPV6 : 0u);
        record.port = htons(service_port);
        record.address = address(family, 3, 10 + n).to_abi();
        record.snat_first = n % Plane::max_snat_addresses;
        record.snat_count = 1;
        plane_->snat_addresses()[record.snat_first].address = address(family, 2, 1).to_abi();
        mark(address(family, 3, 10 + n), FLB_KIND_TUNNEL);
        return;
    }
    mark(backend_address(n), FLB_KIND_BACKEND);
    for (const std::uint8_t protocol : {protocol_tcp, protocol_udp}) {
        flb_listener_key key{};
        key.address = record.address;
        key.port = record.port;
        key.protocol = protocol;
        key.family = static_cast<std::uint8_t>(GetParam().family);
        flb_source source{};
        source.address = service_address(service).to_abi();
        source.port = htons(service_port);
        source.backend = n;
        plane_->put_source(key, source);
    }
}

void Harness::put_snat_addresses(unsigned n, unsigned first, unsigned count)
{
    backend(n).snat_first = first;
    backend(n).snat_count = count;
    for (unsigned i = first; i < first + count; i++) {
        plane_->snat_addresses()[i].address = snat_address(i).to_abi();
        mark(snat_address(i), FLB_KIND_SNAT);
        for (const std::uint8_t protocol : {protocol_tcp, protocol_udp})
            put_own_address(snat_address(i), protocol);
    }
}

void Harness::set_ports(std::uint16_t first, std::uint16_t count, std::uint32_t stride)
{
    plane_->settings().snat_port_first = first;
    plane_->settings().snat_port_count = count;
    plane_->settings().snat_stride = stride;
}

void Harness::put_slots(unsigned service, const std::vector<unsigned>& backend_numbers)
{
    const std::uint64_t first = service * 64 + 5; // off the beginning of a chunk
    for (std::size_t i = 0; i < backend_numbers.size(); i++)
        plane_->slots()[(first + i) / FLB_SLOTS_PER_CHUNK].backend[(first + i) % FLB_SLOTS_PER_CHUNK] =
            backend_numbers[i];
    plane_->bounds().place(static_cast<std::uint32_t>(first), backend_numbers);
    plane_->services()[service].slots = first << 32 | backend_numbers.size();
}

void Harness::serve(unsigned n, const ServiceSpec& spec)
{
    flb_service& service = plane_->services()[n];
    service.flags = FLB_SERVICE_VALID;
    service.family = static_cast<std::uint8_t>(GetParam().family);
    service.forward = static_cast<std::uint8_t>(spec.forward);
    service.pick = static_cast<std::uint8_t>(spec.pick);
    service.pick_seed = spec.pick_seed;
    for (const unsigned number : spec.backends)
        put_backend(number, n, spec.forward, spec.outer);
    put_slots(n, spec.backends);
    for (const std::uint8_t protocol : {protocol_tcp, protocol_udp})
        listen(service_address(n), service_port, protocol, n);
}

Outcome Harness::run(const Bytes& bytes, const Interface& in, std::uint32_t gso_size)
{
    return plane_->run(hook(), bytes, {in.index, gso_size});
}

std::uint64_t Harness::all_drops() const
{
    std::uint64_t sum = 0;
    for (std::uint32_t reason = 0; reason < FLB_MAX_REASONS; reason++)
        sum += plane_->drops(reason);
    return sum;
}

void Harness::expect_out(const std::string& what, const Frame& in, Verdict verdict, const Frame& out)
{
    const std::uint64_t drops = all_drops();
    const Outcome outcome = run(in);
    EXPECT_EQ(outcome.verdict, verdict) << what << ": returned " << outcome.code;
    EXPECT_TRUE(same(to_bytes(out), outcome.bytes)) << what;
    EXPECT_EQ(all_drops(), drops) << what;
}

void Harness::play(const std::vector<Step>& steps)
{
    for (const Step& step : steps)
        expect_out(step.what, step.in, step.verdict, step.out);
}

void Harness::expect_drop(const std::string& what, const Frame& in, flb_drop_reason reason)
{
    expect_drop(what, to_bytes(in), reason, in.to == backends().mac ? backends() : clients());
}

void Harness::expect_drop(const std::string& what, const Bytes& in, flb_drop_reason reason, const Interface& interface)
{
    const std::uint64_t all = all_drops(), one = plane_->drops(reason);
    const Outcome outcome = run(in, interface);
    EXPECT_EQ(outcome.verdict, Verdict::drop) << what << ": returned " << outcome.code;
    EXPECT_EQ(plane_->drops(reason), one + 1) << what;
    EXPECT_EQ(all_drops(), all + 1) << what;
}

void Harness::expect_pass(const std::string& what, const Bytes& in, const Interface& interface)
{
    const std::uint64_t drops = all_drops();
    const Outcome outcome = run(in, interface);
    EXPECT_EQ(outcome.code, hook() == Hook::xdp ? 2 : -1) << what; // XDP_PASS, TC_ACT_UNSPEC
    EXPECT_TRUE(same(in, outcome.bytes)) << what;
    EXPECT_EQ(all_drops(), drops) << what;
}

void Harness::expect_pass(const std::string& what, const Frame& in)
{
    expect_pass(what, to_bytes(in), in.to == backends().mac ? backends() : clients());
}

void Harness::expect_reset(const std::string& what, const Frame& in, flb_drop_reason reason)
{
    const std::uint64_t all = all_drops(), one = plane_->drops(reason);
    Frame out = in;
    std::swap(out.to, out.from);
    std::swap(out.source, out.destination);
    std::swap(out.sport, out.dport);
    const bool acknowledges = in.flags & tcp_ack;
    const auto occupied =
        static_cast<std::uint32_t>(in.payload.size() + (in.flags & tcp_syn ? 1 : 0) + (in.flags & tcp_fin ? 1 : 0));
    out.seq = acknowledges ? in.ack : 0;
    out.ack = acknowledges ? 0 : in.seq + occupied;
    out.flags = acknowledges ? tcp_rst : tcp_rst | tcp_ack;
    out.window = 0;
    out.id = 0;
    out.fragment = 0x4000;
    out.ttl = 64;
    out.tcp_options.clear();
    out.payload.clear();
    out.padding.clear();
    const Outcome outcome = run(in);
    EXPECT_EQ(outcome.verdict, sent(clients(), clients())) << what << ": returned " << outcome.code;
    EXPECT_TRUE(same(to_bytes(out), outcome.bytes)) << what;
    EXPECT_EQ(plane_->drops(reason), one + 1) << what;
    EXPECT_EQ(all_drops(), all + 1) << what;
}

Frame Harness::answer_to(const Frame& in, flb_drop_reason reason, std::uint32_t mtu, const IpAddress& source) const
{
    constexpr std::size_t quoted = 128;
    Frame out;
    out.to = in.from;
    out.from = in.to;
    out.tags = in.tags;
    out.source = source;
    out.destination = in.source;
    out.protocol = v6() ? protocol_icmpv6 : protocol_icmp;
    out.tos = v6() ? 0 : 0xc0;
    out.id = 0;
    if (reason == FLB_DROP_too_big) {
        out.icmp_type = v6() ? 2 : 3;
        out.icmp_code = v6() ? 0 : 4;
        out.icmp_rest = mtu;
    } else {
        out.icmp_type = v6() ? 3 : 11;
    }
    out.payload = quote(in, std::min(quoted, packet_length(in) & ~std::size_t{1}));
    if (hook() == Hook::xdp)
        return out;
    // See bpf/answer.h: minus half the sum of the rest, in one's complement.
    const std::size_t l4 = transport_offset(in) - network_offset(in), field = l4 + (in.is_tcp() ? 16 : 6);
    std::uint32_t sum = 0;
    for (std::size_t at = l4; at + 1 < out.payload.size(); at += 2)
        if (at != field)
            sum += static_cast<std::uint32_t>(out.payload[at] << 8 | out.payload[at + 1]);
    const std::uint32_t half = (0xffff - sum % 0xffff) * 32768 % 0xffff;
    out.payload[field] = static_cast<std::uint8_t>(half >> 8);
    out.payload[field + 1] = static_cast<std::uint8_t>(half);
    return out;
}

void Harness::expect_answer(const std::string& what, const Frame& in, flb_drop_reason reason, std::uint32_t mtu,
    const IpAddress& source, std::uint32_t gso_size)
{
    const Interface& by = in.to == backends().mac ? backends() : clients();
    const std::uint64_t all = all_drops(), one = plane_->drops(reason);
    const Outcome outcome = run(to_bytes(in), by, gso_size);
    EXPECT_EQ(outcome.verdict, sent(by, by)) << what << ": returned " << outcome.code;
    EXPECT_TRUE(same(to_bytes(answer_to(in, reason, mtu, source)), outcome.bytes)) << what;
    EXPECT_EQ(plane_->drops(reason), one + 1) << what;
    EXPECT_EQ(all_drops(), all + 1) << what;
}

} // namespace featherlb::packet
