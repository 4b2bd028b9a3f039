// SPDX-License-Identifier: Apache-2.0
#include "base/loop.h"

#include <csignal>
#include <thread>
#include <vector>

#include <gtest/gtest.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/fd.h"

namespace featherlb {
namespace {

using namespace std::chrono_literals;

TEST(Loop, TimersRunInOrderAndNotAfterTheirHandleIsGone)
{
    const auto loop = make_loop();
    std::vector<int> order;
    Handle second = loop->after(20ms, [&] {
        order.push_back(2);
        loop->stop();
    });
    Handle first = loop->after(5ms, [&] { order.push_back(1); });
    Handle gone = loop->after(1ms, [&] { order.push_back(0); });
    gone.reset();
    loop->run();
    EXPECT_EQ(order, (std::vector<int>{1, 2}));
}

TEST(Loop, ATimerMayReplaceItselfInItsOwnHandler)
{
    const auto loop = make_loop();
    int left = 3;
    Handle timer;
    std::function<void()> again = [&] {
        if (--left == 0)
            return loop->stop();
        timer = loop->after(1ms, again);
    };
    timer = loop->after(1ms, again);
    loop->run();
    EXPECT_EQ(left, 0);
}

// libmicrohttpd's epoll descriptor hangs in the loop's: what a handler leaves unread must be told again.
TEST(Loop, AReadableEpollSetIsToldUntilItIsReadEmpty)
{
    const auto loop = make_loop();
    const Fd inner(::epoll_create1(EPOLL_CLOEXEC));
    const Fd event(::eventfd(3, EFD_SEMAPHORE | EFD_NONBLOCK | EFD_CLOEXEC));
    epoll_event wanted{};
    wanted.events = EPOLLIN;
    ASSERT_EQ(::epoll_ctl(inner.get(), EPOLL_CTL_ADD, event.get(), &wanted), 0);
    int told = 0;
    Handle watch = loop->on_readable(inner.get(), [&] {
        eventfd_t one = 0;
        ASSERT_EQ(::eventfd_read(event.get(), &one), 0);
        if (++told == 3)
            loop->stop();
    });
    loop->run();
    EXPECT_EQ(told, 3);
}

TEST(Loop, WorkFromOtherThreadsArrives)
{
    const auto loop = make_loop();
    std::thread other([&] { loop->post([&] { loop->stop(); }); });
    loop->run();
    other.join();
}

TEST(Loop, SignalsAreEvents)
{
    const auto loop = make_loop();
    int got = 0;
    Handle signals = loop->on_signals({SIGUSR1, SIGUSR2}, [&](int number) {
        got = number;
        loop->stop();
    });
    ::kill(::getpid(), SIGUSR2);
    loop->run();
    EXPECT_EQ(got, SIGUSR2);
}

TEST(Loop, ADescriptorStaysOpenWhenItsWatchEnds)
{
    const auto loop = make_loop();
    const Fd event(::eventfd(1, EFD_CLOEXEC));
    loop->on_readable(event.get(), [] {}).reset();
    Handle again = loop->on_readable(event.get(), [&] { loop->stop(); });
    loop->run();
    eventfd_t value = 0;
    EXPECT_EQ(::eventfd_read(event.get(), &value), 0);
}

} // namespace
} // namespace featherlb
