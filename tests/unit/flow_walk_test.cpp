// SPDX-License-Identifier: Apache-2.0
// Listing and ending connections of the flow table: what a filter lets through, what becomes of both entries, and that
// counts stay right (rules 6 to 8 of bpf/flow.h).
#include "kernel/flow_walk.h"

#include <array>
#include <atomic>
#include <thread>

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>

#include "unit/flow_tables.h"

namespace featherlb {
namespace {

using testing::ElementsAre;

constexpr std::uint32_t now = 100;

class FlowWalkTest : public testing::Test {
protected:
    std::vector<Flow> list(const FlowFilter& filter = {})
    {
        std::size_t position = 0;
        std::vector<Flow> found;
        EXPECT_TRUE(walk_.list(position, 1000, 1000, clock_, filter, found));
        return found;
    }
    std::size_t kill(const FlowFilter& filter = {})
    {
        std::size_t position = 0;
        std::size_t killed = 0;
        EXPECT_TRUE(walk_.kill(position, 1000, clock_, filter, killed));
        return killed;
    }
    static std::vector<std::uint16_t> ports(const std::vector<Flow>& flows)
    {
        std::vector<std::uint16_t> all;
        for (const Flow& flow : flows)
            all.push_back(flow.client.port);
        return all;
    }

    std::array<std::uint32_t, FLB_FLOW_STATES> timeouts_ = [] {
        std::array<std::uint32_t, FLB_FLOW_STATES> all{};
        all.fill(1000);
        return all;
    }();
    FlowClock clock_{now, timeouts_};
    FlowTables table_{8};
    std::vector<flb_backend_load> loads_ = std::vector<flb_backend_load>(4);
    std::vector<std::pair<std::uint32_t, std::uint64_t>> uncounted_;
    FlowWalk walk_{table_.sets4, table_.sets6,
        [this](std::uint32_t backend, std::uint64_t client) { uncounted_.emplace_back(backend, client); }, loads_};
};

TEST_F(FlowWalkTest, ListsOwnersWithAllThatIsKnownOfThem)
{
    table_.put4(0, 1, {.state = FLB_FLOW_ESTABLISHED, .age = now - 7, .port = 40000, .pair = 9});
    table_.put4_reply(2, 1, 1);
    table_.put6(3, 2, {.state = FLB_FLOW_SYN, .age = now + 1, .port = 40001, .pair = FLB_NO_PAIR});
    table_.put4(4, 0, {.state = FLB_FLOW_BUSY, .age = now, .port = 40002});
    const auto flows = list();
    ASSERT_EQ(flows.size(), 2u);
    EXPECT_EQ(flows[0].client.to_string(), "10.0.0.1:40000");
    EXPECT_EQ(flows[0].listener.to_string(), "10.9.0.1:80");
    EXPECT_EQ(flows[0].source.to_string(), "10.2.0.1:20000");
    EXPECT_EQ(flows[0].destination.to_string(), "10.3.0.1:8080");
    EXPECT_EQ(flows[0].protocol, Protocol::tcp);
    EXPECT_EQ(flows[0].state, FLB_FLOW_ESTABLISHED);
    EXPECT_EQ(flows[0].idle, 7u);
    EXPECT_EQ(flows[0].backend, 1u);
    EXPECT_FALSE(flows[0].one_way);
    EXPECT_EQ(flows[0].hop.link, 2);
    EXPECT_EQ(flows[1].client.to_string(), "[fd00::1]:40001");
    EXPECT_EQ(flows[1].idle, 0u) << "another processor is ahead";
    EXPECT_TRUE(flows[1].one_way);
}

TEST_F(FlowWalkTest, EachFilterLetsThroughWhatItNames)
{
    table_.put4(0, 0, {.state = FLB_FLOW_ESTABLISHED, .port = 1, .backend = 1});
    table_.put4(0, 1, {.state = FLB_FLOW_UDP_STREAM, .port = 2, .backend = 2, .protocol = IPPROTO_UDP});
    table_.put4(1, 0, {.state = FLB_FLOW_CLOSED_CLIENT, .port = 3, .backend = 3, .client = "10.0.1.9"});
    table_.put6(1, 0, {.state = FLB_FLOW_ESTABLISHED, .port = 4, .backend = 3});
    EXPECT_THAT(ports(list()), ElementsAre(1, 2, 3, 4));
    EXPECT_THAT(ports(list({.backends = std::vector<bool>{false, true, true}})), ElementsAre(1, 2));
    EXPECT_THAT(ports(list({.backends = std::vector<bool>{false}})), ElementsAre());
    EXPECT_THAT(ports(list({.protocol = Protocol::udp})), ElementsAre(2));
    EXPECT_THAT(ports(list({.protocol = Protocol::tcp})), ElementsAre(1, 3, 4));
    EXPECT_THAT(ports(list({.states = 1u << FLB_FLOW_ESTABLISHED})), ElementsAre(1, 4));
    EXPECT_THAT(ports(list({.states = states_over})), ElementsAre(3));
    const auto from = [this](const char* address, std::uint8_t bits) {
        return ports(list({.client = NetworkPrefix::of(*IpAddress::parse(address), bits)}));
    };
    EXPECT_THAT(from("10.0.0.1", 32), ElementsAre(1, 2));
    EXPECT_THAT(from("10.0.0.2", 32), ElementsAre());
    EXPECT_THAT(from("10.0.0.0", 16), ElementsAre(1, 2, 3));
    EXPECT_THAT(from("10.0.1.0", 24), ElementsAre(3));
    EXPECT_THAT(from("0.0.0.0", 0), ElementsAre(1, 2, 3)) << "of its IP version";
    EXPECT_THAT(from("fd00::", 64), ElementsAre(4));
    EXPECT_THAT(from("::", 0), ElementsAre(4));
}

TEST_F(FlowWalkTest, WhatHasExpiredIsNotThere)
{
    timeouts_[FLB_FLOW_KILLED] = 10;
    table_.put4(0, 0, {.state = FLB_FLOW_KILLED, .age = now - 10, .port = 1});
    table_.put4(0, 1, {.state = FLB_FLOW_KILLED, .age = now - 11, .port = 2});
    table_.put4(0, 2, {.state = FLB_FLOW_ESTABLISHED, .age = now - 11, .port = 3});
    timeouts_[FLB_FLOW_ESTABLISHED] = 10;
    EXPECT_THAT(ports(list()), ElementsAre(1));
    EXPECT_EQ(kill(), 0u);
    EXPECT_EQ(FlowTables::state(table_.sets4[0].way[2].f.ctl), FLB_FLOW_ESTABLISHED);
}

TEST_F(FlowWalkTest, WhoMayWaitIsProvenAndNotOver)
{
    std::uint16_t port = 0;
    for (const flb_flow_state state : {FLB_FLOW_ESTABLISHED, FLB_FLOW_FIN_CLIENT, FLB_FLOW_FIN_BACKEND,
             FLB_FLOW_AWAITING, FLB_FLOW_MEASURING, FLB_FLOW_SYN, FLB_FLOW_SYN_ACK, FLB_FLOW_CLOSED_CLIENT,
             FLB_FLOW_RESET, FLB_FLOW_KILLED, FLB_FLOW_REPLY, FLB_FLOW_EMPTY, FLB_FLOW_UDP_STREAM}) {
        table_.put4(port / 4, port % 4, {.state = state, .age = now, .port = port});
        ++port;
    }
    EXPECT_THAT(ports(list({.states = states_waiting})), ElementsAre(0, 1, 2, 3, 4));
}

TEST_F(FlowWalkTest, GoesOnWhereItStopped)
{
    for (std::size_t set = 0; set < 8; set++)
        table_.put4(set, 0, {.state = FLB_FLOW_ESTABLISHED, .port = static_cast<std::uint16_t>(set)});
    std::size_t position = 0;
    std::vector<Flow> found;
    EXPECT_FALSE(walk_.list(position, 3, 100, clock_, {}, found));
    EXPECT_THAT(ports(found), ElementsAre(0, 1, 2));
    EXPECT_FALSE(walk_.list(position, 100, 5, clock_, {}, found));
    EXPECT_EQ(found.size(), 5u);
    EXPECT_TRUE(walk_.list(position, 100, 100, clock_, {}, found));
    EXPECT_EQ(found.size(), 8u);
    std::size_t killed = 0;
    position = 0;
    EXPECT_FALSE(walk_.kill(position, 5, clock_, {}, killed));
    EXPECT_EQ(killed, 5u);
    EXPECT_TRUE(walk_.kill(position, 100, clock_, {}, killed));
    EXPECT_EQ(killed, 8u);
}

TEST_F(FlowWalkTest, EndsTcpByItsStateAndSendsTheReplysPacketsTheSlowWay)
{
    loads_[1].open = 3;
    table_.put4(0, 1,
        {.state = FLB_FLOW_ESTABLISHED,
            .age = now - 7,
            .pair = 9,
            .bits = FLB_CTL_COUNTED | FLB_CTL_LOCK | FLB_CTL_MARK});
    table_.put4_reply(2, 1, 1, now);
    const std::uint64_t before = table_.sets4[0].way[1].f.ctl;
    EXPECT_EQ(kill(), 1u);
    const std::uint64_t after = table_.sets4[0].way[1].f.ctl;
    EXPECT_EQ(FlowTables::state(after), FLB_FLOW_KILLED);
    EXPECT_EQ(static_cast<std::uint32_t>(after), now);
    EXPECT_EQ(after >> 40, before >> 40) << "mark, lock and generation";
    EXPECT_FALSE(after & FLB_CTL_COUNTED);
    const std::uint64_t reply = table_.sets4[2].way[1].f.ctl;
    EXPECT_EQ(FlowTables::state(reply), FLB_FLOW_REPLY);
    EXPECT_EQ(static_cast<std::uint32_t>(reply), now - 1);
    EXPECT_EQ(loads_[1].open, 2u);
    EXPECT_THAT(uncounted_, ElementsAre(std::pair{1u, std::uint64_t{htonl(0x0a000001)}}));
    EXPECT_EQ(kill(), 0u) << "it is over";
    EXPECT_EQ(loads_[1].open, 2u);
    EXPECT_EQ(uncounted_.size(), 1u);
}

TEST_F(FlowWalkTest, AnOlderReplyStaysAsItIs)
{
    table_.put4(0, 1, {.state = FLB_FLOW_ESTABLISHED, .pair = 9});
    table_.put4_reply(2, 1, 1, now - 5);
    EXPECT_EQ(kill(), 1u);
    EXPECT_EQ(static_cast<std::uint32_t>(table_.sets4[2].way[1].f.ctl), now - 5);
}

TEST_F(FlowWalkTest, FreesBothEntriesOfUdp)
{
    loads_[2].open = 1;
    table_.put6(0, 1, {.state = FLB_FLOW_UDP_STREAM, .pair = 9, .backend = 2, .protocol = IPPROTO_UDP});
    table_.put6_reply(2, 1, 1);
    EXPECT_EQ(kill(), 1u);
    EXPECT_EQ(FlowTables::state(table_.sets6[0].way[1].f.ctl), FLB_FLOW_EMPTY);
    EXPECT_EQ(FlowTables::state(table_.sets6[2].way[1].f.ctl), FLB_FLOW_EMPTY);
    EXPECT_EQ(loads_[2].open, 0u);
}

TEST_F(FlowWalkTest, AReplyThatIsAnothersIsLeftAlone)
{
    table_.put4(0, 1, {.state = FLB_FLOW_UDP_STREAM, .pair = 9, .protocol = IPPROTO_UDP});
    table_.put4_reply(2, 1, 1, now, 8); // of another generation
    EXPECT_EQ(kill(), 1u);
    EXPECT_EQ(FlowTables::state(table_.sets4[2].way[1].f.ctl), FLB_FLOW_REPLY);
}

TEST_F(FlowWalkTest, WhatIsOverIsNotEndedAgain)
{
    std::uint16_t port = 0;
    for (const flb_flow_state state : {FLB_FLOW_CLOSED_CLIENT, FLB_FLOW_CLOSED_BACKEND, FLB_FLOW_CLOSED_ONE_WAY,
             FLB_FLOW_RESET, FLB_FLOW_KILLED, FLB_FLOW_BUSY, FLB_FLOW_SUPERSEDED, FLB_FLOW_REPLY}) {
        table_.put4(port / 4, port % 4, {.state = state, .port = port});
        port++;
    }
    const auto before = table_.sets4;
    EXPECT_EQ(kill(), 0u);
    for (std::size_t set = 0; set < before.size(); set++)
        for (std::size_t way = 0; way < FLB_WAYS; way++)
            EXPECT_EQ(table_.sets4[set].way[way].f.ctl, before[set].way[way].f.ctl);
}

TEST_F(FlowWalkTest, EndsOnlyWhatTheFilterLetsThrough)
{
    table_.put4(0, 0, {.state = FLB_FLOW_ESTABLISHED, .port = 1, .backend = 1});
    table_.put4(0, 1, {.state = FLB_FLOW_ESTABLISHED, .port = 2, .backend = 2});
    EXPECT_EQ(kill({.backends = std::vector<bool>{false, false, true}}), 1u);
    EXPECT_EQ(FlowTables::state(table_.sets4[0].way[0].f.ctl), FLB_FLOW_ESTABLISHED);
    EXPECT_EQ(FlowTables::state(table_.sets4[0].way[1].f.ctl), FLB_FLOW_KILLED);
}

// A thread touches and closes the connection and stores others in its place; whatever is ended is counted down once.
TEST_F(FlowWalkTest, CountsOnceWhateverAProgramDoesMeanwhile)
{
    constexpr std::uint32_t least = 20000, most = 2000000; // goes on until something has been ended
    std::uint32_t rounds = 0;
    std::atomic<bool> ended{false};
    flb_flow& flow = table_.sets4[0].way[0].f;
    std::atomic<bool> begun{false};
    std::atomic<bool> done{false};
    std::uint32_t closed = 0;
    std::atomic_ref ctl(flow.ctl);
    std::atomic_ref open(loads_[1].open);
    table_.put4(0, 0, {.state = FLB_FLOW_EMPTY, .port = 1});
    std::thread program([&] {
        while (!begun)
            std::this_thread::yield();
        for (std::uint32_t generation = 1; generation <= least || (!ended && generation <= most); generation++) {
            rounds = generation;
            ctl.store(std::uint64_t{generation} << FLB_CTL_GENERATION_SHIFT | std::uint64_t{FLB_FLOW_BUSY}
                                                                                  << FLB_CTL_STATE_SHIFT);
            open.fetch_add(1);
            __u64 seen = std::uint64_t{generation} << FLB_CTL_GENERATION_SHIFT | FLB_CTL_COUNTED |
                         std::uint64_t{FLB_FLOW_ESTABLISHED} << FLB_CTL_STATE_SHIFT;
            ctl.store(seen);
            if (generation % 2 == 0)
                std::this_thread::yield();
            for (std::uint32_t age = 1; age < 4; age++)
                ctl.compare_exchange_strong(seen, (seen & ~0xffffffffULL) | age);
            seen = ctl.load();
            while (FlowTables::state(seen) == FLB_FLOW_ESTABLISHED) {
                if (!ctl.compare_exchange_strong(seen, std::uint64_t{generation} << FLB_CTL_GENERATION_SHIFT |
                                                           std::uint64_t{FLB_FLOW_RESET} << FLB_CTL_STATE_SHIFT))
                    continue;
                open.fetch_sub(1);
                closed++;
                break;
            }
        }
        done = true;
    });
    std::size_t killed = 0;
    while (!done) {
        killed += kill();
        begun = true;
        ended = killed > 0;
    }
    program.join();
    EXPECT_EQ(closed + killed, rounds);
    EXPECT_EQ(uncounted_.size(), killed);
    EXPECT_GT(closed, 0u);
    EXPECT_GT(killed, 0u);
    EXPECT_EQ(loads_[1].open, 0u);
}

} // namespace
} // namespace featherlb
