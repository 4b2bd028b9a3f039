// SPDX-License-Identifier: Apache-2.0
// The only file that includes Asio: it takes seconds to compile.
#include "base/loop.h"

#include <utility>

#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <asio/post.hpp>
#include <asio/signal_set.hpp>
#include <asio/steady_timer.hpp>

namespace featherlb {

namespace {

// What a registration and its pending operation share: the operation may still complete after the handle is gone.
template <typename Source, typename... Args>
struct Shared {
    template <typename... SourceArgs>
    explicit Shared(std::function<void(Args...)> called, SourceArgs&&... args)
        : source(std::forward<SourceArgs>(args)...), handler(std::move(called))
    {
    }
    Source source;
    std::function<void(Args...)> handler;
    bool ended = false;
};

using SharedTimer = Shared<asio::steady_timer>;
using SharedDescriptor = Shared<asio::posix::stream_descriptor>;
using SharedSignals = Shared<asio::signal_set, int>;

void end(SharedTimer& timer)
{
    timer.source.cancel();
}
void end(SharedDescriptor& descriptor)
{
    descriptor.source.release(); // cancels, and leaves the descriptor open
}
void end(SharedSignals& signals)
{
    asio::error_code ignored;
    signals.source.cancel(ignored);
    signals.source.clear(ignored);
}

template <typename T>
class Registered : public Registration {
public:
    explicit Registered(std::shared_ptr<T> shared) : shared_(std::move(shared)) {}
    Registered(const Registered&) = delete;
    Registered& operator=(const Registered&) = delete;
    ~Registered() override
    {
        shared_->ended = true;
        end(*shared_);
    }

private:
    std::shared_ptr<T> shared_;
};

void wait_ready(const std::shared_ptr<SharedDescriptor>& shared, asio::posix::stream_descriptor::wait_type what)
{
    shared->source.async_wait(what, [shared, what](const asio::error_code& error) {
        if (error || shared->ended)
            return;
        shared->handler();
        if (!shared->ended)
            wait_ready(shared, what);
    });
}

void wait_signal(const std::shared_ptr<SharedSignals>& shared)
{
    shared->source.async_wait([shared](const asio::error_code& error, int number) {
        if (error || shared->ended)
            return;
        shared->handler(number);
        if (!shared->ended)
            wait_signal(shared);
    });
}

class AsioLoop : public Loop {
public:
    AsioLoop() : context_(1), work_(asio::make_work_guard(context_)) {}

    Clock::time_point now() const override { return Clock::now(); }

    Handle after(Clock::duration delay, std::function<void()> handler) override
    {
        auto shared = std::make_shared<SharedTimer>(std::move(handler), context_, delay);
        shared->source.async_wait([shared](const asio::error_code& error) {
            if (!error && !shared->ended)
                shared->handler();
        });
        return std::make_unique<Registered<SharedTimer>>(std::move(shared));
    }

    Handle on_readable(int fd, std::function<void()> handler) override
    {
        return on_ready(fd, std::move(handler), asio::posix::stream_descriptor::wait_read);
    }

    Handle on_writable(int fd, std::function<void()> handler) override
    {
        return on_ready(fd, std::move(handler), asio::posix::stream_descriptor::wait_write);
    }

    Handle on_signals(std::initializer_list<int> numbers, std::function<void(int)> handler) override
    {
        auto shared = std::make_shared<SharedSignals>(std::move(handler), context_);
        for (const int number : numbers)
            shared->source.add(number);
        wait_signal(shared);
        return std::make_unique<Registered<SharedSignals>>(std::move(shared));
    }

    void post(std::function<void()> handler) override { asio::post(context_, std::move(handler)); }

    void run() override { context_.run(); }
    void stop() override { context_.stop(); }

private:
    Handle on_ready(int fd, std::function<void()> handler, asio::posix::stream_descriptor::wait_type what)
    {
        auto shared = std::make_shared<SharedDescriptor>(std::move(handler), context_, fd);
        wait_ready(shared, what);
        return std::make_unique<Registered<SharedDescriptor>>(std::move(shared));
    }

    asio::io_context context_;
    asio::executor_work_guard<asio::io_context::executor_type> work_;
};

} // namespace

std::unique_ptr<Loop> make_loop()
{
    return std::make_unique<AsioLoop>();
}

} // namespace featherlb
