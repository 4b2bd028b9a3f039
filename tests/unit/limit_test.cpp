// SPDX-License-Identifier: Apache-2.0
// What one source may do (bpf/limit.h) on the host: against a model, and with threads. The same tests run under
// ThreadSanitizer (preset tsan).
#include <atomic>
#include <map>
#include <random>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "featherlb/abi.h"

namespace {

struct LimitMemory {
    flb_load load{};
    std::vector<flb_limit_set> counts;
    std::vector<flb_rate_set> rates;
};
LimitMemory memory;

const flb_load* flow_load()
{
    return &memory.load;
}

flb_limit_set* limit_set_at(__u32 index)
{
    return index < memory.counts.size() ? &memory.counts[index] : nullptr;
}

flb_rate_set* limit_rate_at(__u32 index)
{
    return index < memory.rates.size() ? &memory.rates[index] : nullptr;
}

#include "limit.h"

void make_tables(std::uint32_t sets)
{
    memory = {};
    memory.counts.resize(sets);
    memory.rates.resize(sets);
    memory.load.limit_sets = sets;
    memory.load.rate_sets = sets;
    memory.load.flow_seed[0] = 0x1234567890abcdefULL;
    memory.load.flow_seed[1] = 0xfedcba0987654321ULL;
}

std::uint64_t everything_counted()
{
    std::uint64_t sum = 0;
    for (const flb_limit_set& set : memory.counts)
        for (const flb_limit_count& entry : set.way)
            sum += entry.ctl & LIMIT_COUNT;
    return sum;
}

TEST(LimitCounts, go_up_to_the_limit_and_down_to_nothing)
{
    make_tables(4);
    const __u64 source = limit_identity(1, 7);
    for (int i = 0; i < 3; i++)
        EXPECT_EQ(limit_add(source, 3), LIMIT_COUNTED);
    EXPECT_EQ(limit_add(source, 3), LIMIT_REACHED);
    EXPECT_EQ(limit_total(source), 3u);
    EXPECT_EQ(limit_add(source, LIMIT_ANY), LIMIT_COUNTED);
    for (int i = 0; i < 4; i++)
        EXPECT_TRUE(limit_remove(source));
    EXPECT_FALSE(limit_remove(source));
    EXPECT_EQ(limit_total(source), 0u);
}

TEST(LimitCounts, of_other_clients_and_services_are_others)
{
    make_tables(4);
    EXPECT_EQ(limit_add(limit_identity(1, 7), 1), LIMIT_COUNTED);
    EXPECT_EQ(limit_add(limit_identity(1, 8), 1), LIMIT_COUNTED);
    EXPECT_EQ(limit_add(limit_identity(2, 7), 1), LIMIT_COUNTED);
    EXPECT_EQ(limit_add(limit_identity(1, 7), 1), LIMIT_REACHED);
}

TEST(LimitCounts, have_room_for_most_of_the_entries_and_say_when_there_is_none)
{
    constexpr std::uint32_t sets = 1024;
    constexpr std::uint64_t entries = std::uint64_t{sets} * FLB_LIMIT_WAYS;
    make_tables(sets);
    std::uint32_t refused = 0;
    for (std::uint64_t client = 0; client < entries * 8 / 10; client++)
        refused += limit_add(limit_identity(1, client), 10) == LIMIT_NO_ROOM;
    EXPECT_LT(refused, entries / 100) << "at four fifths of the load";
    for (std::uint64_t client = 0; client < entries * 4; client++)
        refused += limit_add(limit_identity(2, client), 10) == LIMIT_NO_ROOM;
    EXPECT_EQ(everything_counted(), entries);
}

TEST(LimitCounts, agree_with_a_model)
{
    std::mt19937_64 random(3);
    for (const std::uint32_t sets : {2u, 16u, 256u}) {
        make_tables(sets);
        std::map<std::uint64_t, std::uint32_t> model;
        std::uint64_t without_room = 0;
        for (int step = 0; step < 50000; step++) {
            const std::uint64_t client = random() % (std::uint64_t{sets} * 2);
            const __u64 source = limit_identity(3, client);
            std::uint32_t& count = model[client];
            if (random() % 2) {
                const limit_result result = limit_add(source, 5);
                if (count >= 5)
                    ASSERT_EQ(result, LIMIT_REACHED);
                else if (result == LIMIT_NO_ROOM)
                    without_room++;
                else
                    count++;
            } else {
                ASSERT_EQ(limit_remove(source) != 0, count > 0);
                count -= count > 0;
            }
            ASSERT_EQ(limit_total(source), count);
        }
        std::uint64_t sum = 0;
        for (const auto& [client, count] : model)
            sum += count;
        EXPECT_EQ(everything_counted(), sum);
        RecordProperty("without_room", static_cast<int>(without_room));
    }
}

TEST(LimitCounts, by_many_threads_lose_nothing_and_keep_the_limit)
{
    constexpr std::uint32_t clients = 12, limit = 6, threads = 4;
    make_tables(2); // so that claims collide
    std::atomic<std::uint64_t> passed_limit = 0, lost = 0;
    {
        std::vector<std::jthread> running;
        for (std::uint32_t t = 0; t < threads; t++)
            running.emplace_back([&, t] {
                std::mt19937_64 random(t);
                std::map<std::uint64_t, std::uint32_t> mine;
                for (int step = 0; step < 20000; step++) {
                    const std::uint64_t client = random() % clients;
                    const __u64 source = limit_identity(1, client);
                    if (random() % 2) {
                        mine[client] += limit_add(source, limit) == LIMIT_COUNTED;
                        passed_limit += limit_total(source) > limit + threads;
                    } else if (mine[client] > 0) {
                        mine[client]--;
                        lost += !limit_remove(source);
                    }
                }
                for (auto& [client, count] : mine)
                    for (; count > 0; count--)
                        lost += !limit_remove(limit_identity(1, client));
            });
    }
    EXPECT_EQ(lost, 0u) << "each that was counted up could be counted down";
    EXPECT_EQ(passed_limit, 0u);
    EXPECT_EQ(everything_counted(), 0u);
    for (const flb_limit_set& set : memory.counts)
        for (const flb_limit_count& entry : set.way)
            EXPECT_FALSE(entry.ctl & LIMIT_CLAIMED) << "a claim was left behind";
}

constexpr std::uint32_t hz = 250;
constexpr std::uint64_t long_after_boot = 0x123456789ULL;

TEST(LimitRates, let_a_burst_through_and_then_one_an_interval)
{
    make_tables(4);
    const __u64 source = limit_identity(1, 7), interval = limit_interval(hz, 600); // ten a second: 25 jiffies
    __u64 now = long_after_boot;
    for (int i = 0; i < 5; i++)
        EXPECT_TRUE(limit_take(source, now, interval, 5));
    EXPECT_FALSE(limit_take(source, now, interval, 5));
    EXPECT_FALSE(limit_take(source, now + 24, interval, 5));
    EXPECT_TRUE(limit_take(source, now + 25, interval, 5));
    EXPECT_FALSE(limit_take(source, now + 25, interval, 5));
    now += 1000000;
    for (int i = 0; i < 5; i++)
        EXPECT_TRUE(limit_take(source, now, interval, 5));
    EXPECT_FALSE(limit_take(source, now, interval, 5));
}

TEST(LimitRates, hold_over_time_whatever_the_pattern)
{
    std::mt19937_64 random(5);
    for (const std::uint32_t a_minute : {1u, 30u, 600u, 6000u, 600'000u}) {
        for (const std::uint32_t burst : {1u, 10u, 60u}) {
            make_tables(1);
            const __u64 source = limit_identity(1, 7), interval = limit_interval(hz, a_minute);
            __u64 now = long_after_boot;
            std::uint64_t allowed = 0, asked = 0;
            while (now < long_after_boot + 600ULL * hz) {
                now += random() % 3 ? 1 : random() % 300;
                for (std::uint64_t i = random() % (a_minute > 6000 ? 200 : 4); i > 0; i--, asked++)
                    allowed += limit_take(source, now, interval, burst) != 0;
            }
            const std::uint64_t most = burst + (now - long_after_boot) * a_minute / 60 / hz + 1;
            EXPECT_LE(allowed, most) << a_minute << " a minute, burst " << burst << ", asked " << asked;
            EXPECT_GE(allowed, std::min<std::uint64_t>(asked, burst));
        }
    }
}

TEST(LimitRates, survive_the_clocks_end)
{
    make_tables(1);
    const __u64 source = limit_identity(1, 7), interval = limit_interval(hz, 600);
    const __u64 end = 1ULL << (LIMIT_TIME_BITS - LIMIT_JIFFY_SHIFT); // where the kept part of the time begins again
    for (int i = 0; i < 5; i++)
        EXPECT_TRUE(limit_take(source, end - 10, interval, 5));
    EXPECT_FALSE(limit_take(source, end + 10, interval, 5));
    EXPECT_TRUE(limit_take(source, end + 20, interval, 5));
    EXPECT_FALSE(limit_take(source, end + 20, interval, 5));
}

TEST(LimitRates, of_a_busy_source_are_not_forgotten_for_new_ones)
{
    // At any time of the clock, which begins again and again: also where 0 lies ahead of it.
    for (const std::uint64_t jiffies :
        {std::uint64_t{7}, long_after_boot, long_after_boot + 0x80000000, ~std::uint64_t{999}}) {
        make_tables(1);
        const __u64 busy = limit_identity(1, 7), interval = limit_interval(hz, 600);
        for (int i = 0; i < 10; i++)
            EXPECT_TRUE(limit_take(busy, jiffies, interval, 10)) << jiffies;
        for (std::uint64_t client = 100; client < 2100; client++)
            EXPECT_TRUE(limit_take(limit_identity(1, client), jiffies, interval, 10)) << jiffies;
        EXPECT_FALSE(limit_take(busy, jiffies, interval, 10)) << jiffies;
    }
}

TEST(LimitRates, are_charged_once_by_each_thread_that_asks)
{
    make_tables(1);
    const __u64 source = limit_identity(1, 7), interval = limit_interval(hz, 600);
    std::atomic<int> allowed = 0;
    {
        std::vector<std::jthread> running;
        for (int t = 0; t < 4; t++)
            running.emplace_back([&] {
                for (int i = 0; i < 1000; i++)
                    allowed += limit_take(source, long_after_boot, interval, 500) != 0;
            });
    }
    EXPECT_LE(allowed, 500);
    EXPECT_GE(allowed, 490) << "contention refuses few";
}

} // namespace
