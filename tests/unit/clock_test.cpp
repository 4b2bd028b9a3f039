// SPDX-License-Identifier: Apache-2.0
#include "kernel/clock.h"

#include <array>
#include <numeric>

#include <gtest/gtest.h>

namespace featherlb {
namespace {

using std::chrono::seconds;

TEST(Clock, TakesTheUsualFrequencyThatIsNearest)
{
    EXPECT_EQ(usual_hz(250), 250u);
    EXPECT_EQ(usual_hz(249), 250u);
    EXPECT_EQ(usual_hz(301), 300u);
    EXPECT_EQ(usual_hz(1002), 1000u);
    EXPECT_EQ(usual_hz(99), 100u);
    EXPECT_EQ(usual_hz(1024), 1024u);
}

TEST(Clock, ATickIsAboutASecond)
{
    EXPECT_EQ(tick_shift_for(100), 7u);   // 1.28 s
    EXPECT_EQ(tick_shift_for(250), 8u);   // 1.02 s
    EXPECT_EQ(tick_shift_for(300), 8u);   // 0.85 s
    EXPECT_EQ(tick_shift_for(1000), 10u); // 1.02 s
}

TEST(Clock, TimeoutsAreRoundedUp)
{
    EXPECT_EQ(to_ticks(seconds(0), 250, 8), 1u);
    EXPECT_EQ(to_ticks(seconds(1), 250, 8), 1u);
    EXPECT_EQ(to_ticks(seconds(2), 250, 8), 2u);
    EXPECT_EQ(to_ticks(seconds(30), 250, 8), 30u);
    EXPECT_EQ(to_ticks(seconds::max(), 250, 8), 0x7fffffffu);
    for (const std::uint32_t hz : {100u, 250u, 300u, 1000u})
        for (int s = 1; s < 10000; s++) {
            const std::uint32_t shift = tick_shift_for(hz);
            ASSERT_GE(std::uint64_t{to_ticks(seconds(s), hz, shift)} << shift, std::uint64_t(s) * hz);
        }
}

TEST(Clock, ATimeReadBackIsTheOneWrittenOrOneThatLastsAsManyTicks)
{
    for (const std::uint32_t hz : {100u, 250u, 300u, 1000u})
        for (int s = 1; s < 10000; s++) {
            const std::uint32_t shift = tick_shift_for(hz);
            const std::uint32_t ticks = to_ticks(seconds(s), hz, shift);
            const seconds back = from_ticks(ticks, hz, shift);
            ASSERT_GE(back, seconds(s));
            ASSERT_LE(back, seconds(s + 1));
            ASSERT_EQ(to_ticks(back, hz, shift), ticks);
        }
}

TEST(Clock, TheDefaultTimeoutsAreReadBackExactly)
{
    for (const std::uint32_t hz : {100u, 250u, 300u, 1000u}) {
        flb_settings settings{};
        settings.hz = hz;
        settings.tick_shift = tick_shift_for(hz);
        const Timeouts wanted;
        fill_timeouts(settings, wanted);
        const Timeouts back = timeouts_of(settings);
        if (hz != 100) {
            EXPECT_EQ(back.tcp_handshake, wanted.tcp_handshake) << hz;
            EXPECT_EQ(back.tcp_established, wanted.tcp_established) << hz;
            EXPECT_EQ(back.tcp_closed, wanted.tcp_closed) << hz;
            EXPECT_EQ(back.udp_stream, wanted.udp_stream) << hz;
        }
        EXPECT_EQ(settings.timeout[FLB_FLOW_SYN_ACK], settings.timeout[FLB_FLOW_MIDSTREAM]);
        EXPECT_EQ(settings.timeout[FLB_FLOW_EMPTY], 0u);
        EXPECT_GE(settings.timeout[FLB_FLOW_REPLY_NEW], settings.timeout[FLB_FLOW_UDP_NEW]);
    }
}

TEST(Clock, TheStrideVisitsEveryPairOfAnyPool)
{
    for (const std::uint64_t size : {1ull, 2ull, 31744ull, 31744ull * 3, 64512ull * 255, 65535ull * 65536})
        EXPECT_EQ(std::gcd(std::uint64_t{stride_for(std::array{size})}, size), 1u) << size;
    EXPECT_NE(stride_for(std::array<std::uint64_t, 1>{2654435761ull * 2}), 2654435761u);
    EXPECT_NE(stride_for({}), 0u);
}

} // namespace
} // namespace featherlb
