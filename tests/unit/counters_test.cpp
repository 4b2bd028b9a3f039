// SPDX-License-Identifier: Apache-2.0
#include "kernel/counters.h"

#include <vector>

#include <gtest/gtest.h>

namespace featherlb {
namespace {

TEST(Counters, SumABackendOverAllProcessors)
{
    std::vector<flb_backend_counters> cells(12);
    for (std::uint32_t processor = 0; processor < 3; processor++) {
        auto& cell = cells[std::size_t{processor} * 4 + 2];
        cell.packets[0] = 1 + processor;
        cell.bytes[1] = 100;
        cell.connections = 1;
        cells[processor * 4 + 3].connections = 1000;
    }
    const auto sum = sum_backend(cells, 4, 2);
    EXPECT_EQ(sum.packets[0], 6u);
    EXPECT_EQ(sum.packets[1], 0u);
    EXPECT_EQ(sum.bytes[1], 300u);
    EXPECT_EQ(sum.connections, 3u);
}

TEST(Counters, SumDropsByReason)
{
    std::vector<flb_drop_counters> cells(2);
    cells[0].packets[FLB_DROP_no_backend] = 3;
    cells[1].packets[FLB_DROP_no_backend] = 4;
    cells[1].packets[FLB_DROP_too_big] = 1;
    const auto sum = sum_drops(cells);
    EXPECT_EQ(sum[FLB_DROP_no_backend], 7u);
    EXPECT_EQ(sum[FLB_DROP_too_big], 1u);
}

TEST(Counters, SumEvents)
{
    std::vector<flb_drop_counters> cells(2);
    cells[0].events[FLB_EVENT_evicted] = 3;
    cells[1].events[FLB_EVENT_evicted] = 4;
    cells[1].events[FLB_EVENT_COUNT - 1] = 1;
    const auto sum = sum_events(cells);
    EXPECT_EQ(sum[FLB_EVENT_evicted], 7u);
    EXPECT_EQ(sum.back(), 1u);
}

TEST(Counters, NameEveryReason)
{
    EXPECT_EQ(drop_reason(FLB_DROP_truncated).name, "truncated");
    EXPECT_EQ(drop_reason(FLB_DROP_no_backend).text, "the service has no backend that takes connections");
    EXPECT_EQ(drop_reason(0).name, "none");
    EXPECT_EQ(drop_reason(FLB_DROP_REASON_COUNT).name, "unknown");
    for (std::uint32_t reason = 1; reason < FLB_DROP_REASON_COUNT; reason++) {
        EXPECT_FALSE(drop_reason(reason).name.empty());
        EXPECT_FALSE(drop_reason(reason).text.empty());
    }
    for (std::uint32_t event = 0; event < FLB_EVENT_COUNT; event++)
        EXPECT_FALSE(event_words(event).text.empty());
    EXPECT_EQ(event_words(FLB_EVENT_COUNT).name, "unknown");
}

} // namespace
} // namespace featherlb
