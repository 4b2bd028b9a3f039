// SPDX-License-Identifier: Apache-2.0
#include "base/fd.h"

#include <type_traits>

#include <fcntl.h>
#include <gtest/gtest.h>

namespace featherlb {
namespace {

bool is_open(int fd)
{
    return ::fcntl(fd, F_GETFD) >= 0;
}

int open_something()
{
    return ::open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static_assert(!std::is_convertible_v<Fd, int> && !std::is_convertible_v<int, Fd> && !std::is_copy_constructible_v<Fd>);

TEST(Fd, closes_what_it_owns_once)
{
    const int number = open_something();
    {
        const Fd fd(number);
        EXPECT_TRUE(fd.valid());
        EXPECT_EQ(fd.get(), number);
        EXPECT_TRUE(is_open(number));
    }
    EXPECT_FALSE(is_open(number));
    EXPECT_FALSE(Fd().valid());
    EXPECT_FALSE(Fd(-1).valid());
}

TEST(Fd, moves_ownership)
{
    const int first = open_something();
    const int second = open_something();
    Fd a(first);
    Fd b(std::move(a));
    EXPECT_EQ(b.get(), first);
    Fd c(second);
    c = std::move(b);
    EXPECT_EQ(c.get(), first);
    EXPECT_FALSE(is_open(second)) << "what was owned before is closed";
    const int released = c.release();
    EXPECT_FALSE(c.valid());
    EXPECT_TRUE(is_open(released));
    c.reset(released);
    c.reset();
    EXPECT_FALSE(is_open(released));
}

} // namespace
} // namespace featherlb
