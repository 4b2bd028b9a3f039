// SPDX-License-Identifier: Apache-2.0
// VLAN tags: a packet leaves with the tags of the way that it goes, whatever it came with.
#include "harness.h"

namespace featherlb::packet {
namespace {

using Tags = std::vector<Tag>;

class Tagged : public Harness {
protected:
    const std::vector<Tags> layouts_ = {{}, {{.tci = 7}}, {{.tci = 0x6123}}, {{.tci = 5, .protocol = tag_ad}},
        {{.tci = 10, .protocol = tag_ad}, {.tci = 20}}, {{.tci = 0x2001}, {.tci = 0xe002}},
        {{.tci = 1, .protocol = tag_ad}, {.tci = 2, .protocol = tag_ad}}};

    void play_all(const Connection& c)
    {
        play(c.handshake());
        play({c.there("data", c.request_data(tcp_ack, pattern(33))),
            c.back("data", c.answer_data(tcp_ack, pattern(1300)))});
        Connection udp = c;
        udp.protocol = protocol_udp;
        if (udp.outside != udp.client)
            udp.outside_port++;
        play({udp.there("question", udp.request(0, pattern(5))), udp.back("answer", udp.answer(0, pattern(6)))});
    }
};
INSTANTIATE_TEST_SUITE_P(hooks, Tagged, every_way, name_of);

TEST_P(Tagged, every_combination_of_tags_at_client_and_backend)
{
    for (const flb_forward forward : {FLB_SNAT, FLB_DNAT}) {
        for (const Tags& client_tags : layouts_) {
            for (const Tags& backend_tags : layouts_) {
                SCOPED_TRACE(::testing::Message() << "snat or dnat " << forward << ", tags " << client_tags.size()
                                                  << ", " << backend_tags.size());
                use({});
                serve(1, {.forward = forward});
                backend(1).hop = hop(backend_mac(), backends(), backend_tags);
                Connection c = connection(forward);
                c.client_tags = client_tags;
                c.backend_tags = backend_tags;
                play_all(c);
            }
        }
    }
}

TEST_P(Tagged, between_two_tags_of_one_interface)
{
    serve(1);
    backend(1).hop = hop(backend_mac(), clients(), {{.tci = 200}});
    Connection c{*this};
    c.backend_side = clients();
    c.client_tags = {{.tci = 100}};
    c.backend_tags = {{.tci = 200}};
    play_all(c);
}

TEST_P(Tagged, replies_of_the_backend_under_other_tags_find_their_flow)
{
    serve(1);
    Connection c{*this};
    c.client_tags = {{.tci = 9}};
    play(c.handshake());
    Frame answer = c.answer_data(tcp_ack, pattern(40));
    Frame out = c.returned(answer);
    answer.tags = {{.tci = 77}};
    expect_out("data", answer, sent(backends(), clients()), out);
}

TEST_P(Tagged, three_tags_are_left_alone)
{
    serve(1);
    Frame syn = Connection{*this}.syn();
    syn.tags = {{.tci = 1, .protocol = tag_ad}, {.tci = 2}, {.tci = 3}};
    expect_pass("SYN under three tags", syn);
}

TEST_P(Tagged, a_reset_goes_back_under_the_same_tags)
{
    serve(1);
    for (const Tags& tags : layouts_) {
        Frame in = Connection{*this}.request_data(tcp_ack);
        in.tags = tags;
        expect_reset(std::to_string(tags.size()) + " tags", in);
    }
}

// The kernel always hands TC the outer tag in metadata. BPF_PROG_TEST_RUN does not, and `selftest` uses that.
TEST_P(Tagged, a_tag_within_the_packet_serves_as_well_as_one_in_metadata)
{
    if (hook() != Hook::tc)
        return; // always so in XDP
    serve(1);
    Connection c{*this};
    c.client_tags = {{.tci = 7}};
    const Outcome outcome = plane().run_untouched(to_bytes(c.syn()), clients().index);
    Frame out = c.forwarded(c.syn());
    EXPECT_EQ(outcome.verdict, Verdict::redirect);
    EXPECT_TRUE(same(to_bytes(out), outcome.bytes));
}

} // namespace
} // namespace featherlb::packet
