// SPDX-License-Identifier: Apache-2.0
// The event loop: timers, readable descriptors, signals and work posted from other threads, one at a time in the
// thread that calls run(). This seam is all that the daemon knows of the library behind it (docs/adr/0002), and
// tests put a clock of their own behind it. A handler runs to its end before the next one; it must not block.
#pragma once

#include <chrono>
#include <functional>
#include <initializer_list>
#include <memory>

namespace featherlb {

// What was asked of the loop lasts as long as this lives. Destroying it inside its own handler is allowed. It may
// not outlive the loop.
class Registration {
public:
    virtual ~Registration() = default;
};
using Handle = std::unique_ptr<Registration>;

class Loop {
public:
    using Clock = std::chrono::steady_clock;

    virtual ~Loop() = default;

    [[nodiscard]] virtual Clock::time_point now() const = 0;
    // Once.
    [[nodiscard]] virtual Handle after(Clock::duration delay, std::function<void()> handler) = 0;
    // Again and again while there is something to read. The descriptor stays the caller's and must outlive the handle.
    [[nodiscard]] virtual Handle on_readable(int fd, std::function<void()> handler) = 0;
    // The same while there is room to write, or a connection that was begun has come to its end, good or bad. A
    // descriptor has one of the two handles at a time.
    [[nodiscard]] virtual Handle on_writable(int fd, std::function<void()> handler) = 0;
    [[nodiscard]] virtual Handle on_signals(std::initializer_list<int> numbers, std::function<void(int)> handler) = 0;
    // From any thread, while the loop exists.
    virtual void post(std::function<void()> handler) = 0;

    // Returns after stop().
    virtual void run() = 0;
    virtual void stop() = 0;
};

[[nodiscard]] std::unique_ptr<Loop> make_loop();

} // namespace featherlb
