// SPDX-License-Identifier: Apache-2.0
// Services on ranges of ports: backends without a port of their own get what the client's packet was addressed to.
#include <arpa/inet.h>

#include "harness.h"

namespace featherlb::packet {
namespace {

class ClientPorts : public Harness {
protected:
    static constexpr std::uint16_t first_ = 8000, last_ = 8003;

    // Service 1 on the ports, with `backends` of this port (0: none).
    void serve_range(flb_forward forward, std::uint16_t backend_port, const std::vector<unsigned>& numbers = {1},
        flb_pick how = FLB_PICK_TURN)
    {
        use({});
        serve(1, {.forward = forward, .pick = how, .backends = numbers});
        service().flags |= FLB_SERVICE_SYN_FAILOVER;
        for (const unsigned number : numbers)
            backend(number).port = htons(backend_port);
        for (std::uint16_t port = first_; port <= last_; port++)
            for (const std::uint8_t protocol : {protocol_tcp, protocol_udp})
                listen(service_address(), port, protocol, 1);
    }
    // The n-th connection: each from another port of the client, to another port of the service.
    [[nodiscard]] Connection to_port(flb_forward forward, std::uint8_t protocol, std::uint16_t n) const
    {
        Connection c{.h = *this, .protocol = protocol};
        c.port = c.port_there = static_cast<std::uint16_t>(first_ + n);
        c.client_port = static_cast<std::uint16_t>(client_port + n);
        c.outside_port = static_cast<std::uint16_t>(first_snat_port + n);
        return forward == FLB_SNAT ? c : c.kept();
    }
    void talk(const Connection& c)
    {
        if (c.protocol == protocol_tcp)
            play(c.handshake());
        play({c.there("to the backend", c.request_data(tcp_ack, pattern(33))),
            c.back("to the client", c.answer_data(tcp_ack, pattern(1300))),
            c.there("again", c.request_data(tcp_ack, pattern(34)))});
    }
};
INSTANTIATE_TEST_SUITE_P(hooks, ClientPorts, every_way, name_of);

TEST_P(ClientPorts, a_backend_without_a_port_keeps_that_of_the_client)
{
    for (const flb_forward forward : {FLB_SNAT, FLB_DNAT}) {
        for (const std::uint8_t protocol : {protocol_tcp, protocol_udp}) {
            serve_range(forward, 0);
            for (std::uint16_t n = 0; n <= last_ - first_; n++)
                talk(to_port(forward, protocol, n));
            expect_sound_table();
            EXPECT_EQ(entries().size(), 8u);
        }
    }
}

TEST_P(ClientPorts, all_ports_of_a_range_lead_to_the_port_of_a_backend_that_has_one)
{
    for (const flb_forward forward : {FLB_SNAT, FLB_DNAT}) {
        for (const std::uint8_t protocol : {protocol_tcp, protocol_udp}) {
            serve_range(forward, backend_port);
            for (std::uint16_t n = 0; n <= last_ - first_; n++) {
                Connection c = to_port(forward, protocol, n);
                c.port_there = backend_port;
                talk(c);
            }
            expect_sound_table();
        }
    }
}

TEST_P(ClientPorts, what_is_beside_the_range_is_not_ours)
{
    serve_range(FLB_SNAT, 0);
    for (const int port : {first_ - 1, last_ + 1}) {
        Connection c = connection();
        c.port = static_cast<std::uint16_t>(port);
        expect_pass("SYN", c.syn());
    }
}

TEST_P(ClientPorts, one_client_port_may_talk_to_several_ports_of_a_backend)
{
    serve_range(FLB_DNAT, 0);
    for (std::uint16_t n = 0; n < 2; n++) {
        Connection c = to_port(FLB_DNAT, protocol_tcp, n);
        c.client_port = c.outside_port = client_port;
        talk(c);
    }
    expect_sound_table();
}

TEST_P(ClientPorts, a_repeated_syn_takes_its_port_to_another_backend)
{
    for (const flb_forward forward : {FLB_SNAT, FLB_DNAT}) {
        serve_range(forward, 0, {1, 2});
        const Connection c = to_port(forward, protocol_tcp, 0);
        play({c.there("SYN", c.syn())});
        find(c.syn()).flow->aux -= Plane::hz / 4;
        Connection other = c;
        other.backend = 2;
        play({other.there("SYN again", c.syn()), other.back("SYN-ACK", other.syn_ack()),
            other.there("ACK", c.first_ack())});
        expect_drop("late answer", c.syn_ack(), FLB_DROP_superseded);
    }
}

TEST_P(ClientPorts, dnat_picks_up_a_connection_in_its_middle)
{
    serve_range(FLB_DNAT, 0, {1}, FLB_PICK_HASH_5TUPLE);
    const Connection c = to_port(FLB_DNAT, protocol_tcp, 3);
    play({c.there("segment", c.request_data(tcp_ack, pattern(10))),
        c.back("its answer", c.answer_data(tcp_ack, pattern(11)))});
}

// As the daemon fills `sources`: a row for each port.
TEST_P(ClientPorts, dnat_sends_a_backends_packet_without_a_flow_as_the_service_from_its_port)
{
    serve_range(FLB_DNAT, 0);
    for (const std::uint8_t protocol : {protocol_tcp, protocol_udp}) {
        for (std::uint16_t port = first_; port <= last_; port++) {
            flb_listener_key key{};
            key.address = backend(1).address;
            key.port = htons(port);
            key.protocol = protocol;
            key.family = static_cast<std::uint8_t>(GetParam().family);
            plane().put_source(key, {service_address().to_abi(), htons(port), 0, 1});
        }
        const Connection c = to_port(FLB_DNAT, protocol, 2);
        play({c.back("answer", c.answer_data(tcp_ack, pattern(30)))});
    }
    EXPECT_EQ(entries().size(), 0u);
}

TEST_P(ClientPorts, tcp_and_udp_on_one_port_are_one_service_or_two)
{
    serve(1, {.backends = {1}});
    serve(2, {.backends = {2}});
    listen(service_address(1), 53, protocol_tcp, 1);
    listen(service_address(1), 53, protocol_udp, 2);
    for (const std::uint8_t protocol : {protocol_tcp, protocol_udp}) {
        Connection both{.h = *this, .protocol = protocol}; // port 80 of service 1: backend 1 for both
        both.outside_port = static_cast<std::uint16_t>(first_snat_port + (protocol == protocol_udp));
        talk(both);
    }
    for (const std::uint8_t protocol : {protocol_tcp, protocol_udp}) {
        Connection c{.h = *this, .protocol = protocol};
        c.port = 53;
        c.backend = protocol == protocol_tcp ? 1 : 2;
        c.client_port = 40001;
        c.outside_port = static_cast<std::uint16_t>(first_snat_port + (protocol == protocol_tcp ? 2 : 0));
        talk(c);
    }
    expect_sound_table();
}

} // namespace
} // namespace featherlb::packet
