// SPDX-License-Identifier: Apache-2.0
// The owner of one file descriptor: closes it once, may be moved, never copied. It does not convert to int:
// whoever needs the number says get(), whoever takes it over says release(). Not thread-safe by itself.
#pragma once

#include <utility>

#include <unistd.h>

namespace featherlb {

class Fd {
public:
    Fd() = default;                  // owns nothing
    explicit Fd(int fd) : fd_(fd) {} // takes ownership; a negative number is none
    Fd(Fd&& other) noexcept : fd_(other.release()) {}
    Fd& operator=(Fd&& other) noexcept
    {
        reset(other.release());
        return *this;
    }
    Fd(const Fd&) = delete;
    Fd& operator=(const Fd&) = delete;
    ~Fd() { reset(); }

    [[nodiscard]] bool valid() const { return fd_ >= 0; }
    [[nodiscard]] int get() const { return fd_; }
    [[nodiscard]] int release() { return std::exchange(fd_, -1); }
    // The error of close() is of no use here: Linux has freed the number even when it reports one.
    void reset(int fd = -1)
    {
        const int old = std::exchange(fd_, fd);
        if (old >= 0)
            ::close(old);
    }

private:
    int fd_ = -1;
};

} // namespace featherlb
