// SPDX-License-Identifier: Apache-2.0
// Who may open connections: lists of networks, and the rate of one source. limits_test.cpp has the open ones.
#include <arpa/inet.h>

#include "base/network_prefix.h"
#include "harness.h"

namespace featherlb::packet {
namespace {

class Admission : public Harness {
protected:
    void rule(const IpAddress& address, unsigned bits, bool allow, unsigned service_number = 1)
    {
        flb_prefix_key key{};
        key.bits = 32 + bits;
        key.service = service_number;
        key.address = NetworkPrefix::of(address, static_cast<std::uint8_t>(bits)).address.to_abi();
        plane().put_prefix(key, allow);
        service(service_number).flags |= FLB_SERVICE_LISTS;
    }
    [[nodiscard]] unsigned all_bits() const { return v6() ? 128 : 32; }
    // A SYN from one of the client's ports; snat takes the next of ours for each connection.
    [[nodiscard]] Frame syn_from(const IpAddress& client, unsigned port_offset = 0) const
    {
        Connection c = connection();
        c.client = client;
        Frame f = c.syn();
        f.sport = static_cast<std::uint16_t>(f.sport + port_offset);
        return f;
    }
    void expect_served(const std::string& what, const Frame& f)
    {
        EXPECT_EQ(run(f).verdict, sent(clients(), backends())) << what;
    }
    // The clock of rates stands still here; this lets the time of `connections` of them pass.
    void pass_time(unsigned connections)
    {
        constexpr std::uint64_t time = (1ULL << 40) - 1;
        const std::uint64_t interval = (std::uint64_t{Plane::hz} * 60 << 16) / service().source_rate;
        for (std::uint64_t& word : plane().limit_rates())
            if (word)
                word = (word & ~time) | ((word - connections * interval) & time);
    }
    void limit_rate(std::uint32_t burst)
    {
        service().source_rate = 6000; // a minute; an interval is more than the test takes
        service().source_burst = burst;
    }
};
INSTANTIATE_TEST_SUITE_P(hooks, Admission, every_way, name_of);

TEST_P(Admission, a_denied_client_is_dropped_whatever_it_sends)
{
    serve(1);
    rule(client(), all_bits(), false);
    const Connection c{*this};
    expect_drop("SYN", c.syn(), FLB_DROP_denied);
    expect_drop("a segment of an unknown connection", c.request_data(tcp_ack), FLB_DROP_denied);
    expect_drop("UDP", connection(FLB_SNAT, protocol_udp).request(), FLB_DROP_denied);
    EXPECT_EQ(entries().size(), 0u);
    expect_served("another client", syn_from(client(1)));
}

TEST_P(Admission, the_most_specific_network_decides)
{
    serve(1);
    const unsigned wide = v6() ? 16 : 8, narrow = v6() ? 64 : 16;
    rule(client(), wide, false);
    expect_drop("in the wide one", syn_from(client()), FLB_DROP_denied);
    rule(client(), narrow, true);
    expect_served("in the narrow one", syn_from(client()));
    rule(client(1), all_bits(), false);
    expect_drop("an exception of it", syn_from(client(1)), FLB_DROP_denied);
    expect_drop("outside of the narrow one", syn_from(address(99, 1)), FLB_DROP_denied);
}

TEST_P(Admission, an_allow_list_denies_all_others)
{
    serve(1);
    rule(client(), 0, false); // what the daemon adds to an allow list
    rule(client(), all_bits(), true);
    expect_served("on the list", syn_from(client()));
    expect_drop("not on it", syn_from(client(1)), FLB_DROP_denied);
}

TEST_P(Admission, lists_are_a_services_own)
{
    serve(1);
    serve(2, {.backends = {2}});
    rule(client(), all_bits(), false, 2);
    expect_served("the other service", syn_from(client()));
    Frame f = syn_from(client());
    f.destination = service_address(2);
    expect_drop("this one", f, FLB_DROP_denied);
    service(2).flags &= ~FLB_SERVICE_LISTS;
    expect_served("without lists", f);
}

TEST_P(Admission, a_connection_that_is_known_goes_on)
{
    serve(1);
    const Connection c{*this};
    play(c.handshake());
    rule(client(), all_bits(), false);
    play({c.there("data", c.request_data(tcp_ack, pattern(10))), c.back("data", c.answer_data(tcp_ack, pattern(9)))});
    expect_drop("a new one", syn_from(client(), 1), FLB_DROP_denied);
}

TEST_P(Admission, a_source_may_open_as_many_at_once_as_its_burst)
{
    serve(1);
    limit_rate(3);
    for (unsigned n = 0; n < 3; n++)
        expect_served("within", syn_from(client(), n));
    expect_drop("one more", syn_from(client(), 3), FLB_DROP_source_rate);
    expect_drop("and UDP", connection(FLB_SNAT, protocol_udp).request(), FLB_DROP_source_rate);
    expect_served("another source", syn_from(address(55, 1)));
    expect_served("repeated SYN of a known connection", syn_from(client(), 0));
}

// A client that meets a dead backend knows nothing of it, and opens one connection.
TEST_P(Admission, a_syn_that_goes_to_another_backend_is_not_charged_again)
{
    serve(1, {.backends = {1, 2}});
    service().flags |= FLB_SERVICE_SYN_FAILOVER;
    limit_rate(1);
    const Connection c = connection();
    play({c.there("SYN", c.syn())});
    find(c.syn()).flow->aux -= Plane::hz;
    expect_served("again", c.syn());
    EXPECT_EQ(find(c.syn()).flow->backend, 2u);
    expect_drop("another one", syn_from(client(), 1), FLB_DROP_source_rate);
}

// Neither is an open UDP connection that leaves a dead backend, and lists that have changed do not stop it.
TEST_P(Admission, an_open_connection_that_leaves_its_backend_is_not_a_new_one)
{
    serve(1, {.backends = {1, 2}});
    limit_rate(1);
    const Connection c = connection(FLB_SNAT, protocol_udp);
    play({c.there("first", c.request()), c.back("answer", c.answer()), c.there("second", c.request())});
    rule(client(), all_bits(), false);
    backend(1).flags = FLB_BACKEND_VALID | FLB_BACKEND_REHASH_UDP;
    put_slots(1, {2});
    expect_served("to the other backend", c.request());
    EXPECT_EQ(find(c.request()).flow->backend, 2u);
}

TEST_P(Admission, time_gives_back_one_after_another)
{
    serve(1);
    limit_rate(2);
    expect_served("first", syn_from(client(), 0));
    expect_served("second", syn_from(client(), 1));
    for (unsigned n = 2; n < 6; n++) {
        expect_drop("none left", syn_from(client(), n), FLB_DROP_source_rate);
        pass_time(1);
        expect_served("one more", syn_from(client(), n));
    }
    pass_time(100);
    expect_served("after a long pause", syn_from(client(), 6));
    expect_served("no more than the burst", syn_from(client(), 7));
    expect_drop("no more than the burst", syn_from(client(), 8), FLB_DROP_source_rate);
}

TEST_P(Admission, a_lower_limit_holds_at_once)
{
    serve(1);
    limit_rate(50);
    for (unsigned n = 0; n < 20; n++)
        expect_served("within", syn_from(client(), n));
    service().source_burst = 1;
    expect_served("what was charged under the old limit is forgotten", syn_from(client(), 30));
    expect_drop("one more", syn_from(client(), 31), FLB_DROP_source_rate);
}

TEST_P(Admission, a_source_is_an_ipv4_address_or_an_ipv6_network_of_64_bits)
{
    serve(1);
    limit_rate(1);
    expect_served("first", syn_from(client(0)));
    if (v6())
        expect_drop("its neighbour", syn_from(client(1)), FLB_DROP_source_rate);
    else
        expect_served("its neighbour", syn_from(client(1)));
}

TEST_P(Admission, a_flood_of_other_sources_does_not_make_a_busy_one_forgotten)
{
    serve(1);
    limit_rate(20);
    for (unsigned n = 0; n < 20; n++)
        expect_served("within", syn_from(client(), n));
    for (unsigned n = 0; n < 5000; n++) // as many as ten times the room
        static_cast<void>(run(syn_from(address(60 + n / 250, 1 + n % 250))));
    expect_drop("still none left", syn_from(client(), 20), FLB_DROP_source_rate);
}

TEST_P(Admission, a_client_that_is_denied_is_not_charged)
{
    serve(1);
    limit_rate(1);
    rule(client(), all_bits(), false);
    expect_drop("denied", syn_from(client()), FLB_DROP_denied);
    service().flags &= ~FLB_SERVICE_LISTS;
    expect_served("now allowed", syn_from(client()));
}

} // namespace
} // namespace featherlb::packet
