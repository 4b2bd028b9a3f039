// SPDX-License-Identifier: Apache-2.0
// Both programs on all processors at once, over one flow table. A processor that loses its turn while it holds the
// lock of a set (virtual ones do) makes another drop its packet with the reason table_contended: the only one allowed.
#include <algorithm>
#include <array>
#include <atomic>
#include <barrier>
#include <numeric>
#include <set>
#include <thread>

#include "harness.h"
#include "kernel/sweeper.h"

namespace featherlb::packet {
namespace {

class Concurrent : public Harness {
protected:
    // More threads than processors, so that they are interrupted at any place.
    const unsigned threads_ = std::max(4u, 2 * std::thread::hardware_concurrency());

    [[nodiscard]] Outcome run_at(Hook by, const Frame& f)
    {
        return plane().run(by, to_bytes(f), {f.to == backends().mac ? backends().index : clients().index, 0});
    }
    [[nodiscard]] static Hook hook_of(unsigned thread) { return thread % 2 ? Hook::tc : Hook::xdp; }

    // All threads send the same packets at the same moments; gives what came out, by packet and thread.
    std::vector<std::vector<Outcome>> race(const std::vector<Frame>& packets)
    {
        std::vector<std::vector<Outcome>> outcomes(packets.size(), std::vector<Outcome>(threads_));
        std::barrier start(threads_);
        {
            std::vector<std::jthread> threads;
            for (unsigned t = 0; t < threads_; t++)
                threads.emplace_back([&, t] {
                    for (std::size_t i = 0; i < packets.size(); i++) {
                        start.arrive_and_wait();
                        outcomes[i][t] = run_at(hook_of(t), packets[i]);
                    }
                });
        }
        return outcomes;
    }
    static std::vector<unsigned> numbers(unsigned most)
    {
        std::vector<unsigned> all(most);
        std::iota(all.begin(), all.end(), 1);
        return all;
    }
    // What one client does; gives how many packets came out otherwise than expected.
    unsigned open_and_close(unsigned thread)
    {
        unsigned wrong = 0;
        Connection c{*this};
        c.client = client(thread);
        for (unsigned i = 0; i < 500; i++) {
            c.client_port = static_cast<std::uint16_t>(1024 + i);
            const Outcome syn = run_at(hook_of(thread), c.syn());
            if (syn.verdict != Verdict::redirect)
                continue;
            // The answers, made from what the backend got. An unproven flow may have been replaced meanwhile.
            c.backend = syn.bytes.at(5);
            const std::size_t at = transport_offset(c.syn());
            c.outside_port = static_cast<std::uint16_t>(syn.bytes.at(at) << 8 | syn.bytes.at(at + 1));
            for (const Step& step :
                {c.back("SYN-ACK", c.syn_ack()), c.there("ACK", c.first_ack()),
                    c.back("data", c.answer_data(tcp_ack, pattern(9))), c.back("FIN", c.answer_data(tcp_fin | tcp_ack)),
                    c.there("FIN", c.request_data(tcp_fin | tcp_ack))}) {
                const Outcome outcome = run_at(hook_of(thread + i), step.in);
                const bool told = step.in.to == clients().mac && outcome.verdict == Verdict::redirect &&
                                  std::equal(step.in.from.begin(), step.in.from.end(), outcome.bytes.begin());
                if (outcome.verdict != Verdict::redirect || told) // by RST, that it had to give way
                    break;
                wrong += outcome.bytes != to_bytes(step.out);
            }
        }
        return wrong;
    }
    void expect_one_pair_each(const std::vector<Frame>& packets, const std::vector<std::vector<Outcome>>& outcomes)
    {
        std::uint64_t opened = 0;
        for (unsigned number = 1; number <= 3; number++)
            opened += plane().counters(number).connections;
        EXPECT_EQ(opened, packets.size());
        EXPECT_EQ(entries().size(), 2 * packets.size());
        expect_sound_table();
        for (std::uint32_t reason = 0; reason < FLB_DROP_REASON_COUNT; reason++)
            EXPECT_TRUE(plane().drops(reason) == 0 || reason == FLB_DROP_table_contended) << "reason " << reason;
        for (const std::vector<Outcome>& of_one_packet : outcomes) {
            std::set<Bytes> different;
            for (const Outcome& outcome : of_one_packet)
                if (outcome.verdict == Verdict::redirect)
                    different.insert(outcome.bytes);
            EXPECT_EQ(different.size(), 1u) << "all are sent to the same backend from the same port";
        }
    }
};
// The hook is not used: both run.
std::string name_of_family(const ::testing::TestParamInfo<Param>& info)
{
    return info.param.family == Family::ipv4 ? "ipv4" : "ipv6";
}
INSTANTIATE_TEST_SUITE_P(families, Concurrent,
    ::testing::Values(Param{Hook::xdp, Family::ipv4}, Param{Hook::xdp, Family::ipv6}), name_of_family);

TEST_P(Concurrent, one_first_packet_on_all_processors_makes_one_pair)
{
    constexpr unsigned rounds = 300;
    for (const flb_forward forward : {FLB_SNAT, FLB_DNAT}) {
        for (const flb_pick pick : {FLB_PICK_TURN, FLB_PICK_HASH_5TUPLE}) {
            for (const std::uint8_t protocol : {protocol_tcp, protocol_udp}) {
                SCOPED_TRACE(::testing::Message()
                             << "forward " << forward << ", pick " << pick << ", protocol " << int{protocol});
                use({});
                serve(1, {.forward = forward, .pick = pick, .backends = {1, 2, 3}});
                std::vector<Frame> packets;
                for (unsigned i = 0; i < rounds; i++) {
                    Connection c = connection(forward, protocol);
                    c.client = client(i);
                    packets.push_back(protocol == protocol_tcp ? c.syn() : c.request(0, pattern(5)));
                }
                expect_one_pair_each(packets, race(packets));
            }
        }
    }
}

// The backend answers at the moment when the client's SYN is about to leave it: either the answer reaches the client
// and the flow stays, or neither happens.
TEST_P(Concurrent, an_answer_and_a_repeated_syn_at_the_same_moment)
{
    constexpr unsigned rounds = 500;
    for (const flb_forward forward : {FLB_SNAT, FLB_DNAT}) {
        use({});
        serve(1, {.forward = forward, .backends = {1, 2}});
        service().flags |= FLB_SERVICE_SYN_FAILOVER;
        unsigned stayed = 0;
        std::barrier start(2);
        for (unsigned i = 0; i < rounds; i++) {
            Connection c{*this};
            c.client = client(i);
            c.outside_port = static_cast<std::uint16_t>(c.outside_port + i);
            if (forward == FLB_DNAT)
                c = c.kept();
            put_slots(1, {1});
            (void)run_at(hook_of(i), c.syn());
            find(c.syn()).flow->aux -= Plane::hz;
            put_slots(1, {1, 2});
            Outcome answer, repeated;
            {
                const std::jthread backend([&] {
                    start.arrive_and_wait();
                    answer = run_at(hook_of(i), c.syn_ack());
                });
                start.arrive_and_wait();
                repeated = run_at(hook_of(i / 2), c.syn());
            }
            const Entry owner = find(c.syn());
            const bool reached = answer.verdict == Verdict::redirect;
            EXPECT_TRUE(reached || answer.verdict == Verdict::drop) << answer.code;
            EXPECT_EQ(owner.state(), reached ? FLB_FLOW_SYN_ACK : FLB_FLOW_SYN) << "round " << i;
            EXPECT_TRUE(owner.flow->backend == 1 || !reached) << "round " << i;
            EXPECT_EQ(repeated.bytes.at(5), owner.flow->backend) << "round " << i; // last byte of backend_mac
            stayed += owner.flow->backend == 1;
        }
        expect_sound_table();
        EXPECT_GT(plane().drops(FLB_DROP_superseded) + stayed, 0u);
        RecordProperty("stayed", static_cast<int>(stayed));
    }
}

// Every thread opens, uses and closes connections of its own in a table that is always under pressure.
TEST_P(Concurrent, many_connections_in_a_crowded_table)
{
    for (const bool few_ports : {true, false}) {
        use({16, 16}); // 64 entries
        serve(1, {.backends = {1, 2}});
        set_ports(1024, few_ports ? 40 : 60000, 7);
        std::vector<unsigned> wrong(threads_);
        {
            std::vector<std::jthread> threads;
            for (unsigned t = 0; t < threads_; t++)
                threads.emplace_back([&, t] { wrong[t] = open_and_close(t); });
        }
        // A port that was another's before may bring a late answer to the wrong client; a fresh one never does.
        EXPECT_TRUE(few_ports || std::accumulate(wrong.begin(), wrong.end(), 0u) == 0);
        std::set<std::tuple<IpAddress, std::uint16_t, IpAddress, std::uint16_t>> keys;
        for (const Entry& entry : entries()) {
            EXPECT_NE(entry.state(), FLB_FLOW_BUSY);
            EXPECT_EQ(entry.ctl() & FLB_CTL_LOCK, 0u);
            EXPECT_TRUE(keys.insert({entry.source, entry.sport, entry.destination, entry.dport}).second);
        }
        for (const Entry& entry : entries()) {
            const unsigned state = entry.state();
            const bool open = state >= FLB_FLOW_ESTABLISHED && state < FLB_FLOW_CLOSED_CLIENT && !entry.is_reply();
            EXPECT_TRUE(!open || reply_of(entry).exists()) << "a proven connection without its port";
        }
        expect_sound_loads();
    }
}

// The same while backends are compared and answers measured, and with a sweeper beside: no count drifts, no sample is
// lost or taken twice.
TEST_P(Concurrent, counts_of_open_connections_equal_the_table_after_any_mix)
{
    for (const flb_pick how : {FLB_PICK_LEAST, FLB_PICK_TWO, FLB_PICK_RESPONSE}) {
        use({16, 16});
        serve(1, {.pick = how, .backends = numbers(how == FLB_PICK_LEAST ? 40 : 3)}); // more than a chunk of slots
        service().flags |= FLB_SERVICE_MEASURE_FIRST_BYTE | FLB_SERVICE_SYN_FAILOVER;
        set_ports(1024, 60000, 7);
        const auto sets4 = plane().flows4();
        const auto sets6 = plane().flows6();
        Sweeper sweeper({reinterpret_cast<flb_set4*>(sets4.data()), sets4.size() / FLB_WAYS},
            {reinterpret_cast<flb_set6*>(sets6.data()), sets6.size() / FLB_WAYS}, Plane::max_backends, {},
            SweptLoads{.loads = plane().loads(), .begun = {}, .bounds = plane().bounds()});
        std::array<std::uint32_t, FLB_FLOW_STATES> timeouts{}; // everything has expired, as far as the sweeper knows
        timeouts.fill(0);
        timeouts[FLB_FLOW_ESTABLISHED] = 2;
        std::atomic<bool> over = false;
        std::vector<unsigned> wrong(threads_);
        std::jthread sweeping([&] {
            while (!over) {
                const std::vector<Entry> all = entries();
                sweeper.step(64, all.empty() ? 1 : all.front().age() + 1, timeouts);
            }
        });
        {
            std::vector<std::jthread> threads;
            for (unsigned t = 0; t < threads_; t++)
                threads.emplace_back([&, t] { wrong[t] = open_and_close(t); });
        }
        over = true;
        sweeping.join();
        EXPECT_GT(sweeper.totals().expired, 0u);
        expect_sound_loads();
    }
}

TEST_P(Concurrent, proven_connections_survive_what_others_do)
{
    use({16, 16});
    serve(1);
    std::vector<Connection> held;
    for (unsigned n = 0; n < 8; n++) {
        Connection c{*this};
        c.client = client(n);
        c.outside_port = static_cast<std::uint16_t>(first_snat_port + n);
        play(c.handshake());
        held.push_back(c);
    }
    std::vector<std::jthread> threads;
    std::vector<unsigned> lost(threads_);
    for (unsigned t = 0; t < threads_; t++)
        threads.emplace_back([&, t] {
            for (unsigned i = 0; i < 1000; i++) {
                Frame flood = connection().syn();
                flood.source = client(100 + t);
                flood.sport = static_cast<std::uint16_t>(2000 + i);
                (void)run_at(hook_of(t), flood);
                const Connection& c = held[i % held.size()];
                const Step there = c.there("data", c.request_data(tcp_ack, pattern(9)));
                const Step back = c.back("data", c.answer_data(tcp_ack, pattern(8)));
                lost[t] += run_at(hook_of(t), there.in).bytes != to_bytes(there.out);
                lost[t] += run_at(hook_of(t + 1), back.in).bytes != to_bytes(back.out);
            }
        });
    threads.clear();
    for (const unsigned count : lost)
        EXPECT_EQ(count, 0u);
}

// Both sides close at once, on two processors: neither FIN may be overlooked.
TEST_P(Concurrent, both_fins_at_the_same_moment_close_the_connection)
{
    constexpr unsigned rounds = 300;
    serve(1);
    set_ports(first_snat_port, 2 * rounds, 1);
    std::vector<Connection> connections;
    for (unsigned i = 0; i < rounds; i++) {
        Connection c{*this};
        c.client = client(i);
        c.outside_port = static_cast<std::uint16_t>(first_snat_port + i);
        play(c.handshake());
        connections.push_back(c);
    }
    std::barrier start(2);
    {
        const std::jthread client_side([&] {
            for (const Connection& c : connections) {
                start.arrive_and_wait();
                (void)run_at(Hook::xdp, c.request_data(tcp_fin | tcp_ack));
            }
        });
        const std::jthread backend_side([&] {
            for (const Connection& c : connections) {
                start.arrive_and_wait();
                (void)run_at(Hook::tc, c.answer_data(tcp_fin | tcp_ack));
            }
        });
    }
    for (const Connection& c : connections) {
        const unsigned state = find(c.syn()).state();
        EXPECT_TRUE(state == FLB_FLOW_CLOSED_CLIENT || state == FLB_FLOW_CLOSED_BACKEND) << state;
    }
}

} // namespace
} // namespace featherlb::packet
