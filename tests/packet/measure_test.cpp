// SPDX-License-Identifier: Apache-2.0
// How long backends take to answer: which packets begin and end a measurement, and which connections give none.
#include <numeric>

#include "harness.h"

namespace featherlb::packet {
namespace {

class MeasureTest : public Harness {
protected:
    // A connection of a service that measures the first byte, after the handshake.
    Connection awaiting(flb_forward forward = FLB_SNAT)
    {
        use({});
        serve(1, {.forward = forward});
        service().flags |= FLB_SERVICE_MEASURE_FIRST_BYTE;
        Connection c = connection(forward);
        play(c.handshake());
        EXPECT_EQ(state(c), FLB_FLOW_AWAITING);
        EXPECT_EQ(reply_state(c), FLB_FLOW_REPLY_MEASURED);
        return c;
    }
    [[nodiscard]] unsigned state(const Connection& c) const { return find(c.request()).state(); }
    [[nodiscard]] unsigned reply_state(const Connection& c) const { return find(c.answer()).state(); }
    [[nodiscard]] static std::uint64_t count(const flb_response_histogram& histogram)
    {
        return std::accumulate(std::begin(histogram.count), std::end(histogram.count), std::uint64_t{0});
    }
    // Samples of backend 1, which are those of its service.
    [[nodiscard]] std::uint64_t samples()
    {
        EXPECT_EQ(count(plane().responses()[1]), count(plane().service_responses()[1]));
        EXPECT_EQ(plane().responses()[1].sum_us, plane().service_responses()[1].sum_us);
        EXPECT_EQ(count(plane().responses()[1]) > 0, plane().loads()[1].response != 0);
        return count(plane().responses()[1]);
    }
    // As if what the flow waits for had begun so much earlier.
    void wait(const Connection& c, std::uint32_t us) { find(c.request()).flow->aux -= us; }
    // The one sample, in microseconds, to the power of two above.
    void expect_sample(std::uint32_t us)
    {
        EXPECT_EQ(samples(), 1u);
        const std::uint64_t sum = plane().responses()[1].sum_us;
        EXPECT_GE(sum, us);
        EXPECT_LT(sum, us + 500000);
        EXPECT_EQ(plane().loads()[1].response & 0xffffffff, sum << 4) << "sixteenths";
        EXPECT_EQ(plane().service_responses()[1].smoothed, plane().loads()[1].response);
        unsigned bits = 0;
        while (sum >> bits)
            bits++;
        EXPECT_EQ(plane().responses()[1].count[bits], 1u);
    }
    [[nodiscard]] Step request(const Connection& c) const
    {
        return c.there("request", c.request_data(tcp_ack | tcp_psh, pattern(9)));
    }
    [[nodiscard]] Step response(const Connection& c, std::uint8_t flags = tcp_ack | tcp_psh) const
    {
        return c.back("response", c.answer_data(flags, pattern(12)));
    }
};
INSTANTIATE_TEST_SUITE_P(hooks, MeasureTest, every_way, name_of);

TEST_P(MeasureTest, from_the_clients_first_payload_to_the_backends)
{
    for (const flb_forward forward : {FLB_SNAT, FLB_DNAT}) {
        const Connection c = awaiting(forward);
        play({c.there("ACK", c.request_data(tcp_ack)), c.back("ACK", c.answer_data(tcp_ack))});
        EXPECT_EQ(state(c), FLB_FLOW_AWAITING);
        play({request(c)});
        EXPECT_EQ(state(c), FLB_FLOW_MEASURING);
        play({request(c), c.back("ACK", c.answer_data(tcp_ack))});
        EXPECT_EQ(state(c), FLB_FLOW_MEASURING);
        EXPECT_EQ(samples(), 0u);
        wait(c, 3000000);
        play({response(c)});
        EXPECT_EQ(state(c), FLB_FLOW_ESTABLISHED);
        EXPECT_EQ(reply_state(c), FLB_FLOW_REPLY);
        expect_sample(3000000);
        play({request(c), response(c)});
        EXPECT_EQ(samples(), 1u) << "once a connection";
        expect_sound_table();
    }
}

TEST_P(MeasureTest, the_acknowledgement_of_the_handshake_may_carry_the_payload)
{
    serve(1);
    service().flags |= FLB_SERVICE_MEASURE_FIRST_BYTE;
    const Connection c{*this};
    play({c.there("SYN", c.syn()), c.back("SYN-ACK", c.syn_ack()), request(c)});
    EXPECT_EQ(state(c), FLB_FLOW_MEASURING);
    wait(c, 2000000);
    play({response(c)});
    expect_sample(2000000);
}

TEST_P(MeasureTest, a_backend_that_speaks_first_gives_no_sample)
{
    const Connection c = awaiting();
    play({response(c)});
    EXPECT_EQ(state(c), FLB_FLOW_ESTABLISHED);
    EXPECT_EQ(reply_state(c), FLB_FLOW_REPLY);
    play({request(c), response(c)});
    EXPECT_EQ(samples(), 0u);
}

TEST_P(MeasureTest, a_response_with_the_fin_is_a_sample)
{
    const Connection c = awaiting();
    play({request(c), response(c, tcp_fin | tcp_ack)});
    EXPECT_EQ(state(c), FLB_FLOW_FIN_BACKEND);
    EXPECT_EQ(samples(), 1u);
}

TEST_P(MeasureTest, connections_that_end_meanwhile_go_on_as_from_established)
{
    for (const bool requested : {false, true}) {
        for (const bool by_client : {false, true}) {
            Connection c = awaiting();
            if (requested)
                play({request(c)});
            play({by_client ? c.there("FIN", c.request_data(tcp_fin | tcp_ack))
                            : c.back("FIN", c.answer_data(tcp_fin | tcp_ack))});
            EXPECT_EQ(state(c), by_client ? FLB_FLOW_FIN_CLIENT : FLB_FLOW_FIN_BACKEND);
            play({c.back("data", c.answer_data(tcp_ack, pattern(9)))});
            EXPECT_EQ(reply_state(c), FLB_FLOW_REPLY) << "it is measured no more";
            EXPECT_EQ(samples(), 0u);
            play({by_client ? c.back("FIN", c.answer_data(tcp_fin | tcp_ack))
                            : c.there("FIN", c.request_data(tcp_fin | tcp_ack))});
            EXPECT_EQ(state(c), by_client ? FLB_FLOW_CLOSED_CLIENT : FLB_FLOW_CLOSED_BACKEND);
            c = awaiting();
            if (requested)
                play({request(c)});
            play({by_client ? c.there("RST", c.request_data(tcp_rst)) : c.back("RST", c.answer_data(tcp_rst))});
            EXPECT_EQ(state(c), FLB_FLOW_RESET);
            expect_sound_loads();
        }
    }
}

TEST_P(MeasureTest, the_first_answer_to_a_client_of_udp)
{
    serve(1);
    service().flags |= FLB_SERVICE_MEASURE_FIRST_BYTE;
    const Connection c = connection(FLB_SNAT, protocol_udp);
    play({c.there("question", c.request())});
    wait(c, 4000000);
    play({c.back("answer", c.answer())});
    expect_sample(4000000);
    play({c.there("question", c.request()), c.back("answer", c.answer())});
    EXPECT_EQ(samples(), 1u);
}

TEST_P(MeasureTest, from_syn_to_syn_ack)
{
    serve(1);
    service().flags |= FLB_SERVICE_MEASURE_HANDSHAKE;
    const Connection c{*this};
    play({c.there("SYN", c.syn())});
    wait(c, 2000000);
    play({c.back("SYN-ACK", c.syn_ack()), c.back("SYN-ACK again", c.syn_ack()), c.there("ACK", c.first_ack())});
    EXPECT_EQ(state(c), FLB_FLOW_ESTABLISHED);
    expect_sample(2000000);
    play({request(c), response(c)});
    EXPECT_EQ(samples(), 1u);
}

TEST_P(MeasureTest, a_syn_that_was_repeated_gives_no_sample)
{
    serve(1);
    service().flags |= FLB_SERVICE_MEASURE_HANDSHAKE;
    const Connection c{*this};
    play({c.there("SYN", c.syn()), c.there("SYN again", c.syn())});
    play({c.back("SYN-ACK", c.syn_ack()), c.there("ACK", c.first_ack())});
    EXPECT_EQ(state(c), FLB_FLOW_ESTABLISHED);
    EXPECT_EQ(samples(), 0u);
}

TEST_P(MeasureTest, a_syn_leaves_its_backend_after_a_quarter_of_a_second_by_the_clock_that_measures)
{
    serve(1, {.backends = {1, 2}});
    service().flags |= FLB_SERVICE_MEASURE_HANDSHAKE | FLB_SERVICE_SYN_FAILOVER;
    const Connection c{*this};
    play({c.there("SYN", c.syn()), c.there("SYN again, at once", c.syn())});
    wait(c, 250000);
    (void)run(c.syn());
    EXPECT_EQ(find(c.syn()).flow->backend, 2u);
    Connection other = c;
    other.backend = 2;
    expect_drop("a late answer", c.syn_ack(), FLB_DROP_superseded);
    EXPECT_EQ(samples(), 0u);
}

TEST_P(MeasureTest, refused_and_forged_answers_are_no_samples)
{
    serve(1);
    service().flags |= FLB_SERVICE_MEASURE_HANDSHAKE | FLB_SERVICE_MEASURE_FIRST_BYTE;
    const Connection c{*this};
    play({c.there("SYN", c.syn())});
    Frame forged = c.syn_ack();
    forged.to = clients().mac;
    forged.from = client_mac();
    (void)run(forged);
    EXPECT_EQ(samples(), 0u);
    play({c.back("RST", c.answer_data(tcp_rst | tcp_ack))});
    EXPECT_EQ(samples(), 0u);
}

TEST_P(MeasureTest, services_that_do_not_ask_are_not_measured)
{
    serve(1);
    const Connection c{*this};
    play(c.handshake());
    play({request(c), response(c)});
    const Connection udp = connection(FLB_SNAT, protocol_udp);
    (void)run(udp.request());
    EXPECT_EQ(samples(), 0u);
    EXPECT_EQ(state(c), FLB_FLOW_ESTABLISHED);
}

TEST_P(MeasureTest, a_limit_counts_connections_that_are_measured)
{
    serve(1);
    service().flags |= FLB_SERVICE_MEASURE_FIRST_BYTE;
    service().source_connections = 1;
    const Connection c{*this};
    play(c.handshake());
    EXPECT_EQ(plane().counted(1, client()), 1u);
    EXPECT_EQ(state(c), FLB_FLOW_AWAITING);
    play({request(c), response(c)});
    EXPECT_EQ(plane().counted(1, client()), 1u);
    Connection second = c;
    second.client_port++;
    expect_drop("SYN", second.syn(), FLB_DROP_source_connections);
}

} // namespace
} // namespace featherlb::packet
