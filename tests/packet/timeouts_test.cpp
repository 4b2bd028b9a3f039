// SPDX-License-Identifier: Apache-2.0
// How long flows live. Ages are written into the table; nothing waits.
#include "harness.h"

namespace featherlb::packet {
namespace {

struct Lifetime {
    flb_flow_state state;
    std::uint8_t protocol;
    std::uint32_t ticks; // as in the settings of the harness
};

constexpr std::array lifetimes = {
    Lifetime{FLB_FLOW_SYN, protocol_tcp, 30},
    Lifetime{FLB_FLOW_SYN_ACK, protocol_tcp, 30},
    Lifetime{FLB_FLOW_MIDSTREAM, protocol_tcp, 30},
    Lifetime{FLB_FLOW_ESTABLISHED, protocol_tcp, 7200},
    Lifetime{FLB_FLOW_FIN_CLIENT, protocol_tcp, 120},
    Lifetime{FLB_FLOW_FIN_BACKEND, protocol_tcp, 120},
    Lifetime{FLB_FLOW_CLOSED_CLIENT, protocol_tcp, 10},
    Lifetime{FLB_FLOW_CLOSED_BACKEND, protocol_tcp, 10},
    Lifetime{FLB_FLOW_RESET, protocol_tcp, 2},
    Lifetime{FLB_FLOW_UDP_NEW, protocol_udp, 31},
    Lifetime{FLB_FLOW_UDP_REPLIED, protocol_udp, 31},
    Lifetime{FLB_FLOW_UDP_STREAM, protocol_udp, 125},
};

class Timeouts : public Harness {
protected:
    static constexpr std::uint32_t wrong_ack_ = 4; // proves nothing

    // A connection in this state, both entries `ticks` old.
    Connection aged(const Lifetime& life, std::uint32_t ticks)
    {
        use({});
        serve(1);
        Connection c = connection(FLB_SNAT, life.protocol);
        if (life.protocol == protocol_tcp)
            play(c.handshake());
        else
            play({c.there("question", c.request()), c.back("answer", c.answer()), c.there("question", c.request())});
        const Entry owner = find(c.request()), reply = reply_of(owner);
        owner.set_state(life.state);
        reply.set_state(life.state < FLB_FLOW_ESTABLISHED ? FLB_FLOW_REPLY_NEW : FLB_FLOW_REPLY);
        plane().loads()[c.backend].open = FLB_FLOW_LOAD >> life.state & 1;
        owner.grow_old(ticks);
        reply.grow_old(ticks);
        return c;
    }
    [[nodiscard]] static Frame later_request(const Connection& c)
    {
        Frame f = c.request(tcp_ack, pattern(5));
        f.ack = wrong_ack_;
        return f;
    }
};
INSTANTIATE_TEST_SUITE_P(hooks, Timeouts, every_way, name_of);

TEST_P(Timeouts, a_client_finds_its_flow_until_the_last_tick)
{
    for (const Lifetime& life : lifetimes) {
        SCOPED_TRACE(life.state);
        const Connection c = aged(life, life.ticks);
        const std::uint32_t then = find(c.request()).age();
        play({c.there("from the client", later_request(c))});
        EXPECT_EQ(find(c.request()).age(), then + life.ticks) << "the age is renewed";
        EXPECT_EQ(plane().counters(1).connections, 1u);
    }
}

TEST_P(Timeouts, a_backend_finds_its_flow_until_the_last_tick)
{
    for (const Lifetime& life : lifetimes) {
        SCOPED_TRACE(life.state);
        const Connection c = aged(life, life.ticks);
        const std::uint32_t then = find(c.request()).age();
        play({c.back("from the backend", c.answer(tcp_ack, pattern(5)))});
        EXPECT_EQ(find(c.request()).age(), then + life.ticks) << "the age of the pair is renewed";
        EXPECT_EQ(find(c.answer()).age(), then + life.ticks);
    }
}

TEST_P(Timeouts, after_that_the_client_is_unknown)
{
    for (const Lifetime& life : lifetimes) {
        SCOPED_TRACE(life.state);
        Connection c = aged(life, life.ticks + 1);
        if (life.protocol == protocol_tcp) {
            expect_reset("from the client", later_request(c));
        } else {
            c.outside_port++;
            play({c.there("from the client, a new flow", c.request())});
        }
    }
}

TEST_P(Timeouts, after_that_the_backend_is_unknown)
{
    for (const Lifetime& life : lifetimes) {
        SCOPED_TRACE(life.state);
        const Connection c = aged(life, life.ticks + 1);
        expect_pass("from the backend", c.answer(tcp_ack, pattern(5)));
        EXPECT_EQ(entries().size(), 0u);
    }
}

TEST_P(Timeouts, a_syn_begins_anew_after_any_state)
{
    for (const Lifetime& life : lifetimes) {
        if (life.protocol != protocol_tcp)
            continue;
        SCOPED_TRACE(life.state);
        Connection c = aged(life, life.ticks + 1);
        c.outside_port++;
        play(c.handshake());
        EXPECT_EQ(plane().counters(1).connections, 2u);
        expect_sound_table();
    }
}

TEST_P(Timeouts, packets_of_either_side_alone_keep_the_pair)
{
    for (const Lifetime& life : lifetimes) {
        SCOPED_TRACE(life.state);
        Connection c = aged(life, 0);
        for (int i = 0; i < 5; i++) {
            for (const Entry& entry : entries())
                entry.grow_old(life.ticks);
            play({c.there("only the client sends", later_request(c))});
        }
        EXPECT_EQ(entries().size(), 2u);
        c = aged(life, 0);
        for (int i = 0; i < 5; i++) {
            for (const Entry& entry : entries())
                entry.grow_old(life.ticks);
            play({c.back("only the backend sends", c.answer(tcp_ack))});
        }
        play({c.there("the client", later_request(c))});
    }
}

TEST_P(Timeouts, a_flow_of_this_tick_is_not_written)
{
    serve(1);
    const Connection c{*this};
    play(c.handshake());
    const std::uint64_t owner = find(c.request()).ctl(), reply = find(c.answer()).ctl();
    play({c.there("data", c.request_data(tcp_ack, pattern(3))), c.back("data", c.answer_data(tcp_ack, pattern(4)))});
    EXPECT_EQ(find(c.request()).ctl(), owner);
    EXPECT_EQ(find(c.answer()).ctl(), reply);
}

TEST_P(Timeouts, ages_may_wrap_around)
{
    const Lifetime life{FLB_FLOW_ESTABLISHED, protocol_tcp, 7200};
    const Connection c = aged(life, 0);
    // As if now were small and the flow were from before the counter began again.
    const std::uint32_t now = find(c.request()).age();
    for (const Entry& entry : entries())
        entry.grow_old(now + 100);
    EXPECT_GT(find(c.request()).age(), 0xffff0000u);
    if (now + 100 <= life.ticks)
        play({c.there("data", later_request(c))});
    else
        expect_reset("data", later_request(c));
}

TEST_P(Timeouts, a_reload_may_change_them)
{
    const Lifetime life{FLB_FLOW_ESTABLISHED, protocol_tcp, 7200};
    Connection c = aged(life, 1000);
    plane().settings().timeout[FLB_FLOW_ESTABLISHED] = 999;
    expect_reset("data", later_request(c));
}

} // namespace
} // namespace featherlb::packet
