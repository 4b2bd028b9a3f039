// SPDX-License-Identifier: Apache-2.0
#include "kernel/flow_copy.h"

#include <algorithm>
#include <cstring>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "flow_tables.h"

namespace featherlb {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr std::uint32_t now = 1000;

// Two tables of which one is copied, and a new one that answers as it is told.
class FlowCopyTest : public testing::Test {
protected:
    FlowCopyTest() { timeouts_.fill(100); }

    // A pair of ours at a set: the owner in way 0, the reply in way 1.
    void pair4(std::uint32_t set, flb_flow_state state, std::uint16_t port = 40000, std::uint32_t age = now)
    {
        tables.put4(set, 0, {.state = state, .age = age, .port = port, .pair = set * FLB_WAYS + 1});
        tables.put4_reply(set, 1, set * FLB_WAYS, age);
    }

    Result<void> pass(FlowCopy& copy)
    {
        asked.clear();
        return copy.pass({now, timeouts_});
    }

    FlowCopy copy(const Layout& layout = Layout::ours())
    {
        return {ForeignFlows(std::as_writable_bytes(std::span(tables.sets4)), layout, false),
            ForeignFlows(std::as_writable_bytes(std::span(tables.sets6)), layout, true),
            [this](std::span<flb_copy> copies) { return put(copies); }};
    }

    Result<void> put(std::span<flb_copy> copies)
    {
        EXPECT_LE(copies.size(), std::size_t{FLB_COPIES});
        if (!broken.empty())
            return fail(broken);
        for (flb_copy& one : copies) {
            asked.push_back(one);
            one.result = answers.empty() ? std::uint32_t{FLB_COPY_DONE} : answers.front();
            if (!answers.empty())
                answers.erase(answers.begin());
            if (one.what == FLB_COPY_INSERT && one.result == FLB_COPY_DONE) {
                one.index = next_index++;
                one.generation = 3;
            }
        }
        return {};
    }

    std::vector<std::uint32_t> whats() const
    {
        std::vector<std::uint32_t> result;
        for (const flb_copy& one : asked)
            result.push_back(one.what);
        return result;
    }

    FlowTables tables{64};
    std::array<std::uint32_t, FLB_FLOW_STATES> timeouts_{};
    std::vector<flb_copy> asked;
    std::vector<std::uint32_t> answers;
    std::uint32_t next_index = 500;
    std::string broken;
};

TEST_F(FlowCopyTest, AConnectionIsCopiedWithBothEntries)
{
    tables.put4(2, 1,
        {.state = FLB_FLOW_FIN_CLIENT,
            .age = now - 7,
            .port = 41000,
            .pair = 23,
            .backend = 5,
            .bits = FLB_CTL_COUNTED});
    tables.put4_reply(5, 3, 9, now - 3);
    tables.sets4[2].way[1].f.aux = 77;
    tables.sets4[2].way[1].f.ports_delta = 0x1234;
    tables.sets4[2].way[1].f.hop = {.mac = {1, 2, 3, 4, 5, 6}, .link = 7, .vlan = {8, 9}};
    auto flows = copy();
    ASSERT_TRUE(pass(flows));
    ASSERT_EQ(asked.size(), 1u);
    const flb_copy& one = asked[0];
    EXPECT_EQ(one.what, std::uint32_t{FLB_COPY_INSERT});
    EXPECT_EQ(one.v6, 0u);
    EXPECT_EQ(one.backend, 5u);
    EXPECT_EQ(one.state, std::uint32_t{FLB_FLOW_FIN_CLIENT});
    EXPECT_EQ(one.age, now - 7);
    EXPECT_EQ(one.aux, 77u);
    EXPECT_EQ(one.counted, 1u);
    EXPECT_EQ(one.reply_state, std::uint32_t{FLB_FLOW_REPLY});
    EXPECT_EQ(one.reply_age, now - 3);
    EXPECT_EQ(std::memcmp(one.owner.key, &tables.sets4[2].way[1].key, sizeof(flb_tuple4)), 0);
    EXPECT_EQ(std::memcmp(one.owner.addresses, &tables.sets4[2].way[1].saddr, 8), 0);
    EXPECT_EQ(std::memcmp(one.reply.key, &tables.sets4[5].way[3].key, sizeof(flb_tuple4)), 0);
    EXPECT_EQ(one.owner.ports_delta, 0x1234);
    EXPECT_EQ(one.owner.hop.link, 7);
    EXPECT_EQ(flows.totals().copied, 1u);
}

TEST_F(FlowCopyTest, OfIpv6AndOneWayToo)
{
    tables.put6(1, 0, {.age = now, .pair = 9});
    tables.put6_reply(2, 1, 4, now);
    tables.put6(3, 0, {.state = FLB_FLOW_CLOSED_ONE_WAY, .age = now, .port = 41000, .pair = FLB_NO_PAIR});
    auto flows = copy();
    ASSERT_TRUE(pass(flows));
    ASSERT_EQ(asked.size(), 2u);
    EXPECT_EQ(asked[0].v6, 1u);
    EXPECT_EQ(std::memcmp(asked[0].owner.key, &tables.sets6[1].way[0].key, sizeof(flb_tuple6)), 0);
    EXPECT_EQ(std::memcmp(asked[0].owner.addresses, &tables.sets6[1].way[0].saddr, 32), 0);
    EXPECT_EQ(asked[1].reply_state, std::uint32_t{FLB_FLOW_EMPTY});
}

TEST_F(FlowCopyTest, WhatIsOverOrHalfIsLeft)
{
    pair4(1, FLB_FLOW_ESTABLISHED, 40001, now - 101); // expired
    tables.put4(2, 0, {.age = now, .pair = 9});       // lost its reply
    tables.put4(3, 0, {.age = now, .pair = 13});      // another's reply is there
    tables.put4_reply(3, 1, 12, now, 8);
    tables.put4(4, 0, {.age = now, .pair = 4000000});
    tables.put4(5, 0, {.state = FLB_FLOW_BUSY, .age = now, .pair = 21});
    tables.put4_reply(6, 0, 0, now);
    auto flows = copy();
    ASSERT_TRUE(pass(flows));
    EXPECT_THAT(asked, IsEmpty());
}

TEST_F(FlowCopyTest, LaterPassesAskForWhatHasChanged)
{
    pair4(1, FLB_FLOW_SYN, 40001);
    pair4(2, FLB_FLOW_ESTABLISHED, 40002);
    pair4(3, FLB_FLOW_ESTABLISHED, 40003);
    pair4(4, FLB_FLOW_ESTABLISHED, 40004);
    auto flows = copy();
    ASSERT_TRUE(pass(flows));
    EXPECT_EQ(asked.size(), 4u);
    ASSERT_TRUE(pass(flows));
    EXPECT_THAT(asked, IsEmpty());

    pair4(1, FLB_FLOW_SYN_ACK, 40001); // goes on
    tables.sets4[1].way[0].f.aux = 9;
    tables.sets4[2].way[0].f.ctl = 0;                                 // has gone
    tables.sets4[3].way[0].f.ctl += 1ULL << FLB_CTL_GENERATION_SHIFT; // is another one
    tables.sets4[3].way[1].f.aux += 1;
    pair4(5, FLB_FLOW_SYN, 40005); // is new
    ASSERT_TRUE(pass(flows));
    EXPECT_THAT(
        whats(), ElementsAre(FLB_COPY_ADVANCE, FLB_COPY_RELEASE, FLB_COPY_RELEASE, FLB_COPY_INSERT, FLB_COPY_INSERT));
    EXPECT_EQ(asked[0].index, 500u);
    EXPECT_EQ(asked[0].generation, 3u);
    EXPECT_EQ(asked[0].seen, std::uint32_t{FLB_FLOW_SYN});
    EXPECT_EQ(asked[0].state, std::uint32_t{FLB_FLOW_SYN_ACK});
    EXPECT_EQ(asked[0].aux, 9u);
    EXPECT_EQ(asked[1].index, 501u);
    EXPECT_EQ(asked[2].index, 502u);
    EXPECT_EQ(flows.totals().copied, 4u);
    EXPECT_EQ(flows.totals().moved, 1u);
    EXPECT_EQ(flows.totals().ended, 2u);
    ASSERT_TRUE(pass(flows));
    EXPECT_THAT(asked, IsEmpty());
}

TEST_F(FlowCopyTest, AnAgeThatHasChangedIsToldWhereItMatters)
{
    pair4(1, FLB_FLOW_ESTABLISHED, 40001, now - 50);
    pair4(2, FLB_FLOW_ESTABLISHED, 40002, now - 50);
    auto flows = copy();
    ASSERT_TRUE(pass(flows));
    pair4(1, FLB_FLOW_ESTABLISHED, 40001, now - 1);
    pair4(2, FLB_FLOW_ESTABLISHED, 40002, now - 49);
    ASSERT_TRUE(pass(flows));
    ASSERT_EQ(asked.size(), 1u);
    EXPECT_EQ(asked[0].what, std::uint32_t{FLB_COPY_ADVANCE});
    EXPECT_EQ(asked[0].state, asked[0].seen);
    EXPECT_EQ(asked[0].age, now - 1);
    EXPECT_EQ(flows.totals().moved, 0u);
}

TEST_F(FlowCopyTest, OneThatHasLostItsPortMakesRoomForWhoHasIt)
{
    pair4(1, FLB_FLOW_SYN, 40001);
    auto flows = copy();
    ASSERT_TRUE(pass(flows));
    tables.sets4[1].way[1].f.pair = 999; // another's
    ASSERT_TRUE(pass(flows));
    EXPECT_THAT(whats(), ElementsAre(FLB_COPY_RELEASE));
}

TEST_F(FlowCopyTest, WhatWasLastSeenBeforeIsNotPutIn)
{
    pair4(1, FLB_FLOW_ESTABLISHED, 40001, now - 50);
    pair4(2, FLB_FLOW_ESTABLISHED, 40002, now - 5);
    FlowCopy flows(
        ForeignFlows(std::as_writable_bytes(std::span(tables.sets4)), Layout::ours(), false),
        ForeignFlows(std::as_writable_bytes(std::span(tables.sets6)), Layout::ours(), true),
        [this](std::span<flb_copy> copies) { return put(copies); }, now - 6);
    ASSERT_TRUE(pass(flows));
    ASSERT_EQ(asked.size(), 1u);
    EXPECT_EQ(asked[0].age, now - 5);
}

TEST_F(FlowCopyTest, WhatAPacketHasMovedOnIsNotAskedAgain)
{
    pair4(1, FLB_FLOW_SYN, 40001);
    auto flows = copy();
    ASSERT_TRUE(pass(flows));
    pair4(1, FLB_FLOW_SYN_ACK, 40001);
    answers = {FLB_COPY_GONE};
    ASSERT_TRUE(pass(flows));
    EXPECT_EQ(flows.totals().moved, 0u);
    ASSERT_TRUE(pass(flows));
    EXPECT_THAT(asked, IsEmpty());
}

TEST_F(FlowCopyTest, ContendedOnesAreAskedAgainAndTheRestIsCounted)
{
    for (std::uint32_t set = 0; set < 4; set++)
        pair4(set, FLB_FLOW_ESTABLISHED, static_cast<std::uint16_t>(40000 + set));
    answers = {FLB_COPY_CONTENDED, FLB_COPY_FULL, FLB_COPY_KNOWN, FLB_COPY_DONE, FLB_COPY_DONE, FLB_COPY_KNOWN};
    auto flows = copy();
    ASSERT_TRUE(pass(flows));
    EXPECT_EQ(asked.size(), 6u) << "what was in the way may have gone at the end of the pass";
    EXPECT_EQ(flows.totals().copied, 2u);
    EXPECT_EQ(flows.totals().no_room, 1u);
    EXPECT_EQ(flows.totals().known, 1u);
    answers.assign(100, FLB_COPY_CONTENDED);
    ASSERT_TRUE(pass(flows));
    EXPECT_EQ(flows.totals().no_room, 2u) << "for ever contended";
    EXPECT_EQ(flows.totals().known, 0u);
}

TEST_F(FlowCopyTest, ManyGoInBatchesAndAnErrorEndsIt)
{
    tables = FlowTables(400);
    for (std::uint32_t set = 0; set < 400; set++)
        pair4(set, FLB_FLOW_ESTABLISHED, static_cast<std::uint16_t>(1000 + set));
    auto flows = copy();
    ASSERT_TRUE(pass(flows));
    EXPECT_EQ(flows.totals().copied, 400u);
    broken = "no more";
    auto again = copy();
    const auto failed = pass(again);
    ASSERT_FALSE(failed);
    EXPECT_EQ(failed.error().message, "no more");
}

TEST_F(FlowCopyTest, EntriesOfAnotherLayoutAreRead)
{
    // Ours, eight bytes farther back in a larger record.
    std::vector<flb_field> rows(Layout::ours().rows().begin(), Layout::ours().rows().end());
    for (flb_field& row : rows) {
        if (std::string_view(row.name) == "flb_flow4")
            row.size += 64;
        else if (std::string_view(row.name).starts_with("flb_flow4."))
            row.offset += 8;
    }
    pair4(1, FLB_FLOW_ESTABLISHED, 40007);
    std::vector<std::uint64_t> memory(tables.sets4.size() * FLB_WAYS * 16);
    for (std::size_t set = 0; set < tables.sets4.size(); set++)
        for (std::size_t way = 0; way < FLB_WAYS; way++)
            std::memcpy(&memory[(set * FLB_WAYS + way) * 16 + 1], &tables.sets4[set].way[way], sizeof(flb_flow4));
    const Layout layout(rows);
    FlowCopy flows(ForeignFlows(std::as_writable_bytes(std::span(memory)), layout, false),
        ForeignFlows(std::as_writable_bytes(std::span(tables.sets6)), layout, true),
        [this](std::span<flb_copy> copies) { return put(copies); });
    ASSERT_TRUE(pass(flows));
    ASSERT_EQ(asked.size(), 1u);
    EXPECT_EQ(std::memcmp(asked[0].owner.key, &tables.sets4[1].way[0].key, sizeof(flb_tuple4)), 0);
    EXPECT_EQ(std::memcmp(asked[0].reply.key, &tables.sets4[1].way[1].key, sizeof(flb_tuple4)), 0);
}

} // namespace
} // namespace featherlb
