// SPDX-License-Identifier: Apache-2.0
// Clients that only wait are made to speak: the frames, and when they are sent.
#include "daemon/waking.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>

#include "kernel/wake_frames.h"
#include "unit/daemon_fakes.h"
#include "unit/flow_tables.h"

namespace featherlb {
namespace {

using namespace std::chrono_literals;

Endpoint endpoint(const std::string& address, std::uint16_t port)
{
    return {*IpAddress::parse(address), port};
}

// ---- the frames

std::uint32_t big_endian(const FrameBytes& frame, std::size_t at, std::size_t bytes)
{
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < bytes; i++)
        value = value << 8 | frame.at(at + i);
    return value;
}

// 0xffff where the checksum over these bytes is right.
std::uint32_t folded_sum(const FrameBytes& frame, std::size_t from, std::size_t to, std::uint32_t sum)
{
    for (; from < to; from += 2)
        sum += big_endian(frame, from, 2);
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return sum;
}

TEST(WakeFrames, AreTwoBareAcksHalfTheSequenceSpaceApart)
{
    const WaitingClient client{endpoint("10.1.0.5", 40000), endpoint("10.9.0.1", 80),
        flb_hop{.mac = {2, 0, 0, 0, 0, 5}, .link = 3, .vlan = {}}};
    const auto frames = wake_frames(client, {2, 0, 0, 0, 0, 9}, 0xfffffff0);
    for (const FrameBytes& frame : frames) {
        ASSERT_EQ(frame.size(), 54u);
        EXPECT_EQ(FrameBytes(frame.begin(), frame.begin() + 14),
            (FrameBytes{2, 0, 0, 0, 0, 5, 2, 0, 0, 0, 0, 9, 0x08, 0x00}));
        EXPECT_EQ(folded_sum(frame, 14, 34, 0), 0xffffu);
        EXPECT_EQ(folded_sum(frame, 26, 54, 20 + IPPROTO_TCP), 0xffffu);
        EXPECT_EQ(big_endian(frame, 16, 2), 40u);
        EXPECT_EQ(big_endian(frame, 26, 4), 0x0a090001u);
        EXPECT_EQ(big_endian(frame, 30, 4), 0x0a010005u);
        EXPECT_EQ(big_endian(frame, 34, 2), 80u);
        EXPECT_EQ(big_endian(frame, 36, 2), 40000u);
        EXPECT_EQ(frame[47], 0x10) << "ACK alone";
    }
    EXPECT_EQ(big_endian(frames[0], 38, 4), 0xfffffff0u);
    EXPECT_EQ(big_endian(frames[1], 38, 4), 0x7ffffff0u);
}

TEST(WakeFrames, CarryTheTagsOfTheClientsFrames)
{
    const flb_hop hop{
        .mac = {2, 0, 0, 0, 0, 5}, .link = 3 | 2 << FLB_LINK_TAGS_SHIFT | FLB_LINK_OUTER_AD, .vlan = {7, 0x2009}};
    const WaitingClient client{endpoint("fd00:1::5", 40000), endpoint("fd00:9::1", 80), hop};
    for (const FrameBytes& frame : wake_frames(client, {2, 0, 0, 0, 0, 9}, 0)) {
        ASSERT_EQ(frame.size(), 14u + 8 + 40 + 20);
        EXPECT_EQ(FrameBytes(frame.begin() + 12, frame.begin() + 22),
            (FrameBytes{0x88, 0xa8, 0, 7, 0x81, 0x00, 0x20, 9, 0x86, 0xdd}));
        EXPECT_EQ(big_endian(frame, 26, 2), 20u);
        EXPECT_EQ(frame[28], IPPROTO_TCP);
        EXPECT_EQ(folded_sum(frame, 30, 82, 20 + IPPROTO_TCP), 0xffffu);
    }
}

// ---- when

struct FakeSender : FrameSender {
    explicit FakeSender(std::vector<std::pair<std::uint32_t, FrameBytes>>& frames) : sent(frames) {}
    Result<void> send(std::uint32_t ifindex, std::span<const std::uint8_t> frame) override
    {
        sent.emplace_back(ifindex, FrameBytes(frame.begin(), frame.end()));
        return {};
    }
    std::vector<std::pair<std::uint32_t, FrameBytes>>& sent;
};

class WakingTest : public testing::Test {
protected:
    WakingTest()
    {
        plane_.tables.backends[1] = {};
        plane_.tables.backends[2] = {};
        wait_for(1);
    }
    void wait_for(std::size_t clients, BackendId backend = 1)
    {
        FlowTables table(clients / FLB_WAYS + 1);
        for (std::size_t i = 0; i < clients; i++)
            table.put4(i / FLB_WAYS, i % FLB_WAYS,
                {.port = static_cast<std::uint16_t>(1024 + i), .backend = static_cast<std::uint32_t>(backend)});
        plane_.sets4 = table.sets4;
    }
    void reset(BackendId backend, bool yes = true)
    {
        plane_.tables.backends[backend].reset = yes;
        waking_.look();
    }

    FakeLoop loop_;
    FakeLog log_;
    FakePlane plane_;
    std::vector<std::pair<std::uint32_t, FrameBytes>> sent_;
    bool allowed_ = true;
    int opened_ = 0;
    Waking waking_{loop_, plane_, log_, [this]() -> Result<std::unique_ptr<FrameSender>> {
                       opened_++;
                       if (!allowed_)
                           return fail("no", "give it CAP_NET_RAW");
                       return std::make_unique<FakeSender>(sent_);
                   }};
};

TEST_F(WakingTest, NothingHappensWhileNobodyIsToBeReset)
{
    waking_.look();
    loop_.advance(1h);
    EXPECT_TRUE(plane_.walks.empty());
    EXPECT_EQ(opened_, 0);
}

TEST_F(WakingTest, ABackendThatIsToBeResetHasItsClientsWokenAtOnceAndTwiceAgain)
{
    wait_for(1, 2);
    reset(2);
    loop_.advance(1ms);
    EXPECT_THAT(plane_.walks, testing::ElementsAre(std::set<BackendId>{2}));
    ASSERT_EQ(sent_.size(), 2u);
    EXPECT_EQ(sent_[0].first, 2u);
    EXPECT_EQ(log_.count("1 connections are reset"), 1u);
    loop_.advance(1h);
    EXPECT_EQ(plane_.walks.size(), 3u);
    waking_.look(); // nothing new
    loop_.advance(1h);
    EXPECT_EQ(plane_.walks.size(), 3u);
    EXPECT_EQ(log_.count("connections are reset"), 1u);
}

TEST_F(WakingTest, ABackendThatReturnsIsLeftAloneAndWokenForWhenItFallsAgain)
{
    reset(1);
    loop_.advance(1ms);
    reset(1, false);
    loop_.advance(1h);
    EXPECT_EQ(plane_.walks.size(), 1u);
    reset(1);
    loop_.advance(1ms);
    EXPECT_EQ(plane_.walks.size(), 2u);
}

TEST_F(WakingTest, ManyClientsAreWokenAtABoundedRate)
{
    wait_for(1000);
    reset(1);
    loop_.advance(1ms);
    EXPECT_EQ(sent_.size(), 2u * 200);
    loop_.advance(100ms);
    EXPECT_EQ(sent_.size(), 2u * 1000);
}

TEST_F(WakingTest, ABackendThatFallsDuringAPassGetsItsOwn)
{
    wait_for(1000);
    reset(1);
    loop_.advance(15ms);
    reset(2);
    loop_.advance(100ms);
    EXPECT_EQ(plane_.walks.front(), (std::set<BackendId>{1}));
    EXPECT_EQ(plane_.walks.back(), (std::set<BackendId>{1, 2}));
}

TEST_F(WakingTest, AClientBehindAnInterfaceThatHasGoneIsLeftOut)
{
    plane_.sets4[0].way[0].f.hop.link = 3;
    reset(1);
    loop_.advance(1h);
    EXPECT_TRUE(sent_.empty());
}

TEST_F(WakingTest, WithoutTheCapabilityItSaysSoOnceAndGoesOn)
{
    allowed_ = false;
    reset(1);
    reset(2);
    waking_.prepare();
    loop_.advance(1h);
    EXPECT_EQ(opened_, 1);
    EXPECT_EQ(log_.count("CAP_NET_RAW"), 1u);
    EXPECT_TRUE(plane_.walks.empty());
}

} // namespace
} // namespace featherlb
