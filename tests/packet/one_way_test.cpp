// SPDX-License-Identifier: Apache-2.0
// `dsr` and `ipip`: what leaves, byte for byte, and on which grounds nothing does.
#include <set>

#include <tins/tins.h>

#include "one_way.h"

namespace featherlb::packet {
namespace {

class OneWayForward : public OneWay {
protected:
    [[nodiscard]] Frame of_protocol(std::uint8_t protocol, Bytes payload = {}) const
    {
        if (protocol == protocol_tcp)
            return segment(tcp_ack, std::move(payload));
        return connection(FLB_DNAT, protocol).request(0, std::move(payload));
    }
};
INSTANTIATE_TEST_SUITE_P(hooks, OneWayForward, every_way, name_of);

TEST_P(OneWayForward, only_what_leads_there_changes)
{
    for (const OneWayMode& mode : modes()) {
        for (const std::uint8_t protocol : {protocol_tcp, protocol_udp}) {
            use({});
            serve_one_way(mode);
            for (const std::size_t bytes : {0u, 1u, 1380u}) {
                Frame in = of_protocol(protocol, pattern(bytes));
                expect_there("plain", mode, in);
                expect_there("padded", mode, padded(in));
                in.tos = 0xb9; // expedited forwarding, ECT(1)
                expect_there("class of service and ECN", mode, in);
                in.tos = 3;
                expect_there("congestion experienced", mode, in);
                in.ttl = 2;
                in.id = 0;
                in.fragment = 0;
                expect_there("two hops left, may be fragmented", mode, in);
                in.flow_label = 0x54321;
                if (v6())
                    in.extensions = {hop_by_hop(), destination_options()};
                else
                    in.options = {1, 1, 1, 0};
                expect_there("options", mode, in);
                if (protocol == protocol_udp) {
                    in.without_checksum = !v6();
                    expect_there("no checksum", mode, in);
                }
            }
            EXPECT_EQ(entries().size(), 1u) << "one entry, no reply";
            EXPECT_EQ(find(of_protocol(protocol)).flow->pair, FLB_NO_PAIR);
            expect_sound_table();
            EXPECT_EQ(plane().counters(1).connections, 1u);
            EXPECT_EQ(plane().counters(1).packets[1], 0u);
        }
    }
}

TEST_P(OneWayForward, an_ipv4_header_checksum_of_any_value_is_right_afterwards)
{
    if (v6())
        return;
    for (const OneWayMode& mode : modes()) {
        use({});
        serve_one_way(mode);
        for (unsigned id = 0; id < 0x10000; id += 251) {
            Frame in = segment(tcp_ack);
            in.id = static_cast<std::uint16_t>(id);
            expect_there("id " + std::to_string(id), mode, in);
        }
    }
}

TEST_P(OneWayForward, tags_are_those_of_the_way_out)
{
    const std::vector<std::vector<Tag>> layouts = {
        {}, {{.tci = 5}}, {{.tci = 0xa00f, .protocol = tag_ad}}, {{.tci = 5, .protocol = tag_ad}, {.tci = 6}}};
    for (const OneWayMode& mode : modes()) {
        for (const auto& before : layouts) {
            for (const auto& after : layouts) {
                use({});
                serve_one_way(mode);
                backend(1).hop = hop(backend_mac(), backends(), after);
                Frame in = segment(tcp_syn, pattern(60));
                in.tags = before;
                const Outcome outcome = run(in);
                Frame out = there(mode, in, 1, label_of(mode, outcome.bytes, after.size()));
                out.tags = after;
                EXPECT_EQ(outcome.verdict, Verdict::redirect);
                EXPECT_TRUE(same(to_bytes(out), outcome.bytes))
                    << mode << ": " << before.size() << " tags before, " << after.size() << " after";
            }
        }
    }
}

TEST_P(OneWayForward, tags_that_are_in_the_packet_on_tc_are_handled_too)
{
    if (hook() != Hook::tc)
        return;
    for (const OneWayMode& mode : modes()) {
        use({});
        serve_one_way(mode);
        Frame in = segment(tcp_syn, pattern(60));
        in.tags = {{.tci = 5}};
        const Outcome outcome = plane().run_untouched(to_bytes(in), clients().index);
        EXPECT_EQ(outcome.verdict, Verdict::redirect);
        EXPECT_TRUE(same(to_bytes(there(mode, in, 1, label_of(mode, outcome.bytes))), outcome.bytes)) << mode;
    }
}

TEST_P(OneWayForward, out_of_the_interface_that_it_came_by)
{
    for (const OneWayMode& mode : modes()) {
        use({});
        serve_one_way(mode);
        backend(1).hop = hop(backend_mac(), clients());
        const Outcome outcome = run(syn());
        Frame out = there(mode, syn(), 1, label_of(mode, outcome.bytes));
        out.from = clients().mac;
        EXPECT_EQ(outcome.verdict, sent(clients(), clients()));
        EXPECT_TRUE(same(to_bytes(out), outcome.bytes)) << mode;
    }
}

TEST_P(OneWayForward, libtins_finds_both_headers_right)
{
    for (const OneWayMode& mode : modes()) {
        use({});
        serve_one_way(mode);
        for (const std::size_t bytes : {60u, 1339u}) {
            const Outcome outcome = run(segment(tcp_ack, pattern(bytes)));
            Tins::EthernetII frame(outcome.bytes.data(), static_cast<std::uint32_t>(outcome.bytes.size()));
            EXPECT_TRUE(same(frame.serialize(), outcome.bytes)) << mode;
            EXPECT_EQ(frame.rfind_pdu<Tins::TCP>().dport(), service_port);
        }
    }
}

TEST_P(OneWayForward, the_outer_source_varies_with_the_flow_alone)
{
    for (const Family outer : {Family::ipv4, Family::ipv6}) {
        const OneWayMode mode{FLB_IPIP, outer};
        const std::size_t at = outer == Family::ipv4 ? 14 + 12 : 14 + 8, bytes = outer == Family::ipv4 ? 4 : 16;
        const auto source_of = [&](std::uint16_t port) {
            Frame in = segment(tcp_ack);
            in.sport = port;
            const Bytes out = run(in).bytes;
            EXPECT_EQ(out, run(in).bytes) << "the same flow";
            const auto from = out.begin() + static_cast<std::ptrdiff_t>(at);
            flb_addr address{};
            std::copy(from, from + static_cast<std::ptrdiff_t>(bytes), address.bytes);
            return IpAddress::from_abi(address, outer).to_string();
        };
        const auto sources = [&] {
            std::set<std::string> all;
            for (std::uint16_t port = 2000; port < 2200; port++)
                all.insert(source_of(port));
            return all;
        };
        use({});
        serve_one_way(mode);
        EXPECT_EQ(sources(), std::set<std::string>{address(outer, 2, 1).to_string()});

        backend(1).snat_first = 4;
        backend(1).snat_count = 3;
        for (unsigned i = 0; i < 3; i++)
            plane().snat_addresses()[4 + i].address = address(outer, 2, 5 + i).to_abi();
        EXPECT_EQ(sources(), (std::set<std::string>{address(outer, 2, 5).to_string(), address(outer, 2, 6).to_string(),
                                 address(outer, 2, 7).to_string()}));

        backend(1).snat_count = 1;
        plane().snat_addresses()[4].address = address(outer, 2, 0).to_abi();
        plane().snat_addresses()[4].bits = outer == Family::ipv4 ? 24 : 64;
        const std::set<std::string> many = sources();
        EXPECT_GE(many.size(), outer == Family::ipv4 ? 100u : 200u); // 200 balls in 256 boxes fill 139 of them
        for (const std::string& one : many)
            EXPECT_TRUE(outer == Family::ipv6 || one.starts_with("10.2.0.")) << one;
        for (const std::string& one : many)
            EXPECT_TRUE(outer == Family::ipv4 || one.starts_with("fd00:2:0:0:") || one.starts_with("fd00:2::")) << one;
    }
}

TEST_P(OneWayForward, what_does_not_fit_with_the_outer_header_is_answered)
{
    for (const OneWayMode& mode : modes()) {
        for (const std::uint8_t protocol : {protocol_tcp, protocol_udp}) {
            use({});
            serve_one_way(mode);
            const auto outer = static_cast<std::uint32_t>(outer_bytes(mode));
            const Frame empty = of_protocol(protocol);
            const std::size_t room = 1500 - outer - packet_length(empty);
            expect_there("fits exactly", mode, of_protocol(protocol, pattern(room)));
            expect_answer("new mtu of the interface", of_protocol(protocol, pattern(room + 1)), FLB_DROP_too_big,
                1500 - outer, service_address());
            backend(1).mtu = 1400;
            expect_there("fits exactly", mode, of_protocol(protocol, pattern(room - 100)));
            expect_answer("the route's", of_protocol(protocol, pattern(room - 99)), FLB_DROP_too_big, 1400 - outer,
                service_address());
            iface(backends()).mtu = 1350;
            Frame in = of_protocol(protocol, pattern(room - 99));
            in.fragment = 0;
            expect_answer("the interface's, may be fragmented", in, FLB_DROP_too_big, 1350 - outer, service_address());
            use({});
            serve_one_way(mode);
            in.fragment = 0x4000;
            backend(1).mtu = 1400;
            expect_answer("the first of its flow", in, FLB_DROP_too_big, 1400 - outer, service_address());
        }
    }
}

TEST_P(OneWayForward, segments_are_judged_with_the_outer_header)
{
    if (hook() != Hook::tc)
        return;
    for (const OneWayMode& mode : modes()) {
        use({});
        serve_one_way(mode);
        const Frame in = segment(tcp_ack, pattern(3000));
        const std::size_t outer = outer_bytes(mode), header = packet_length(segment(tcp_ack));
        const auto largest = static_cast<std::uint32_t>(1500 - outer - header);
        expect_answer("segments a byte too long", in, FLB_DROP_too_big, static_cast<std::uint32_t>(1500 - outer),
            service_address(), largest + 1);
        if (mode.forward == FLB_DSR) { // BPF_PROG_TEST_RUN makes no segments that the kernel encapsulates
            const Outcome outcome = run(to_bytes(in), clients(), largest);
            EXPECT_TRUE(same(to_bytes(there(mode, in)), outcome.bytes));
        }
    }
}

TEST_P(OneWayForward, a_ttl_that_is_used_up_is_answered)
{
    for (const OneWayMode& mode : modes()) {
        use({});
        serve_one_way(mode);
        Frame in = syn();
        in.ttl = 1;
        expect_answer("of a SYN", in, FLB_DROP_ttl_exceeded, 0, service_address());
        in = segment(tcp_ack);
        in.ttl = 1;
        expect_answer("of a segment", in, FLB_DROP_ttl_exceeded, 0, service_address());
    }
}

TEST_P(OneWayForward, what_lacks_is_named)
{
    for (const OneWayMode& mode : modes()) {
        use({});
        serve_one_way(mode);
        const flb_backend whole = backend(1);
        expect_there("before", mode, syn());
        for (const Frame& in : {syn(), segment(tcp_ack)}) {
            backend(1).hop = {};
            expect_drop("no next hop", in, FLB_DROP_backend_unresolved);
            backend(1) = whole;
            if (mode.forward == FLB_IPIP) {
                backend(1).snat_count = 0;
                expect_drop("no outer source", in, FLB_DROP_backend_unresolved);
                backend(1) = whole;
            }
            backend(1).hop.link ^= 1;
            expect_drop("no such interface", in, FLB_DROP_not_configured);
            backend(1) = whole;
            backend(1).flags &= ~FLB_BACKEND_VALID;
            expect_drop("no such backend", in, FLB_DROP_not_configured);
            backend(1) = whole;
        }
        expect_there("after", mode, segment(tcp_ack));
    }
}

TEST_P(OneWayForward, the_backends_own_packets_are_not_ours)
{
    for (const OneWayMode& mode : modes()) {
        use({});
        serve_one_way(mode);
        expect_there("SYN", mode, syn());
        Frame answer = syn(); // from the service's address, if it comes by here at all
        std::swap(answer.source, answer.destination);
        std::swap(answer.sport, answer.dport);
        answer.flags = tcp_syn | tcp_ack;
        answer.from = backend_mac();
        answer.to = backends().mac;
        expect_pass("SYN-ACK", answer);
        EXPECT_EQ(plane().counters(1).packets[1], 0u);
    }
}

} // namespace
} // namespace featherlb::packet
