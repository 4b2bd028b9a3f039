// SPDX-License-Identifier: Apache-2.0
// ICMP errors about packets of ours: they reach who sent the packet, and quote it as that one sent it.
#include <algorithm>

#include "harness.h"

namespace featherlb::packet {
namespace {

struct Kind {
    std::uint8_t type, code;
    std::uint32_t rest; // of ICMPv4 and ICMPv6 "too big" the MTU
};

class Icmp : public Harness {
protected:
    [[nodiscard]] std::vector<Kind> kinds() const
    {
        if (v6())
            return {{1, 4, 0}, {2, 0, 1280}, {3, 0, 0}, {4, 1, 40}};
        return {{3, 1, 0}, {3, 3, 0}, {3, 4, 576}, {11, 0, 0}, {12, 0, 0x14000000}};
    }
    [[nodiscard]] Kind too_big() const { return kinds()[v6() ? 1 : 2]; }
    // What a station at `source` says about a packet that we sent, to the interface that the packet left by.
    [[nodiscard]] Frame error_about(
        const Frame& packet, const Kind& kind, const IpAddress& source, std::size_t bytes = 500) const
    {
        Frame f;
        f.to = packet.from;
        f.from = packet.to;
        f.tags = packet.tags;
        f.source = source;
        f.destination = packet.source;
        f.protocol = v6() ? protocol_icmpv6 : protocol_icmp;
        f.ttl = 50;
        f.icmp_type = kind.type;
        f.icmp_code = kind.code;
        f.icmp_rest = kind.rest;
        f.payload = quote(packet, bytes);
        return f;
    }
    // The same as it is passed on, to who sent the packet as `original`.
    [[nodiscard]] static Frame passed_on(
        Frame error, Frame original, const Frame& packet, const IpAddress& source, const Interface& out)
    {
        error.to = original.from;
        error.from = out.mac;
        error.tags = original.tags;
        error.source = source;
        error.destination = original.source;
        error.ttl--;
        original.ttl = packet.ttl; // nobody knows what it was
        error.payload = quote(original, error.payload.size());
        return error;
    }
    void expect_to_client(const std::string& what, const Connection& c, const Frame& request, const Frame& error)
    {
        expect_out(what, error, sent(c.backend_side, c.client_side),
            passed_on(error, request, c.forwarded(request), request.destination, c.client_side));
    }
    void expect_to_backend(const std::string& what, const Connection& c, const Frame& answer, const Frame& error)
    {
        const IpAddress source = c.outside == c.client ? error.source : c.outside; // snat: the backend knows us alone
        expect_out(what, error, sent(c.client_side, c.backend_side),
            passed_on(error, answer, c.returned(answer), source, c.backend_side));
    }
    [[nodiscard]] IpAddress inner_router() const { return address(3, 99); }
    [[nodiscard]] IpAddress outer_router() const { return address(1, 99); }
    [[nodiscard]] std::size_t least() const { return (v6() ? 40 : 20) + 8; } // bytes of a quote
};
INSTANTIATE_TEST_SUITE_P(hooks, Icmp, every_way, name_of);

TEST_P(Icmp, errors_of_both_sides_reach_who_sent_the_packet)
{
    for (const flb_forward forward : {FLB_SNAT, FLB_DNAT}) {
        for (const std::uint8_t protocol : {protocol_tcp, protocol_udp}) {
            use({});
            serve(1, {.forward = forward});
            const Connection c = connection(forward, protocol);
            const Frame request = protocol == protocol_tcp ? c.syn() : c.request(0, pattern(100));
            const Frame answer = protocol == protocol_tcp ? c.syn_ack() : c.answer(0, pattern(101));
            play({c.there("request", request), c.back("answer", answer)});
            for (const Kind& kind : kinds()) {
                for (const std::size_t bytes : {least(), least() + 1, least() + 8, least() + 12, std::size_t{500}}) {
                    const std::string what = "type " + std::to_string(kind.type) + ", quoting " + std::to_string(bytes);
                    expect_to_client(what, c, request, error_about(c.forwarded(request), kind, inner_router(), bytes));
                    expect_to_backend(what, c, answer, error_about(c.returned(answer), kind, outer_router(), bytes));
                }
            }
            expect_to_client(
                "by the backend itself", c, request, error_about(c.forwarded(request), kinds()[0], backend_address()));
            expect_to_backend("by the client itself", c, answer, error_about(c.returned(answer), kinds()[0], client()));
        }
    }
}

TEST_P(Icmp, errors_do_not_touch_the_flow)
{
    serve(1);
    const Connection c{*this};
    play(c.handshake());
    const Entry owner = find(c.syn());
    owner.grow_old(1000);
    const std::uint64_t owner_ctl = owner.ctl(), reply_ctl = reply_of(owner).ctl();
    const Frame data = c.request_data(tcp_ack, pattern(900)), answer = c.answer_data(tcp_ack, pattern(900));
    expect_to_client("to the client", c, data, error_about(c.forwarded(data), too_big(), inner_router()));
    expect_to_backend("to the backend", c, answer, error_about(c.returned(answer), too_big(), outer_router()));
    EXPECT_EQ(owner.ctl(), owner_ctl);
    EXPECT_EQ(reply_of(owner).ctl(), reply_ctl);
    EXPECT_EQ(plane().counters(1).packets[0], 3u) << "counted for the backend";
}

TEST_P(Icmp, tags_are_those_of_the_other_side)
{
    serve(1);
    backend(1).hop = hop(backend_mac(), backends(), {{.tci = 7}});
    Connection c{*this};
    c.backend_tags = {{.tci = 7}};
    c.client_tags = {{.tci = 3, .protocol = tag_ad}, {.tci = 4}};
    play(c.handshake());
    const Frame data = c.request_data(tcp_ack, pattern(900)), answer = c.answer_data(tcp_ack, pattern(900));
    expect_to_client("to the client", c, data, error_about(c.forwarded(data), too_big(), inner_router()));
    expect_to_backend("to the backend", c, answer, error_about(c.returned(answer), too_big(), outer_router()));
}

TEST_P(Icmp, a_quoted_packet_without_a_checksum_gets_none)
{
    if (v6())
        return; // must have one
    serve(1);
    const Connection c = connection(FLB_SNAT, protocol_udp);
    Frame request = c.request(0, pattern(50));
    request.without_checksum = true;
    play({c.there("request", request)});
    expect_to_client("no checksum", c, request, error_about(c.forwarded(request), too_big(), inner_router()));
}

TEST_P(Icmp, quoted_options_and_extension_headers_are_followed)
{
    serve(1);
    const Connection c{*this};
    play(c.handshake());
    Frame data = c.request_data(tcp_ack, pattern(60));
    if (v6())
        data.extensions = {hop_by_hop(), destination_options(2), routing(), fragment(0, false)};
    else
        data.options.assign(40, 1);
    expect_to_client("quoted", c, data, error_about(c.forwarded(data), too_big(), inner_router()));
    Frame error = error_about(c.forwarded(data), too_big(), inner_router());
    if (v6())
        error.extensions = {destination_options()};
    else
        error.options.assign(8, 1);
    expect_to_client("around the error", c, data, error);
}

TEST_P(Icmp, a_quote_that_ends_within_its_own_headers_passes)
{
    serve(1);
    const Connection c{*this};
    play(c.handshake());
    const Frame data = c.request_data(tcp_ack, pattern(60));
    const std::size_t network = v6() ? 40 : 20;
    Frame error = error_about(c.forwarded(data), too_big(), inner_router());
    error.length = static_cast<std::uint16_t>((v6() ? 0 : 20) + 7);
    expect_pass("and the ICMP header does so", error);
    error.length = static_cast<std::uint16_t>((v6() ? 0 : 20) + 8 + network - 1);
    expect_pass("and what follows is not of the message", error);
    if (!v6())
        return;
    Frame extended = data;
    extended.extensions.assign(6, destination_options());
    expect_to_client(
        "six extension headers", c, extended, error_about(c.forwarded(extended), too_big(), inner_router()));
    extended.extensions.assign(7, destination_options());
    expect_pass("seven, more than are followed", error_about(c.forwarded(extended), too_big(), inner_router()));
    extended.extensions.assign(2, destination_options());
    for (const std::size_t bytes : {40, 44, 48, 52})
        expect_pass("cut within them", error_about(c.forwarded(extended), too_big(), inner_router(), bytes));
    extended.extensions.assign(2, destination_options(255));
    expect_pass("too long", error_about(c.forwarded(extended), too_big(), inner_router(), 3000));
}

TEST_P(Icmp, a_client_of_our_own_network_is_not_taken_for_us)
{
    serve(1);
    Connection c{*this};
    c.client = address(2, 99); // the first halves of both addresses are the same
    play(c.handshake());
    const Frame answer = c.answer_data(tcp_ack, pattern(60));
    expect_to_backend("from the client's side", c, answer, error_about(c.returned(answer), too_big(), outer_router()));
}

TEST_P(Icmp, dnat_passes_on_nothing_by_tables_that_are_not_whole)
{
    const Connection c = connection(FLB_DNAT);
    const Frame error = error_about(c.returned(c.answer_data(tcp_ack, pattern(99))), too_big(), outer_router());
    serve(1, {.forward = FLB_DNAT, .pick = FLB_PICK_RANDOM});
    expect_pass("picked at random: nobody knows which backend it was", error);
    serve(1, {.forward = FLB_DNAT, .pick = FLB_PICK_HASH_5TUPLE});
    backend(1).flags = 0;
    expect_pass("no backend", error);
    service().flags = 0;
    expect_pass("no service", error);
}

TEST_P(Icmp, dnat_passes_on_by_the_tables_what_has_no_flow)
{
    serve(1, {.forward = FLB_DNAT, .pick = FLB_PICK_HASH_5TUPLE, .backends = {1, 2, 3, 4, 5}});
    for (unsigned n = 0; n < 20; n++) {
        Connection c = connection(FLB_DNAT);
        c.client_port = c.outside_port = static_cast<std::uint16_t>(30000 + n);
        const Outcome syn = run(c.syn());
        ASSERT_EQ(syn.verdict, Verdict::redirect);
        c.backend = find(c.syn()).flow->backend;
        const Frame answer = c.answer_data(tcp_ack, pattern(900)), data = c.request_data(tcp_ack, pattern(900));
        forget_flows();
        expect_to_backend("to the backend that the hash names", c, answer,
            error_about(c.returned(answer), too_big(), outer_router()));
        expect_to_client("to the client, by the kernel's routes", c, data,
            error_about(c.forwarded(data), too_big(), inner_router()));
        EXPECT_EQ(entries().size(), 0u);
    }
}

TEST_P(Icmp, dnat_passes_on_by_the_tables_to_the_port_that_the_client_used)
{
    serve(1, {.forward = FLB_DNAT, .pick = FLB_PICK_HASH_5TUPLE});
    backend(1).port = 0;
    Connection c = connection(FLB_DNAT);
    c.port_there = c.port;
    const Frame answer = c.answer_data(tcp_ack, pattern(900));
    expect_to_backend("by the tables", c, answer, error_about(c.returned(answer), too_big(), outer_router()));
    EXPECT_EQ(entries().size(), 0u);
}

TEST_P(Icmp, what_has_no_flow_and_no_table_is_left_to_the_host)
{
    serve(1);
    serve(2, {.forward = FLB_DNAT, .backends = {2}}); // round robin: the next turn is not the last one's
    const Connection one{*this}, two = Connection{.h = *this, .service = 2, .backend = 2}.kept();
    const Frame answer = one.answer_data(tcp_ack, pattern(99));
    expect_pass("snat, from the client's side", error_about(one.returned(answer), too_big(), outer_router()));
    const Frame data = one.request_data(tcp_ack, pattern(99));
    expect_pass("snat, from the backend's side", error_about(one.forwarded(data), too_big(), inner_router()));
    expect_pass(
        "dnat by turns", error_about(two.returned(two.answer_data(tcp_ack, pattern(99))), too_big(), outer_router()));
}

TEST_P(Icmp, an_orphaned_replys_error_is_not_for_its_former_client)
{
    serve(1);
    const Connection c{*this};
    play(c.handshake());
    const Frame data = c.request_data(tcp_ack, pattern(99));
    find(c.syn()).flow->ctl += 1ULL << FLB_CTL_GENERATION_SHIFT;
    expect_pass("orphaned", error_about(c.forwarded(data), too_big(), inner_router()));
}

TEST_P(Icmp, what_is_no_error_about_a_packet_of_ours_passes)
{
    serve(1);
    const Connection c{*this};
    play(c.handshake());
    const Frame data = c.request_data(tcp_ack, pattern(300));
    const Frame error = error_about(c.forwarded(data), too_big(), inner_router());
    for (const unsigned type : v6() ? std::vector<unsigned>{0, 5, 100, 127, 128, 129, 133, 135, 136, 137, 255}
                                    : std::vector<unsigned>{0, 1, 2, 4, 5, 8, 9, 10, 13, 14, 255}) {
        Frame f = error;
        f.icmp_type = static_cast<std::uint8_t>(type);
        expect_pass("type " + std::to_string(type), f);
    }
    Frame f = error;
    f.destination = stranger();
    f.payload = quote(c.request_data(tcp_ack, pattern(300)), 100);
    expect_pass("quotes a packet that is not one of ours", f);
    f = error;
    f.payload.resize(7);
    expect_pass("quotes nothing", f);
    f = error;
    f.to = {2, 0, 0, 0, 0, 9};
    expect_pass("for another station", f);
    f = error;
    if (v6())
        f.extensions = {fragment(0, true)};
    else
        f.fragment = 0x2000;
    expect_pass("the first fragment of an error", f);
    Frame quoted = c.forwarded(data);
    quoted.bare = true;
    if (v6())
        quoted.extensions = {fragment(10, true)};
    else
        quoted.fragment = 0x2010;
    expect_pass("about a fragment without ports", error_about(quoted, too_big(), inner_router()));
    quoted = c.forwarded(data);
    quoted.protocol = v6() ? protocol_icmpv6 : protocol_icmp;
    expect_pass("about a ping", error_about(quoted, too_big(), inner_router()));
}

TEST_P(Icmp, a_quote_without_ports_is_dropped_if_it_is_ours)
{
    serve(1, {.backends = {1}});
    const Connection c{*this};
    play(c.handshake());
    const Frame sent_there = c.forwarded(c.request_data(tcp_ack)), sent_back = c.returned(c.answer_data(tcp_ack));
    for (std::size_t bytes = v6() ? 40 : 20; bytes < least(); bytes++) {
        expect_drop("from a source address of ours", error_about(sent_there, too_big(), inner_router(), bytes),
            FLB_DROP_icmp_broken);
        expect_drop("from the service", error_about(sent_back, too_big(), outer_router(), bytes), FLB_DROP_icmp_broken);
    }
    for (std::uint8_t& kind : plane().prefilter().kinds)
        kind = 0xff;
    Frame other = sent_back;
    other.source = stranger();
    Frame error = error_about(other, too_big(), outer_router(), 24);
    expect_pass("somebody else's", error);
}

TEST_P(Icmp, truncated_at_every_byte_nothing_is_mangled)
{
    serve(1);
    const Connection c{*this};
    play(c.handshake());
    const Frame error = error_about(c.forwarded(c.request_data(tcp_ack, pattern(40))), too_big(), inner_router());
    const Bytes whole = to_bytes(error);
    for (std::size_t size = hook() == Hook::xdp ? 14 : 14 + (v6() ? 40 : 20); size < whole.size(); size++)
        expect_pass("cut to " + std::to_string(size),
            Bytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size)), backends());
    for (std::size_t at = 14; at < whole.size(); at++) {
        for (const unsigned flip : {0x01u, 0x80u, 0xffu, 0x0fu, 0xf0u}) {
            Bytes bytes = whole;
            bytes[at] = static_cast<std::uint8_t>(bytes[at] ^ flip);
            const Outcome outcome = run(bytes, backends());
            ASSERT_NE(outcome.verdict, Verdict::other) << "byte " << at;
            if (outcome.verdict == Verdict::pass) {
                ASSERT_TRUE(same(bytes, outcome.bytes)) << "byte " << at;
            }
        }
    }
}

TEST_P(Icmp, errors_about_errors_are_not_made)
{
    serve(1);
    const Connection c{*this};
    play(c.handshake());
    const Frame data = c.request_data(tcp_ack, pattern(900));
    Frame error = error_about(c.forwarded(data), too_big(), inner_router());
    error.ttl = 1;
    expect_drop("TTL used up", error, FLB_DROP_ttl_exceeded);
    error.ttl = 9;
    iface(clients()).mtu = 400;
    expect_drop("too big", error, FLB_DROP_too_big);
    backend(1).hop = {};
    expect_drop("no next hop", error_about(c.returned(c.answer_data(tcp_ack, pattern(9))), too_big(), outer_router()),
        FLB_DROP_backend_unresolved);
}

TEST_P(Icmp, a_superseded_backends_error_is_dropped)
{
    serve(1);
    const Connection c{*this};
    play({c.there("SYN", c.syn())});
    const Frame error = error_about(c.forwarded(c.syn()), kinds()[0], backend_address());
    reply_of(find(c.syn())).set_state(FLB_FLOW_SUPERSEDED);
    expect_drop("left for another one", error, FLB_DROP_superseded);
}

} // namespace
} // namespace featherlb::packet
