// SPDX-License-Identifier: Apache-2.0
// bpf/copy.bpf.c on the host: what it puts into a flow table, the packet programs take for their own.
// tests/packet/dataplane_copy_test.cpp has whole tables, through the kernel.
#include <cstring>

#include <arpa/inet.h>

#include "../harness.h"
#include "engine.h"

namespace featherlb::packet {
namespace {

class Copies : public Harness {
protected:
    // What the table has of a connection, to be inserted.
    [[nodiscard]] flb_copy copy_of(const Frame& request) const
    {
        const Entry owner = find(request);
        const Entry reply = owner.flow->pair == FLB_NO_PAIR ? Entry{} : reply_of(owner);
        flb_copy copy{.what = FLB_COPY_INSERT,
            .v6 = v6(),
            .backend = owner.flow->backend,
            .state = owner.state(),
            .age = owner.age(),
            .aux = owner.flow->aux};
        copy.owner = contents(*owner.flow);
        if (reply.exists()) {
            copy.reply_state = reply.state();
            copy.reply_age = reply.age();
            copy.reply = contents(*reply.flow);
        }
        return copy;
    }
    static unsigned put(flb_copy& copy)
    {
        host::run_copies({&copy, 1});
        return copy.result;
    }
    // The same connection by another port of the client; `outside`: its port towards the backend, 0: the same.
    void set_ports_of(flb_copy& copy, std::uint16_t client, std::uint16_t outside = 0) const
    {
        set_port(copy.owner.key, false, client);
        copy.reply.dport = htons(client);
        if (outside == 0)
            return;
        set_port(copy.reply.key, true, outside);
        copy.owner.sport = htons(outside);
    }
    // Established, with a reply's entry.
    Connection open(flb_forward forward, std::uint8_t protocol = protocol_tcp)
    {
        use({});
        serve(1, {.forward = forward});
        return begin(connection(forward, protocol));
    }
    Connection begin(Connection c)
    {
        if (c.protocol == protocol_tcp)
            play(c.handshake());
        else
            play({c.there("first", c.request(0, pattern(5))), c.back("answer", c.answer(0, pattern(5))),
                c.there("second", c.request(0, pattern(5)))});
        return c;
    }
    static flb_copy follow(flb_copy copy, flb_copy_what what, unsigned state)
    {
        copy.what = what;
        copy.seen = copy.state;
        copy.state = state;
        return copy;
    }
    static Frame request_of(const Connection& c)
    {
        return c.protocol == protocol_tcp ? c.request_data(tcp_ack, pattern(9)) : c.request(0, pattern(9));
    }
    static Frame answer_of(const Connection& c)
    {
        return c.protocol == protocol_tcp ? c.answer_data(tcp_ack, pattern(9)) : c.answer(0, pattern(9));
    }

private:
    [[nodiscard]] flb_copy_entry contents(const flb_flow& flow) const
    {
        flb_copy_entry entry{.hop = flow.hop,
            .sport = flow.sport,
            .dport = flow.dport,
            .addresses_delta = flow.addresses_delta,
            .ports_delta = flow.ports_delta};
        const auto* words = reinterpret_cast<const std::uint8_t*>(&flow + 1);
        const std::size_t key = v6() ? sizeof(flb_tuple6) : sizeof(flb_tuple4), addresses = v6() ? 32 : 8;
        std::memcpy(entry.key, words, key);
        std::memcpy(entry.addresses, words + key, addresses);
        return entry;
    }
    template <typename Tuple>
    static void set_port(__u64* key, bool destination, std::uint16_t port)
    {
        Tuple tuple{};
        std::memcpy(&tuple, key, sizeof(tuple));
        (destination ? tuple.dport : tuple.sport) = htons(port);
        std::memcpy(key, &tuple, sizeof(tuple));
    }
    void set_port(__u64* key, bool destination, std::uint16_t port) const
    {
        v6() ? set_port<flb_tuple6>(key, destination, port) : set_port<flb_tuple4>(key, destination, port);
    }
};
INSTANTIATE_TEST_SUITE_P(hooks, Copies, every_way, name_of);

TEST_P(Copies, of_a_connection_go_on_as_if_nothing_had_happened)
{
    for (const flb_forward forward : {FLB_SNAT, FLB_DNAT}) {
        for (const std::uint8_t protocol : {protocol_tcp, protocol_udp}) {
            const Connection c = open(forward, protocol);
            flb_copy copy = copy_of(request_of(c));
            forget_flows();
            EXPECT_EQ(put(copy), unsigned{FLB_COPY_DONE});
            EXPECT_EQ(find(request_of(c)).generation(), copy.generation);
            EXPECT_EQ(plane().loads()[1].open, 1u);
            play({c.there("data", request_of(c)), c.back("data", answer_of(c))});
            expect_sound_table();
            EXPECT_EQ(put(copy), unsigned{FLB_COPY_KNOWN});
        }
    }
}

TEST_P(Copies, of_one_way_have_no_reply)
{
    use({});
    serve(1, {.forward = FLB_DSR});
    const Frame syn = connection(FLB_DNAT).syn();
    (void)run(syn);
    flb_copy copy = copy_of(syn);
    forget_flows();
    EXPECT_EQ(put(copy), unsigned{FLB_COPY_DONE});
    EXPECT_EQ(entries().size(), 1u);
    EXPECT_EQ(run(syn).verdict, sent(clients(), backends()));
    flb_copy release = follow(copy, FLB_COPY_RELEASE, copy.state);
    EXPECT_EQ(put(release), unsigned{FLB_COPY_DONE});
    EXPECT_TRUE(entries().empty());
}

TEST_P(Copies, are_counted_by_their_source_once_they_are_proven)
{
    const Connection c = open(FLB_SNAT);
    service().source_connections = 5;
    flb_copy established = copy_of(request_of(c)), syn = established;
    forget_flows();
    established.counted = 1;
    EXPECT_EQ(put(established), unsigned{FLB_COPY_DONE});
    EXPECT_EQ(plane().counted(1, client()), 1u);

    syn.state = FLB_FLOW_SYN_ACK;
    syn.reply_state = FLB_FLOW_REPLY_NEW;
    set_ports_of(syn, client_port + 1, first_snat_port + 1);
    EXPECT_EQ(put(syn), unsigned{FLB_COPY_DONE});
    flb_copy proof = follow(syn, FLB_COPY_ADVANCE, FLB_FLOW_ESTABLISHED);
    proof.reply_state = FLB_FLOW_REPLY;
    proof.counted = 1;
    EXPECT_EQ(put(proof), unsigned{FLB_COPY_DONE});
    EXPECT_EQ(plane().counted(1, client()), 2u);
    EXPECT_EQ(plane().loads()[1].open, 2u);
    expect_sound_table();
    EXPECT_EQ(put(proof), unsigned{FLB_COPY_GONE}) << "it is not in that state any more";
}

TEST_P(Copies, follow_what_became_of_the_connection_meanwhile)
{
    const Connection c = open(FLB_SNAT);
    flb_copy copy = copy_of(request_of(c));
    forget_flows();
    EXPECT_EQ(put(copy), unsigned{FLB_COPY_DONE});
    const auto age = [&] { return find(request_of(c)).age(); };

    flb_copy older = follow(copy, FLB_COPY_ADVANCE, copy.state);
    older.age--;
    older.reply_age--;
    EXPECT_EQ(put(older), unsigned{FLB_COPY_DONE});
    EXPECT_EQ(age(), copy.age) << "a packet was faster";
    flb_copy newer = follow(copy, FLB_COPY_ADVANCE, copy.state);
    newer.age += 7;
    newer.reply_age += 7;
    EXPECT_EQ(put(newer), unsigned{FLB_COPY_DONE});
    EXPECT_EQ(age(), copy.age + 7);

    flb_copy closed = follow(copy, FLB_COPY_ADVANCE, FLB_FLOW_FIN_CLIENT);
    EXPECT_EQ(put(closed), unsigned{FLB_COPY_DONE});
    EXPECT_EQ(find(request_of(c)).state(), unsigned{FLB_FLOW_FIN_CLIENT});
    flb_copy late = follow(copy, FLB_COPY_RELEASE, copy.state);
    EXPECT_EQ(put(late), unsigned{FLB_COPY_GONE}) << "it is in another state";
    flb_copy stranger = follow(closed, FLB_COPY_ADVANCE, FLB_FLOW_ESTABLISHED);
    stranger.generation++;
    EXPECT_EQ(put(stranger), unsigned{FLB_COPY_GONE}) << "and this is another connection";
    stranger.index = ~0u;
    EXPECT_EQ(put(stranger), unsigned{FLB_COPY_GONE});

    flb_copy release = follow(closed, FLB_COPY_RELEASE, closed.state);
    EXPECT_EQ(put(release), unsigned{FLB_COPY_DONE});
    EXPECT_TRUE(entries().empty());
    EXPECT_EQ(plane().loads()[1].open, 0u);
}

TEST_P(Copies, do_not_take_the_place_of_what_is_alive)
{
    for (unsigned state = FLB_FLOW_BUSY; state < FLB_FLOW_STATES; state++) {
        if ((FLB_FLOW_REPLIES >> state & 1) != 0 || (state > FLB_FLOW_SUPERSEDED && state < FLB_FLOW_ESTABLISHED))
            continue;
        for (const std::uint32_t idle : {0u, 10u, 1u << 20}) {
            const Connection c = open(FLB_SNAT);
            flb_copy copy = copy_of(request_of(c));
            set_ports_of(copy, client_port + 1); // the reply's key is the same
            const Entry owner = find(request_of(c));
            reply_of(owner).grow_old(idle);
            owner.set_state(state);
            owner.grow_old(idle);
            const unsigned result = put(copy);
            if (state == FLB_FLOW_ESTABLISHED)
                EXPECT_EQ(result, unsigned{idle == 1u << 20 ? FLB_COPY_DONE : FLB_COPY_KNOWN});
            else if (state == FLB_FLOW_BUSY && idle == 0)
                EXPECT_EQ(result, unsigned{FLB_COPY_CONTENDED});
            else
                EXPECT_LE(result, unsigned{FLB_COPY_KNOWN});
        }
    }
}

TEST_P(Copies, replace_by_the_rules_of_the_table)
{
    for (const unsigned state : {FLB_FLOW_REPLY_NEW, FLB_FLOW_SUPERSEDED, FLB_FLOW_REPLY}) {
        for (const std::uint32_t idle : {0u, 1u << 20}) {
            const Connection c = open(FLB_SNAT);
            flb_copy copy = copy_of(request_of(c));
            const Entry owner = find(request_of(c)), reply = reply_of(owner);
            reply.set_state(state);
            reply.grow_old(idle);
            owner.set_state(idle ? FLB_FLOW_EMPTY : FLB_FLOW_SYN_ACK);
            EXPECT_EQ(put(copy) == FLB_COPY_DONE, idle != 0) << state;
        }
    }
}

TEST_P(Copies, that_find_no_room_leave_nothing_behind)
{
    use({8, 8});
    serve(1);
    set_ports(first_snat_port, 5000, 1);
    const Connection c = begin(connection());
    const flb_copy first = copy_of(request_of(c));
    forget_flows();
    unsigned inserted = 0, refused = 0;
    for (std::uint16_t n = 0; refused < 50; n++) {
        flb_copy copy = first;
        copy.reply_age = copy.age -= n % 4;
        set_ports_of(copy, static_cast<std::uint16_t>(1024 + n), static_cast<std::uint16_t>(first_snat_port + n));
        const unsigned result = put(copy);
        ASSERT_TRUE(result == FLB_COPY_DONE || result == FLB_COPY_FULL) << result;
        (result == FLB_COPY_DONE ? inserted : refused)++;
    }
    EXPECT_EQ(entries().size(), 2u * inserted);
    EXPECT_EQ(plane().loads()[1].open, inserted);
    expect_sound_table();
    expect_sound_loads();

    // Those that are not proven give way.
    for (const Entry& entry : entries())
        if (!entry.is_reply())
            entry.set_state(FLB_FLOW_SYN_ACK);
    for (std::uint16_t n = 0; n < 50; n++) {
        flb_copy copy = first;
        set_ports_of(copy, static_cast<std::uint16_t>(9000 + n), static_cast<std::uint16_t>(24000 + n));
        (void)put(copy);
    }
    expect_sound_loads();
}

TEST_P(Copies, come_many_at_a_time)
{
    const Connection c = open(FLB_DNAT);
    std::vector<flb_copy> many(FLB_COPIES, copy_of(request_of(c)));
    forget_flows();
    for (std::uint16_t n = 0; n < FLB_COPIES; n++)
        set_ports_of(many[n], static_cast<std::uint16_t>(2000 + n), static_cast<std::uint16_t>(2000 + n));
    host::run_copies(many);
    for (const flb_copy& one : many)
        EXPECT_EQ(one.result, unsigned{FLB_COPY_DONE});
    EXPECT_EQ(entries().size(), 2u * FLB_COPIES);
    expect_sound_table();
}

} // namespace
} // namespace featherlb::packet
