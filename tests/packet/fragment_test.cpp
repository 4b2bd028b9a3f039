// SPDX-License-Identifier: Apache-2.0
// Fragments: those that follow go the way of the first one, under an identification of our own.
#include <algorithm>
#include <set>

#include <arpa/inet.h>

#include "harness.h"

namespace featherlb::packet {
namespace {

constexpr std::uint32_t sent_id = 0x1234;

class Fragments : public Harness {
protected:
    static constexpr std::size_t chunk = 512; // bytes of each fragment; a multiple of eight
    // The fragments of a packet, in order.
    [[nodiscard]] std::vector<Frame> pieces(const Frame& whole, std::uint32_t id = sent_id) const
    {
        const Bytes bytes = to_bytes(whole);
        const Bytes data(bytes.begin() + static_cast<std::ptrdiff_t>(transport_offset(whole)), bytes.end());
        std::vector<Frame> all;
        for (std::size_t at = 0; at < data.size(); at += chunk) {
            const std::size_t end = std::min(at + chunk, data.size());
            const bool more = end < data.size();
            Frame f = whole;
            f.bare = true;
            f.payload.assign(
                data.begin() + static_cast<std::ptrdiff_t>(at), data.begin() + static_cast<std::ptrdiff_t>(end));
            if (v6()) {
                f.extensions.push_back(fragment(static_cast<std::uint16_t>(at / 8), more, id));
            } else {
                f.fragment = static_cast<std::uint16_t>(at / 8 | (more ? 0x2000 : 0));
                f.id = static_cast<std::uint16_t>(id);
            }
            all.push_back(f);
        }
        return all;
    }
    // The identification of a fragment that has no other extension headers and no tags.
    [[nodiscard]] std::uint32_t id_of(const Bytes& bytes) const
    {
        const std::size_t at = v6() ? 14 + 40 + 4 : 14 + 4;
        std::uint32_t id = 0;
        for (std::size_t i = 0; i < (v6() ? 4u : 2u); i++)
            id = id << 8 | bytes.at(at + i);
        return id;
    }
    // The identification that the fragments leave under; all else is compared.
    std::uint32_t expect_carried(
        const std::string& what, const Frame& in, const Frame& out, Verdict verdict, std::uint32_t id = sent_id)
    {
        const std::vector<Frame> parts = pieces(in, id);
        std::uint32_t new_id = 0;
        for (std::size_t i = 0; i < parts.size(); i++) {
            const Outcome outcome = run(parts[i]);
            EXPECT_EQ(outcome.verdict, verdict) << what << ": fragment " << i << " returned " << outcome.code;
            if (i == 0)
                new_id = id_of(outcome.bytes);
            EXPECT_TRUE(same(to_bytes(pieces(out, new_id)[i]), outcome.bytes)) << what << ": fragment " << i;
        }
        EXPECT_EQ(all_drops(), 0u) << what;
        return new_id;
    }
    [[nodiscard]] Verdict there() const { return sent(clients(), backends()); }
};
INSTANTIATE_TEST_SUITE_P(hooks, Fragments, every_way, name_of);

TEST_P(Fragments, are_carried_both_ways)
{
    for (const flb_forward forward : {FLB_SNAT, FLB_DNAT}) {
        use({});
        serve(1, {.forward = forward});
        const Connection c = connection(forward, protocol_udp);
        const Frame question = c.request(0, pattern(2000)), answer = c.answer(0, pattern(1777));
        const std::uint32_t first = expect_carried("opens the flow", question, c.forwarded(question), there());
        const std::uint32_t second = expect_carried("again", question, c.forwarded(question), there());
        EXPECT_EQ(second, v6() ? first + 1 : (first + 1) & 0xffff) << "counted for each pair of addresses";
        expect_carried("answer", answer, c.returned(answer), there());
        expect_sound_table();
        EXPECT_EQ(entries().size(), 2u);
        EXPECT_EQ(plane().counters(1).packets[0], 8u);
        EXPECT_EQ(plane().counters(1).packets[1], 4u);
    }
}

TEST_P(Fragments, of_tcp_are_carried)
{
    serve(1);
    const Connection c{*this};
    play(c.handshake());
    const Frame data = c.request_data(tcp_ack, pattern(1400)), answer = c.answer_data(tcp_ack, pattern(1400));
    expect_carried("data", data, c.forwarded(data), there());
    expect_carried("answer", answer, c.returned(answer), there());
}

TEST_P(Fragments, of_two_clients_with_the_same_identification_are_not_mixed)
{
    for (const flb_forward forward : {FLB_SNAT, FLB_DNAT}) {
        use({});
        serve(1, {.forward = forward});
        std::vector<Connection> connections;
        std::vector<std::vector<Frame>> in, out;
        std::vector<std::uint32_t> ids;
        for (unsigned n = 0; n < 2; n++) {
            Connection c = connection(FLB_SNAT, protocol_udp);
            c.client = client(n);
            c.outside_port = static_cast<std::uint16_t>(c.outside_port + n);
            if (forward == FLB_DNAT)
                c = c.kept();
            Frame question = c.request(0, pattern(1000 + n));
            connections.push_back(c);
            in.push_back(pieces(question));
            const Outcome outcome = run(in[n][0]);
            ids.push_back(id_of(outcome.bytes));
            out.push_back(pieces(c.forwarded(question), ids[n]));
            EXPECT_TRUE(same(to_bytes(out[n][0]), outcome.bytes));
        }
        if (forward == FLB_SNAT) {
            EXPECT_NE(ids[0], ids[1]);
        }
        for (const unsigned n : {1u, 0u}) // interleaved
            EXPECT_TRUE(same(to_bytes(out[n][1]), run(in[n][1]).bytes));
    }
}

TEST_P(Fragments, of_two_backends_with_the_same_identification_are_not_mixed)
{
    serve(1, {.backends = {1, 2}});
    std::set<std::uint32_t> ids;
    for (unsigned n = 1; n <= 2; n++) {
        Connection c{.h = *this, .protocol = protocol_udp, .backend = n};
        c.client_port = static_cast<std::uint16_t>(c.client_port + n);
        play({Step{"question", c.request(0, pattern(9)), there(), c.forwarded(c.request(0, pattern(9)))}});
        const Frame answer = c.answer(0, pattern(1000));
        ids.insert(expect_carried("answer", answer, c.returned(answer), there()));
    }
    EXPECT_EQ(ids.size(), 2u);
}

TEST_P(Fragments, before_their_first_are_dropped_if_they_are_ours)
{
    for (const flb_forward forward : {FLB_SNAT, FLB_DNAT}) {
        use({});
        serve(1, {.forward = forward});
        const Connection c = connection(forward, protocol_udp);
        const std::vector<Frame> question = pieces(c.request(0, pattern(1500)));
        expect_drop("one in the middle", question[1], FLB_DROP_fragment);
        expect_drop("the last", question[2], FLB_DROP_fragment);
        EXPECT_EQ(run(question[0]).verdict, there());
        EXPECT_EQ(run(question[2]).verdict, there()) << "in any order after the first";
        EXPECT_EQ(run(question[1]).verdict, there());
        const std::vector<Frame> answer = pieces(c.answer(0, pattern(1500)));
        if (forward == FLB_SNAT)
            expect_drop("of an answer", answer[1], FLB_DROP_fragment);
        else
            expect_pass("of an answer, to an address that is not ours", answer[1]);
    }
}

TEST_P(Fragments, that_only_look_like_ours_pass)
{
    serve(1);
    for (std::uint8_t& kinds : plane().prefilter().kinds)
        kinds = 0xff;
    const Connection c{.h = *this, .protocol = protocol_udp};
    std::vector<Frame> parts = pieces(c.request(0, pattern(1500)));
    for (Frame& f : parts)
        f.destination = stranger();
    expect_pass("another address", parts[1]);
    parts = pieces(c.request(0, pattern(1500)));
    parts[1].protocol = 132; // SCTP
    expect_pass("another protocol", parts[1]);
    parts[2].to = {2, 0, 0, 0, 0, 9};
    expect_pass("for another station", parts[2]);
}

TEST_P(Fragments, follow_a_first_one_that_is_the_hosts_own)
{
    serve(1);
    const Connection c{.h = *this, .protocol = protocol_udp};
    Frame whole = c.request(0, pattern(1500));
    whole.dport = 53;
    for (const Frame& f : pieces(whole))
        expect_pass("another port of the service address", f);
    whole.destination = snat_address();
    for (const Frame& f : pieces(whole, 77))
        expect_pass("the machine's own address", f);
}

TEST_P(Fragments, do_not_follow_a_first_one_that_was_dropped_or_is_long_gone)
{
    serve(1);
    const Connection c{.h = *this, .protocol = protocol_udp};
    const std::vector<Frame> parts = pieces(c.request(0, pattern(1500)));
    backend(1).hop = {};
    expect_drop("first", parts[0], FLB_DROP_backend_unresolved);
    expect_drop("second", parts[1], FLB_DROP_fragment);
    backend(1).hop = hop(backend_mac(), backends());
    EXPECT_EQ(run(parts[0]).verdict, there());
    for (auto [key, value] : plane().fragments()) {
        value.ticks -= FLB_FRAGMENT_TICKS;
        plane().put_fragment(key, value);
    }
    EXPECT_EQ(run(parts[1]).verdict, there()) << "just in time";
    for (auto [key, value] : plane().fragments()) {
        value.ticks -= 1;
        plane().put_fragment(key, value);
    }
    expect_drop("too late", parts[2], FLB_DROP_fragment);
}

TEST_P(Fragments, of_a_dnat_flow_that_is_not_stored_are_carried)
{
    use({1, 1});
    serve(1, {.forward = FLB_DNAT});
    for (unsigned n = 0; n < 3; n++) {
        Connection c = connection(FLB_DNAT);
        c.client = c.outside = client(n);
        if (n < 2) {
            play(c.handshake());
            continue;
        }
        c.protocol = protocol_udp;
        const Frame question = c.request(0, pattern(1500));
        expect_carried("no room", question, c.forwarded(question), there());
        EXPECT_FALSE(find(question).exists());
    }
}

TEST_P(Fragments, take_the_way_of_the_backend_as_it_is_now)
{
    serve(1);
    const Connection c{.h = *this, .protocol = protocol_udp};
    const std::vector<Frame> parts = pieces(c.request(0, pattern(1500)));
    EXPECT_EQ(run(parts[0]).verdict, there());
    backend(1).hop = hop({2, 2, 2, 2, 2, 2}, clients());
    const Outcome outcome = run(parts[1]);
    EXPECT_EQ(outcome.verdict, sent(clients(), clients()));
    EXPECT_EQ(outcome.bytes[0], 2);
    EXPECT_EQ(outcome.bytes[5], 2);
    backend(1).hop = {};
    expect_drop("no next hop", parts[2], FLB_DROP_backend_unresolved);
}

TEST_P(Fragments, carry_the_tags_of_the_other_side)
{
    serve(1);
    backend(1).hop = hop(backend_mac(), backends(), {{.tci = 7}});
    Connection c{.h = *this, .protocol = protocol_udp};
    c.backend_tags = {{.tci = 7}};
    c.client_tags = {{.tci = 3, .protocol = tag_ad}, {.tci = 4}};
    const std::vector<Frame> question = pieces(c.request(0, pattern(700)));
    const std::size_t at = (v6() ? 14 + 40 + 4 : 14 + 4) + 4;
    const Outcome first = run(question[0]);
    const std::uint32_t id = id_of(Bytes(first.bytes.begin() + 4, first.bytes.end()));
    ASSERT_GT(first.bytes.size(), at);
    const std::vector<Frame> forwarded = pieces(c.forwarded(c.request(0, pattern(700))), id);
    EXPECT_TRUE(same(to_bytes(forwarded[0]), first.bytes));
    EXPECT_TRUE(same(to_bytes(forwarded[1]), run(question[1]).bytes));
    const Frame answer = c.answer(0, pattern(700));
    const Outcome back = run(pieces(answer)[0]);
    const std::uint32_t back_id = id_of(Bytes(back.bytes.begin() + 8, back.bytes.end()));
    EXPECT_TRUE(same(to_bytes(pieces(c.returned(answer), back_id)[0]), back.bytes));
    EXPECT_TRUE(same(to_bytes(pieces(c.returned(answer), back_id)[1]), run(pieces(answer)[1]).bytes));
}

TEST_P(Fragments, that_follow_are_not_answered)
{
    serve(1);
    const Connection c{.h = *this, .protocol = protocol_udp};
    std::vector<Frame> parts = pieces(c.request(0, pattern(1500)));
    EXPECT_EQ(run(parts[0]).verdict, there());
    parts[1].ttl = 1;
    expect_drop("TTL used up", parts[1], FLB_DROP_ttl_exceeded);
    backend(1).mtu = 300;
    expect_drop("too big", parts[2], FLB_DROP_too_big);
}

TEST_P(Fragments, truncated_at_every_byte_nothing_is_mangled)
{
    serve(1);
    const Connection c{.h = *this, .protocol = protocol_udp};
    const std::vector<Frame> parts = pieces(c.request(0, pattern(600)));
    EXPECT_EQ(run(parts[0]).verdict, there());
    const Bytes whole = to_bytes(parts[1]);
    for (std::size_t size = hook() == Hook::xdp ? 14 : 14 + (v6() ? 40 : 20); size < whole.size(); size++) {
        const Bytes part(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
        const Outcome outcome = run(part);
        EXPECT_TRUE(outcome.verdict == Verdict::pass || outcome.verdict == Verdict::drop) << size;
        if (outcome.verdict == Verdict::pass) {
            EXPECT_TRUE(same(part, outcome.bytes)) << size;
        }
    }
}

} // namespace
} // namespace featherlb::packet
