// SPDX-License-Identifier: Apache-2.0
// Smoothed response times (bpf/response.h) against the definition in floating point.
#include <cmath>
#include <random>

#include <gtest/gtest.h>

#include "response.h"

namespace {

constexpr double one = static_cast<double>(RESPONSE_ONE);
constexpr double half_life_ns = 65536.0 * 8192;

double us(std::uint64_t word)
{
    return static_cast<double>(word & 0xffffffff) / 16;
}

TEST(Response, WhatIsKnownHalvesWithEachHalfLife)
{
    EXPECT_EQ(response_kept(0), RESPONSE_ONE);
    for (unsigned halvings = 0; halvings < 12; halvings++)
        EXPECT_EQ(response_kept(8192 * halvings), RESPONSE_ONE >> halvings);
    for (std::uint32_t units = 1; units < 8192 * 10; units += 7) {
        EXPECT_NEAR(
            static_cast<double>(response_kept(units)) / one, std::exp2(-static_cast<double>(units) / 8192), 0.0002)
            << units;
        EXPECT_LE(response_kept(units), response_kept(units - 1));
    }
    EXPECT_EQ(response_kept(8192 * 24), 0u);
    for (const std::uint32_t days : {0x7fffffffu, 0x80000000u, 0xc0000000u})
        EXPECT_EQ(response_kept(days), 0u) << days;
    EXPECT_EQ(response_kept(0xffffffff), RESPONSE_ONE) << "another processor is ahead";
}

TEST(Response, TheFirstSampleIsTakenWhole)
{
    EXPECT_EQ(us(response_add(0, 1234, 77777777)), 1234);
    EXPECT_EQ(response_add(0, 1234, 77777777) >> 32, 77777777u >> 16);
    EXPECT_NE(response_add(0, 0, 0), 0u) << "0 is no sample";
    EXPECT_EQ(us(response_add(0, 0xffffffff, 5)), RESPONSE_MOST_US);
}

TEST(Response, SamplesAreAveragedOverTimeWhateverTheirRate)
{
    std::mt19937_64 random(5);
    for (const double between_ns : {2e3, 50e3, 1e6, 30e6, 700e6}) {
        std::uint64_t word = 0;
        double expected = 0, now = 1e12, last = 0;
        const auto samples = static_cast<int>(std::clamp(10 * half_life_ns / between_ns, 200.0, 400000.0));
        double error = 0;
        for (int i = 0; i < samples; i++) {
            const auto sample =
                static_cast<std::uint32_t>(i < samples / 2 ? 100 + random() % 100 : 4000 + random() % 999);
            now += between_ns * static_cast<double>(random() % 1000 + 1) / 500;
            const auto before = word;
            word = response_add(word, sample, static_cast<std::uint64_t>(now));
            const double units = std::floor(now / 65536) - std::floor(last / 65536);
            expected = before == 0 ? sample : sample + (expected - sample) * std::exp2(-units / 8192);
            last = now;
            error = std::max(error, std::abs(us(word) - expected) / expected);
        }
        EXPECT_LT(error, 0.03) << "one each " << between_ns << " ns";
    }
}

TEST(Response, WhatIsNotMeasuredApproachesTheMean)
{
    const std::uint64_t slow = response_add(0, 100000, 0);
    EXPECT_EQ(response_now(slow, 1000 << 4, 0) >> 4, 100000u);
    EXPECT_NEAR(response_now(slow, 1000 << 4, 8192) >> 4, 50500, 1);
    EXPECT_NEAR(response_now(slow, 1000 << 4, 8192 * 7) >> 4, 1773, 2);
    EXPECT_NEAR(response_now(slow, 1000 << 4, 8192 * 30) >> 4, 1000, 1);
    const std::uint64_t fast = response_add(0, 10, 0);
    EXPECT_NEAR(response_now(fast, 1000 << 4, 8192) >> 4, 505, 1);
    EXPECT_EQ(response_now(0, 1000 << 4, 5) >> 4, 1000u) << "nothing is known";
    EXPECT_EQ(response_now(slow, 0, 8192) >> 4, 100000u) << "no mean";
    EXPECT_EQ(response_now(0, 0, 5), 1u);
}

TEST(Response, BucketsArePowersOfTwo)
{
    EXPECT_EQ(response_bucket(0), 0u);
    for (std::uint32_t bit = 0; bit < 29; bit++) {
        EXPECT_EQ(response_bucket(1u << bit), bit + 1 < FLB_RESPONSE_BUCKETS ? bit + 1 : FLB_RESPONSE_BUCKETS - 1);
        EXPECT_EQ(
            response_bucket((2u << bit) - 1), bit + 1 < FLB_RESPONSE_BUCKETS ? bit + 1 : FLB_RESPONSE_BUCKETS - 1);
    }
    EXPECT_EQ(response_bucket(0xffffffff), FLB_RESPONSE_BUCKETS - 1u);
}

} // namespace
