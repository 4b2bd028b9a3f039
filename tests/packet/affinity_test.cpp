// SPDX-License-Identifier: Apache-2.0
// A client stays with its backend: pins, who writes them, how long they live, what they lose to.
#include "harness.h"

namespace featherlb::packet {
namespace {

class Affinity : public Harness {
protected:
    static constexpr std::uint32_t lifetime = 100; // ticks

    // Backends in turn, so that without a pin the next connection goes to the next one.
    void serve_pinned(const std::vector<unsigned>& backend_numbers = {1, 2}, flb_forward forward = FLB_SNAT)
    {
        serve(1, {.forward = forward, .backends = backend_numbers});
        service().affinity_ticks = lifetime;
        service().affinity_prefix = v6() ? 128 : 32;
    }
    // Connection n of a client, expected at a backend.
    [[nodiscard]] Connection nth(unsigned n, unsigned backend_number, unsigned from = 0)
    {
        Connection c = connection();
        c.client = client(from);
        c.backend = backend_number;
        c.client_port = static_cast<std::uint16_t>(client_port + n);
        c.outside_port = static_cast<std::uint16_t>(first_snat_port + made_[backend_number]++);
        return c;
    }
    void expect_handshake(const std::string& what, const Connection& c)
    {
        SCOPED_TRACE(what);
        play(c.handshake());
        now_ = find(c.syn()).age();
    }
    [[nodiscard]] flb_pin_key key_of(const IpAddress& address, unsigned service_number = 1) const
    {
        flb_pin_key key{};
        key.service = service_number;
        key.address = address.to_abi();
        return key;
    }
    void pin(const IpAddress& address, unsigned backend_number, std::uint32_t age)
    {
        plane().put_pin(key_of(address), std::uint64_t{backend_number} << 32 | (now_ - age));
    }
    // {backend, age}; {0, 0}: none.
    [[nodiscard]] std::pair<unsigned, std::uint32_t> pin_of(const IpAddress& address)
    {
        const flb_pin_key key = key_of(address);
        const auto pins = plane().pins();
        const auto found = pins.find(std::string(reinterpret_cast<const char*>(&key), sizeof(key)));
        if (found == pins.end())
            return {0, 0};
        return {static_cast<unsigned>(found->second >> 32), now_ - static_cast<std::uint32_t>(found->second)};
    }
    using Pin = std::pair<unsigned, std::uint32_t>;

    std::uint32_t now_ = 0;

private:
    std::map<unsigned, unsigned> made_; // connections to a backend, each of which takes a port
};
INSTANTIATE_TEST_SUITE_P(hooks, Affinity, every_way, name_of);

TEST_P(Affinity, a_clients_next_connections_go_where_its_last_one_went)
{
    serve_pinned();
    expect_handshake("first", nth(0, 1));
    for (unsigned n = 1; n < 5; n++)
        expect_handshake("next", nth(n, 1));
    expect_handshake("another client", nth(0, 2, 1));
    expect_handshake("its next", nth(1, 2, 1));
    expect_handshake("a third", nth(0, 1, 2));
    EXPECT_EQ(pin_of(client(0)), Pin(1, 0));
    EXPECT_EQ(pin_of(client(1)), Pin(2, 0));
}

TEST_P(Affinity, only_a_proven_connection_writes_a_pin)
{
    serve_pinned({1});
    const Connection c = nth(0, 1);
    play({c.there("SYN", c.syn()), c.back("SYN-ACK", c.syn_ack())});
    Frame forged = c.first_ack();
    forged.ack = 9;
    play({c.there("a forged ACK", forged)});
    EXPECT_TRUE(plane().pins().empty());
    play({c.there("ACK", c.first_ack())});
    EXPECT_EQ(plane().pins().size(), 1u);
}

TEST_P(Affinity, a_flood_of_forged_packets_writes_no_pin)
{
    serve_pinned({1});
    for (unsigned n = 0; n < 300; n++) {
        Frame f = connection(FLB_SNAT, n % 2 ? protocol_tcp : protocol_udp).request(n % 2 ? tcp_syn : 0);
        f.source = client(n % 200);
        f.sport = static_cast<std::uint16_t>(f.sport + n);
        static_cast<void>(run(f));
    }
    EXPECT_TRUE(plane().pins().empty());
    EXPECT_EQ(plane().events(FLB_EVENT_pin_refused), 0u);
}

TEST_P(Affinity, a_pin_lives_until_its_last_tick_and_slides)
{
    serve_pinned();
    expect_handshake("first", nth(0, 1));
    pin(client(), 1, lifetime);
    expect_handshake("at the last tick", nth(1, 1));
    EXPECT_EQ(pin_of(client()), Pin(1, 0)) << "used, so it begins anew";
    pin(client(), 1, lifetime + 1);
    expect_handshake("after it: the next in turn", nth(2, 2));
    EXPECT_EQ(pin_of(client()), Pin(2, 0)) << "and the pin is rewritten";
}

TEST_P(Affinity, a_connection_that_closes_has_used_its_pin)
{
    serve_pinned();
    const Connection c = nth(0, 1);
    expect_handshake("first", c);
    pin(client(), 1, 90);
    play({c.there("FIN", c.request_data(tcp_ack | tcp_fin))});
    EXPECT_EQ(pin_of(client()), Pin(1, 90));
    play({c.back("FIN", c.answer_data(tcp_ack | tcp_fin))});
    EXPECT_EQ(pin_of(client()), Pin(1, 0));
}

TEST_P(Affinity, a_connection_in_use_keeps_its_pin)
{
    serve_pinned();
    const Connection c = nth(0, 1);
    expect_handshake("first", c);
    for (const bool from_client : {true, false}) {
        pin(client(), 1, 90);
        for (const Entry& entry : entries())
            entry.grow_old(16);
        if (from_client)
            play({c.there("data", c.request_data(tcp_ack, pattern(3)))});
        else
            play({c.back("data", c.answer_data(tcp_ack, pattern(3)))});
        EXPECT_EQ(pin_of(client()), Pin(1, 0));
    }
}

TEST_P(Affinity, an_older_connection_to_another_backend_leaves_the_pin_alone)
{
    serve_pinned();
    const Connection c = nth(0, 1);
    expect_handshake("first", c);
    pin(client(), 2, 50);
    for (const Entry& entry : entries())
        entry.grow_old(16);
    play({c.there("data", c.request_data(tcp_ack, pattern(3))), c.there("RST", c.request_data(tcp_rst))});
    EXPECT_EQ(pin_of(client()), Pin(2, 50));
}

TEST_P(Affinity, a_backend_that_takes_no_connections_is_replaced)
{
    const auto up = FLB_BACKEND_VALID | FLB_BACKEND_UP;
    for (const std::uint32_t flags : {FLB_BACKEND_VALID, up | FLB_BACKEND_DRAINING, FLB_BACKEND_UP, 0u}) {
        SCOPED_TRACE(flags);
        use({});
        serve_pinned({1});
        backend(2).flags = flags;
        backend(2).service = 1;
        now_ = 0;
        pin(client(), 2, 0);
        Connection c = connection();
        play(c.handshake());
        EXPECT_EQ(pin_of(client()).first, 1u);
    }
}

TEST_P(Affinity, a_backend_that_cannot_be_reached_is_replaced)
{
    for (const flb_forward forward : {FLB_SNAT, FLB_DNAT}) {
        use({});
        serve_pinned({1, 2}, forward);
        pin(client(), 1, 0);
        backend(1).hop = {};
        put_slots(1, {2});
        (void)run(connection(forward).syn());
        EXPECT_EQ(find(connection(forward).syn()).flow->backend, 2u);
    }
    use({});
    serve_pinned();
    pin(client(), 1, 0);
    backend(1).snat_count = 0;
    put_slots(1, {2});
    (void)run(connection().syn());
    EXPECT_EQ(find(connection().syn()).flow->backend, 2u) << "no source address towards the first";
}

TEST_P(Affinity, a_short_pin_of_a_connection_in_use_lives)
{
    serve_pinned();
    service().affinity_ticks = 5;
    const Connection c = nth(0, 1);
    expect_handshake("first", c);
    pin(client(), 1, 4);
    find(c.syn()).grow_old(1);
    play({c.there("data", c.request_data(tcp_ack, pattern(3)))});
    EXPECT_EQ(pin_of(client()), Pin(1, 0));
}

TEST_P(Affinity, a_backend_that_refuses_is_avoided_but_never_the_last_one)
{
    serve_pinned();
    service().refused_ticks = 5;
    expect_handshake("first", nth(0, 1));
    const Connection refused = nth(1, 1);
    play({refused.there("SYN", refused.syn()), refused.back("RST", refused.answer_data(tcp_rst | tcp_ack))});
    expect_handshake("the next one, elsewhere", nth(2, 2));
    EXPECT_EQ(pin_of(client()), Pin(2, 0)) << "it has another backend now";
    put_slots(1, {1});
    pin(client(), 1, 0);
    expect_handshake("where no other is left", nth(3, 1));
}

TEST_P(Affinity, a_pin_to_a_backend_of_another_service_or_of_none_is_not_followed)
{
    serve_pinned({1});
    serve(2, {.backends = {2}});
    pin(client(), 2, 0);
    play(connection().handshake());
    EXPECT_EQ(pin_of(client()).first, 1u);
    pin(client(), Plane::max_backends + 7, 0);
    Connection c = connection();
    c.client_port++;
    c.outside_port++;
    play(c.handshake());
    EXPECT_EQ(pin_of(client()).first, 1u);
}

TEST_P(Affinity, a_full_map_keeps_the_pins_that_it_has)
{
    serve_pinned();
    expect_handshake("first", nth(0, 1));
    for (unsigned n = 1; plane().pins().size() < Plane::most_pins; n++)
        pin(address(70, n), 1, 5);
    const auto before = plane().pins();
    expect_handshake("no room", nth(0, 2, 1));
    EXPECT_EQ(plane().events(FLB_EVENT_pin_refused), 1u);
    EXPECT_EQ(plane().pins(), before);
    expect_handshake("without a pin, by the algorithm", nth(1, 1, 1));
    expect_handshake("pinned", nth(1, 1));
}

TEST_P(Affinity, udp_is_pinned_as_a_stream)
{
    serve_pinned();
    Connection c = nth(0, 1);
    c.protocol = protocol_udp;
    play({c.there("question", c.request()), c.back("answer", c.answer())});
    EXPECT_TRUE(plane().pins().empty());
    play({c.there("question", c.request())});
    EXPECT_EQ(plane().pins().size(), 1u);
    expect_handshake("TCP goes there, too", nth(1, 1));
}

TEST_P(Affinity, a_network_of_ipv6_clients_may_share_a_pin)
{
    if (!v6())
        return;
    serve_pinned({1, 2, 3});
    service().affinity_prefix = 125; // ::5 to ::7 are in one network, ::8 is not
    expect_handshake("first", nth(0, 1));
    expect_handshake("of the network", nth(0, 1, 2));
    expect_handshake("not of it", nth(0, 2, 3));
    EXPECT_EQ(plane().pins().size(), 2u);
    service().affinity_prefix = 64;
    expect_handshake("the first of the narrow networks begins like the wide one", nth(1, 1));
    expect_handshake("of the wide network", nth(0, 1, 40));
    EXPECT_EQ(plane().pins().size(), 2u);
    service().affinity_prefix = 1;
    expect_handshake("half of the world", nth(2, 3));
    EXPECT_EQ(plane().pins().size(), 3u);
}

TEST_P(Affinity, without_it_nothing_is_written)
{
    serve(1, {.backends = {1, 2}});
    expect_handshake("first", nth(0, 1));
    expect_handshake("next in turn", nth(1, 2));
    EXPECT_TRUE(plane().pins().empty());
}

} // namespace
} // namespace featherlb::packet
