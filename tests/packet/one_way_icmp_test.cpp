// SPDX-License-Identifier: Apache-2.0
// What comes with `dsr` and `ipip` beside the clients' own packets: fragments, ICMP errors of either side.
#include <algorithm>

#include "one_way.h"

namespace featherlb::packet {
namespace {

constexpr std::uint8_t protocol_ipip = 4;

class OneWayIcmp : public OneWay {
protected:
    // What a router between balancer and backend says about `packet`, which left towards the backend.
    [[nodiscard]] static Frame error_about(
        const Frame& packet, std::uint8_t type, std::uint8_t code, std::uint32_t rest, std::size_t bytes = 500)
    {
        Frame f;
        f.to = packet.from;
        f.from = packet.to;
        f.tags = packet.tags;
        f.source = address(packet.source.family(), 3, 99);
        f.destination = packet.source;
        f.protocol = packet.is_ipv4() ? protocol_icmp : protocol_icmpv6;
        f.ttl = 50;
        f.icmp_type = type;
        f.icmp_code = code;
        f.icmp_rest = rest;
        f.payload = quote(packet, bytes);
        return f;
    }
    [[nodiscard]] static Frame too_big(const OneWayMode& mode, const Frame& packet, std::uint32_t mtu)
    {
        return mode.outer == Family::ipv4 ? error_about(packet, 3, 4, mtu) : error_about(packet, 2, 0, mtu);
    }
    // As the client hears of it: its packet had one hop less when it was quoted.
    [[nodiscard]] Frame told(const Frame& in, std::uint32_t mtu) const
    {
        Frame late = in;
        late.ttl--;
        Frame out = answer_to(late, FLB_DROP_too_big, mtu, service_address());
        if (mtu == 0) {
            out.icmp_type = v6() ? 1 : 3;
            out.icmp_code = v6() ? 3 : 1;
            out.icmp_rest = 0;
        }
        out.to = client_mac();
        out.from = clients().mac;
        return out;
    }
    void expect_told(const std::string& what, const Frame& error, const Frame& out)
    {
        for (flb_icmp_budget& budget : plane().icmp_budgets())
            budget = {};
        expect_out(what, error, sent(backends(), clients()), out);
    }
    [[nodiscard]] std::vector<OneWayMode> tunnels() const
    {
        return {{FLB_IPIP, Family::ipv4}, {FLB_IPIP, Family::ipv6}};
    }
    void serve_tunnel(const OneWayMode& mode, flb_pick pick = FLB_PICK_TURN)
    {
        use({});
        serve_one_way(mode, {1}, pick);
        flb_listener_key key{};
        key.address = address(mode.outer, 3, 11).to_abi();
        key.protocol = protocol_ipip;
        key.family = static_cast<std::uint8_t>(static_cast<unsigned>(mode.outer) | FLB_FAMILY_ADDRESS);
        plane().put_listener(key, {});
    }
    [[nodiscard]] Frame data(std::uint8_t protocol) const
    {
        return protocol == protocol_tcp ? segment(tcp_ack, pattern(700))
                                        : connection(FLB_DNAT, protocol).request(0, pattern(700));
    }
};
INSTANTIATE_TEST_SUITE_P(hooks, OneWayIcmp, every_way, name_of);

TEST_P(OneWayIcmp, the_tunnels_path_mtu_reaches_the_client_less_the_outer_header)
{
    for (const OneWayMode& mode : tunnels()) {
        const auto outer = static_cast<std::uint32_t>(outer_bytes(mode));
        for (const std::uint8_t protocol : {protocol_tcp, protocol_udp}) {
            serve_tunnel(mode);
            const Frame in = data(protocol);
            expect_there("data", mode, in);
            const Frame packet = there(mode, in);
            expect_told("1400", too_big(mode, packet, 1400), told(in, 1400 - outer));
            expect_told("9000", too_big(mode, packet, 9000), told(in, 9000 - outer));
            expect_told("less than IP allows", too_big(mode, packet, outer), told(in, v6() ? 1280 : 68));
            if (mode.outer == Family::ipv4)
                expect_told("of an old router", too_big(mode, packet, 0), told(in, v6() ? 1280 : 576 - outer));
            EXPECT_EQ(entries().size(), 1u);
        }
    }
}

TEST_P(OneWayIcmp, what_else_befalls_the_tunnel_is_an_unreachable_host)
{
    for (const OneWayMode& mode : tunnels()) {
        serve_tunnel(mode);
        const Frame in = data(protocol_tcp);
        expect_there("data", mode, in);
        const Frame packet = there(mode, in);
        if (mode.outer == Family::ipv4) {
            expect_told("protocol unreachable", error_about(packet, 3, 2, 0), told(in, 0));
            expect_told("time exceeded", error_about(packet, 11, 0, 0), told(in, 0));
        } else {
            expect_told("address unreachable", error_about(packet, 1, 3, 0), told(in, 0));
            expect_told("time exceeded", error_about(packet, 3, 0, 0), told(in, 0));
        }
    }
}

TEST_P(OneWayIcmp, the_client_is_told_under_its_tags_and_from_under_others)
{
    for (const OneWayMode& mode : tunnels()) {
        for (const auto& tags :
            std::vector<std::vector<Tag>>{{}, {{.tci = 5}}, {{.tci = 5, .protocol = tag_ad}, {.tci = 6}}}) {
            for (const auto& inner :
                std::vector<std::vector<Tag>>{{}, {{.tci = 7}}, {{.tci = 7, .protocol = tag_ad}, {.tci = 8}}}) {
                serve_tunnel(mode);
                backend(1).hop = hop(backend_mac(), backends(), inner);
                Frame in = data(protocol_udp);
                in.tags = tags;
                run(in);
                Frame error = too_big(mode, there(mode, in), 1400);
                error.tags = inner;
                Frame out = told(in, 1400 - static_cast<std::uint32_t>(outer_bytes(mode)));
                out.tags = tags;
                expect_told(std::to_string(tags.size()) + ", " + std::to_string(inner.size()), error, out);
            }
        }
    }
}

TEST_P(OneWayIcmp, without_a_flow_the_tables_say_whether_it_was_ours)
{
    for (const OneWayMode& mode : tunnels()) {
        serve_tunnel(mode, FLB_PICK_HASH_5TUPLE);
        const Frame in = data(protocol_udp);
        const Frame packet = there(mode, in);
        expect_told("by hash, over the kernel's route", too_big(mode, packet, 1400),
            told(in, 1400 - static_cast<std::uint32_t>(outer_bytes(mode))));
        Frame elsewhere = packet;
        elsewhere.destination = address(mode.outer, 3, 12);
        mark(elsewhere.destination, FLB_KIND_TUNNEL);
        expect_pass("to a backend that it does not belong to", too_big(mode, elsewhere, 1400));
        service().pick = FLB_PICK_TURN;
        expect_pass("nobody knows where it went", too_big(mode, packet, 1400));
    }
}

TEST_P(OneWayIcmp, a_quote_that_is_too_short_is_dropped_and_a_strangers_is_not_ours)
{
    for (const OneWayMode& mode : tunnels()) {
        serve_tunnel(mode);
        const Frame in = data(protocol_tcp);
        expect_there("data", mode, in);
        const Frame packet = there(mode, in);
        const std::size_t inner = v6() ? 40 : 20;
        plane().ask_samples(1ull << FLB_DROP_icmp_broken);
        for (const std::size_t bytes :
            {outer_bytes(mode) + 8, outer_bytes(mode) + inner, outer_bytes(mode) + inner + 17}) {
            expect_drop("bytes: " + std::to_string(bytes),
                error_about(packet, mode.outer == Family::ipv4 ? 3 : 1, 0, 0, bytes), FLB_DROP_icmp_broken);
            EXPECT_EQ(plane().take_samples().size(), 1u) << "who listens is told";
        }
        expect_told("just enough",
            error_about(packet, mode.outer == Family::ipv4 ? 3 : 1, 0, 0, outer_bytes(mode) + inner + 18), [&] {
                Frame shorter = told(in, 0);
                shorter.payload = told(Frame(in), 0).payload;
                shorter.payload.resize(inner + 18);
                if (hook() == Hook::tc) { // the quote's sum is made independent of its checksum: bpf/answer.h
                    std::uint32_t sum = 0;
                    for (std::size_t at = inner; at + 1 < inner + 16; at += 2)
                        sum += static_cast<std::uint32_t>(shorter.payload[at] << 8 | shorter.payload[at + 1]);
                    const std::uint32_t half = (0xffff - sum % 0xffff) * 32768 % 0xffff;
                    shorter.payload[inner + 16] = static_cast<std::uint8_t>(half >> 8);
                    shorter.payload[inner + 17] = static_cast<std::uint8_t>(half);
                }
                return shorter;
            }());
        Frame foreign = packet;
        foreign.destination = address(mode.outer, 77, 1);
        expect_pass("another tunnel's", too_big(mode, foreign, 1400));
        mark(foreign.destination, FLB_KIND_TUNNEL);
        expect_pass("another tunnel's, with the prefilter's hash", too_big(mode, foreign, 1400));
    }
}

TEST_P(OneWayIcmp, errors_about_answers_go_to_the_backend_as_they_are)
{
    for (const OneWayMode& mode : modes()) {
        for (const bool known : {true, false}) {
            use({});
            serve_one_way(mode, {1}, FLB_PICK_HASH_5TUPLE);
            const Frame in = data(protocol_udp);
            if (known)
                expect_there("data", mode, in);
            Frame answer = in; // which the backend has sent to the client by itself
            std::swap(answer.source, answer.destination);
            std::swap(answer.sport, answer.dport);
            Frame error = error_about(answer, v6() ? 2 : 3, v6() ? 0 : 4, 1300);
            error.to = clients().mac;
            error.from = client_mac();
            error.source = address(1, 99);
            error.tos = 0x20;
            const Outcome outcome = run(error);
            EXPECT_EQ(outcome.verdict, Verdict::redirect) << mode;
            EXPECT_TRUE(same(to_bytes(there(mode, error, 1, label_of(mode, outcome.bytes))), outcome.bytes))
                << mode << ", known: " << known;
        }
    }
}

TEST_P(OneWayIcmp, later_fragments_follow_the_first_one)
{
    for (const OneWayMode& mode : modes()) {
        use({});
        serve_one_way(mode, {1, 2});
        Frame first = data(protocol_udp), later = first;
        first.udp_length = std::uint16_t{1500};
        later.bare = true;
        later.payload = pattern(600);
        if (v6()) {
            first.extensions = {fragment(0, true, 0x12345678)};
            later.extensions = {fragment(89, false, 0x12345678)};
        } else {
            first.fragment = 0x2000;
            later.fragment = 89;
        }
        expect_drop("before its first", later, FLB_DROP_fragment);
        const Bytes sent = expect_there("first", mode, first);
        const Bytes next = expect_there("later, under its own identification", mode, later);
        EXPECT_EQ(label_of(mode, sent), label_of(mode, next)) << mode;
        expect_there("again", mode, later);
        later.id = 0x4321;
        if (v6())
            later.extensions = {fragment(89, false, 0x87654321)};
        expect_drop("of another datagram", later, FLB_DROP_fragment);
        EXPECT_EQ(plane().counters(1).packets[0], 3u);
        later.payload = pattern(1500);
        if (!v6())
            later.id = 0x1234;
        else
            later.extensions = {fragment(89, false, 0x12345678)};
        expect_drop("too long for the way", later, FLB_DROP_too_big);
    }
}

TEST_P(OneWayIcmp, a_first_fragment_that_is_not_sent_leaves_nothing_for_the_others)
{
    for (const OneWayMode& mode : modes()) {
        use({});
        serve_one_way(mode);
        Frame first = data(protocol_udp);
        first.udp_length = std::uint16_t{1500};
        if (v6())
            first.extensions = {fragment(0, true)};
        else
            first.fragment = 0x2000;
        backend(1).mtu = 500;
        EXPECT_NE(run(first).verdict, Verdict::pass);
        EXPECT_EQ(plane().fragments().size(), 0u) << mode;
        backend(1).mtu = 1500;
        expect_there("first", mode, first);
        EXPECT_EQ(plane().fragments().size(), 1u) << mode;
    }
}

} // namespace
} // namespace featherlb::packet
