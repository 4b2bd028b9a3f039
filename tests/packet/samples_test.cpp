// SPDX-License-Identifier: Apache-2.0
// What the programs tell while somebody listens: decisions, each with its backend, and no more than so many.
// reasons_test.cpp has the drops.
#include <arpa/inet.h>

#include "harness.h"

namespace featherlb::packet {
namespace {

class Samples : public Harness {
public:
    [[nodiscard]] IpAddress address_of(const flb_addr& bytes) const
    {
        return IpAddress::from_abi(bytes, GetParam().family);
    }
    [[nodiscard]] std::uint64_t left_out()
    {
        std::uint64_t sum = 0;
        for (const flb_sample_budget& budget : plane().sample_budgets())
            sum += budget.left_out;
        return sum;
    }
};
INSTANTIATE_TEST_SUITE_P(hooks, Samples, every_way, name_of);

TEST_P(Samples, a_connection_is_told_once_with_its_backend)
{
    for (const flb_forward forward : {FLB_SNAT, FLB_DNAT, FLB_DSR}) {
        SCOPED_TRACE(forward);
        use({});
        serve(1, {.forward = forward, .backends = {2}});
        plane().ask_samples(FLB_SAMPLED_DECISIONS);
        const Connection c = connection(forward);
        run(c.syn());
        const auto told = plane().take_samples();
        ASSERT_EQ(told.size(), 1u);
        EXPECT_EQ(told[0].kind, FLB_SAMPLE_NEW);
        EXPECT_EQ(told[0].reason, FLB_DROP_none);
        EXPECT_EQ(told[0].backend, 2u);
        EXPECT_EQ(told[0].protocol, protocol_tcp);
        EXPECT_EQ(told[0].tcp_flags, tcp_syn);
        EXPECT_EQ(address_of(told[0].source), client());
        EXPECT_EQ(address_of(told[0].destination), service_address());
        EXPECT_EQ(ntohs(told[0].sport), client_port);
        EXPECT_EQ(ntohs(told[0].dport), service_port);
        EXPECT_GT(told[0].time_ns, 0u);
        run(c.request_data(tcp_ack, pattern(3)));
        EXPECT_EQ(plane().take_samples().size(), 0u) << "a packet of a known flow";
    }
}

TEST_P(Samples, nothing_is_told_where_nobody_listens_any_more)
{
    serve(1);
    plane().ask_samples(0);
    run(connection().syn());
    EXPECT_EQ(plane().take_samples().size(), 0u);
    plane().ask_samples(~0ull);
    plane().settings().sampled_until = static_cast<std::uint32_t>(-1); // a tick ago
    run(connection(FLB_SNAT, protocol_udp).request());
    EXPECT_EQ(plane().take_samples().size(), 0u) << "the daemon has not asked again";
    EXPECT_EQ(left_out(), 0u);
}

TEST_P(Samples, a_connection_that_moves_is_told_as_such)
{
    serve(1, {.backends = {1, 2}});
    service().flags |= FLB_SERVICE_SYN_FAILOVER;
    const Connection c = connection();
    run(c.syn());
    find(c.syn()).flow->aux -= Plane::hz;
    plane().ask_samples(FLB_SAMPLED_DECISIONS);
    run(c.syn());
    const auto told = plane().take_samples();
    ASSERT_EQ(told.size(), 1u);
    EXPECT_EQ(told[0].kind, FLB_SAMPLE_MOVED);
    EXPECT_EQ(told[0].backend, 2u);
}

TEST_P(Samples, a_drop_tells_the_backend_that_was_meant)
{
    serve(1);
    backend(1).hop = {};
    plane().ask_samples(~0ull);
    run(connection().syn());
    const auto told = plane().take_samples();
    ASSERT_GE(told.size(), 1u);
    EXPECT_EQ(told.back().reason, FLB_DROP_backend_unresolved);
    EXPECT_EQ(told.back().backend, 1u);
}

TEST_P(Samples, a_drop_that_is_answered_is_told_once)
{
    serve(1);
    plane().ask_samples(~0ull);
    expect_reset("of no connection", connection().request_data(tcp_ack));
    Frame last = connection().syn();
    last.ttl = 1;
    run(last);
    const auto told = plane().take_samples();
    ASSERT_EQ(told.size(), 3u);
    EXPECT_EQ(told[0].reason, FLB_DROP_no_flow);
    EXPECT_EQ(told[1].kind, FLB_SAMPLE_NEW);
    EXPECT_EQ(told[2].reason, FLB_DROP_ttl_exceeded);
    EXPECT_EQ(told[2].backend, 1u);
    EXPECT_EQ(ntohs(told[2].sport), client_port);
}

TEST_P(Samples, a_reason_has_a_budget_of_its_own_and_the_rest_is_counted)
{
    serve(1, {.backends = {}});
    plane().ask_samples(~0ull);
    constexpr unsigned many = 100;
    for (unsigned n = 0; n < many; n++)
        run(connection().syn());
    Frame broken = connection().syn();
    broken.flags = 0;
    run(broken);
    const auto told = plane().take_samples();
    std::map<unsigned, unsigned> by_reason;
    for (const flb_sample& sample : told)
        ++by_reason[sample.reason];
    // Not one that the runs are spread over processors; time stands still, so there is one window.
    EXPECT_GE(by_reason[FLB_DROP_no_backend], FLB_SAMPLES_IN_WINDOW);
    EXPECT_EQ(by_reason[FLB_DROP_no_backend] % FLB_SAMPLES_IN_WINDOW, 0u);
    EXPECT_EQ(by_reason[FLB_DROP_no_backend] + left_out(), many);
    EXPECT_EQ(by_reason[FLB_DROP_bad_tcp_flags], 1u) << "the flood of another reason is not its matter";
}

TEST_P(Samples, a_new_window_has_a_new_budget)
{
    serve(1, {.backends = {}});
    plane().ask_samples(~0ull);
    for (unsigned n = 0; n < 64; n++)
        run(connection().syn());
    (void)plane().take_samples();
    for (flb_sample_budget& budget : plane().sample_budgets())
        budget.window -= 1;
    run(connection().syn());
    EXPECT_EQ(plane().take_samples().size(), 1u);
}

TEST_P(Samples, a_full_ring_costs_samples_and_nothing_else)
{
    serve(1, {.backends = {}});
    plane().ask_samples(~0ull);
    constexpr unsigned more_than_fit = FLB_SAMPLES_BYTES / sizeof(flb_sample) + 10;
    for (unsigned n = 0; n < more_than_fit; n++) {
        for (flb_sample_budget& budget : plane().sample_budgets())
            budget.taken = 0;
        EXPECT_EQ(run(connection().syn()).verdict, Verdict::drop);
    }
    const std::uint64_t told = plane().take_samples().size();
    EXPECT_EQ(told + left_out(), more_than_fit);
    EXPECT_GT(left_out(), 0u);
    EXPECT_EQ(plane().drops(FLB_DROP_no_backend), more_than_fit);
}

} // namespace
} // namespace featherlb::packet
