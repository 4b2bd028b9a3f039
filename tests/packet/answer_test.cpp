// SPDX-License-Identifier: Apache-2.0
// The ICMP errors that we make: too big for the way out, TTL used up.
#include "harness.h"

namespace featherlb::packet {
namespace {

class Answer : public Harness {
protected:
    [[nodiscard]] static Frame used_up(Frame f)
    {
        f.ttl = 1;
        return f;
    }
    // As our tests' tick never moves, so does the budget only by hand.
    void refill()
    {
        for (flb_icmp_budget& budget : plane().icmp_budgets())
            budget = {};
    }
    [[nodiscard]] static unsigned sum(const Bytes& bytes, std::size_t from)
    {
        unsigned total = 0;
        for (std::size_t at = from; at < bytes.size(); at += 2)
            total += static_cast<unsigned>(bytes[at]) << 8 | (at + 1 < bytes.size() ? bytes[at + 1] : 0u);
        return total % 0xffff;
    }
};
INSTANTIATE_TEST_SUITE_P(hooks, Answer, every_way, name_of);

TEST_P(Answer, tells_both_sides_the_mtu_of_the_way_out)
{
    for (const flb_forward forward : {FLB_SNAT, FLB_DNAT}) {
        for (const std::uint8_t protocol : {protocol_tcp, protocol_udp}) {
            use({});
            serve(1, {.forward = forward});
            const Connection c = connection(forward, protocol);
            if (protocol == protocol_tcp)
                play(c.handshake());
            else
                play({c.there("question", c.request()), c.back("answer", c.answer())});
            const Frame large = c.request_data(tcp_ack, pattern(1400)), reply = c.answer_data(tcp_ack, pattern(1400));
            backend(1).mtu = 1400;
            expect_answer("the route's", large, FLB_DROP_too_big, 1400, service_address());
            iface(backends()).mtu = 1300;
            expect_answer("the interface's", large, FLB_DROP_too_big, 1300, service_address());
            iface(clients()).mtu = 1280;
            // a dnat backend sent it to the client, and hears from the service
            expect_answer("to the backend", reply, FLB_DROP_too_big, 1280,
                forward == FLB_SNAT ? snat_address() : service_address());
            EXPECT_EQ(entries().size(), 2u);
        }
    }
}

TEST_P(Answer, also_where_fragmenting_would_be_allowed)
{
    serve(1);
    Frame f = connection(FLB_SNAT, protocol_udp).request(0, pattern(1480));
    f.fragment = 0;
    backend(1).mtu = 1400;
    expect_answer("DF is clear", f, FLB_DROP_too_big, 1400, service_address());
}

TEST_P(Answer, tells_that_the_ttl_is_used_up)
{
    for (const flb_forward forward : {FLB_SNAT, FLB_DNAT}) {
        use({});
        serve(1, {.forward = forward});
        const Connection c = connection(forward);
        expect_answer("of a SYN", used_up(c.syn()), FLB_DROP_ttl_exceeded, 0, service_address());
        play(c.handshake());
        for (const std::size_t payload : {0u, 1u, 2u, 33u, 87u, 88u, 89u, 1400u}) {
            expect_answer("of a segment", used_up(c.request_data(tcp_ack, pattern(payload))), FLB_DROP_ttl_exceeded, 0,
                service_address());
            expect_answer("of the backend's", used_up(c.answer_data(tcp_ack, pattern(payload))), FLB_DROP_ttl_exceeded,
                0, forward == FLB_SNAT ? snat_address() : service_address());
        }
    }
}

TEST_P(Answer, goes_back_under_the_tags_that_the_packet_came_with)
{
    serve(1);
    for (const std::vector<Tag>& tags : std::vector<std::vector<Tag>>{
             {}, {{.tci = 5}}, {{.tci = 0xa00f, .protocol = tag_ad}}, {{.tci = 5, .protocol = tag_ad}, {.tci = 6}}}) {
        Frame f = used_up(Connection{*this}.syn());
        f.tags = tags;
        expect_answer(std::to_string(tags.size()) + " tags", f, FLB_DROP_ttl_exceeded, 0, service_address());
    }
}

TEST_P(Answer, leaves_padding_and_keeps_options)
{
    serve(1);
    const Connection c{*this};
    expect_answer("padded", padded(used_up(c.syn())), FLB_DROP_ttl_exceeded, 0, service_address());
    Frame f = used_up(c.syn());
    f.tcp_options = timestamps();
    if (v6())
        f.extensions = {hop_by_hop(), destination_options(3)};
    else
        f.options.assign(40, 1);
    expect_answer("options", f, FLB_DROP_ttl_exceeded, 0, service_address());
    if (!v6())
        return;
    f.extensions = {destination_options(10)}; // the TCP checksum is beyond what is quoted
    expect_drop("headers that are longer than the quote", f, FLB_DROP_ttl_exceeded);
}

TEST_P(Answer, is_right_as_well_after_the_device_has_finished_a_checksum)
{
    if (hook() != Hook::tc)
        return; // never unfinished in XDP
    serve(1);
    for (const std::size_t payload : {0u, 1u, 500u}) {
        Frame f = used_up(Connection{*this}.syn());
        f.payload = pattern(payload);
        Bytes bytes = run(f).bytes;
        const std::size_t icmp = 14 + (v6() ? 40 : 20), l4 = icmp + 8 + (v6() ? 40 : 20), field = l4 + 16;
        const unsigned before = sum(bytes, icmp);
        const unsigned finished = (0xffff - sum(bytes, l4)) % 0xffff; // what the device writes
        bytes[field] = static_cast<std::uint8_t>(finished >> 8);
        bytes[field + 1] = static_cast<std::uint8_t>(finished);
        EXPECT_EQ(sum(bytes, icmp), before) << payload;
    }
}

TEST_P(Answer, goes_to_no_address_that_is_not_one_stations)
{
    serve(1);
    Frame f = used_up(Connection{*this}.syn());
    for (const char* source :
        v6() ? std::vector<const char*>{"ff02::1", "::"}
             : std::vector<const char*>{"224.0.0.1", "255.255.255.255", "240.0.0.1", "0.0.0.0", "127.0.0.1"}) {
        f.source = IpAddress::parse(source).value();
        expect_drop(source, f, FLB_DROP_ttl_exceeded);
    }
}

TEST_P(Answer, has_a_budget)
{
    serve(1);
    const Frame f = used_up(connection(FLB_SNAT, protocol_udp).request());
    unsigned answered = 0, silent = 0;
    for (unsigned n = 0; n < 400; n++)
        (run(f).verdict == Verdict::drop ? silent : answered)++;
    // this many at once on each processor that the runs came to, and those that fell due meanwhile
    EXPECT_GE(answered, 50u);
    EXPECT_GT(silent, 0u);
    EXPECT_EQ(plane().drops(FLB_DROP_ttl_exceeded), 400u) << "counted, answered or not";
    for (flb_icmp_budget& budget : plane().icmp_budgets())
        budget.next_ns = ~0ULL / 2; // long used up
    expect_drop("nothing left", f, FLB_DROP_ttl_exceeded);
    refill();
    expect_answer("after a pause", f, FLB_DROP_ttl_exceeded, 0, service_address());
}

TEST_P(Answer, a_first_fragment_is_answered)
{
    serve(1);
    Frame f = used_up(connection(FLB_SNAT, protocol_udp).request(0, pattern(64)));
    f.udp_length = std::uint16_t{3000};
    if (v6())
        f.extensions = {fragment(0, true)};
    else
        f.fragment = 0x2000;
    expect_answer("first", f, FLB_DROP_ttl_exceeded, 0, service_address());
    EXPECT_EQ(plane().fragments().size(), 0u) << "those that follow do not go on either";
}

} // namespace
} // namespace featherlb::packet
