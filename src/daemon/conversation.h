// SPDX-License-Identifier: Apache-2.0
// Conversation: a TCP connection to a backend on which a text is sent and what comes back is judged, as it is or
// through TLS: one attempt of a health check, or one question to an agent. Answer says what came of it.
//
// Thread rule: the loop's thread. It may be destroyed at any time, in Done too.
#pragma once

#include <array>
#include <cerrno>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <sys/socket.h>

#include "base/fd.h"
#include "base/ip.h"
#include "base/loop.h"
#include "daemon/probe.h"
#include "daemon/sockets.h"
#include "daemon/stream.h"

namespace featherlb {

// What is said, and how the other side's part is understood.
template <typename Answer>
struct Talk {
    std::string to_send;
    std::string_view waits_for; // once the connection is there
    // Before it is opened: 0, or the error that ends it. May be empty.
    std::function<int(int socket, int family)> prepare;
    // The answer where the connection alone is one.
    std::optional<Answer> connected;
    // What it says that the connection failed.
    std::function<Answer(CheckResult)> failed;
    // What was received so far, and whether that is all; nothing: wait for more.
    std::function<std::optional<Answer>(std::string_view received, bool ended, int socket)> judge;
    std::unique_ptr<Stream> stream = make_plain_stream();
};

// Each step waits for the socket and goes on in the next; finish() may destroy the object, so it comes last.
template <typename Answer>
class Conversation final : public Probe {
public:
    using Done = std::function<void(const Answer&)>;

    Conversation(Loop& loop, const Endpoint& target, Talk<Answer> talk, Done done)
        : loop_(loop), talk_(std::move(talk)), done_(std::move(done))
    {
        begin(target);
    }

    void look() override
    {
        if (early_)
            return finish(Answer(*early_));
        switch (step_) {
        case Step::connecting:
            return on_connected();
        case Step::sending:
            return send_more();
        case Step::receiving:
            return receive_more();
        case Step::over:
            return;
        }
    }

    [[nodiscard]] std::string waits_for() const override
    {
        const std::string_view first = talk_.stream->waits_for();
        return std::string(step_ == Step::connecting ? "the connection" : first.empty() ? talk_.waits_for : first);
    }

private:
    enum class Step { connecting, sending, receiving, over };

    void begin(const Endpoint& target)
    {
        const int family = target.address.is_ipv4() ? AF_INET : AF_INET6;
        socket_ = Fd(::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
        if (!socket_.valid())
            return fail_soon(errno);
        if (talk_.prepare)
            if (const int error = talk_.prepare(socket_.get(), family))
                return fail_soon(error);
        const SocketAddress address = socket_address(target);
        if (::connect(socket_.get(), reinterpret_cast<const sockaddr*>(&address.bytes), address.length) != 0 &&
            errno != EINPROGRESS)
            return fail_soon(errno);
        wait(Stream::Wants::writing);
    }

    void on_connected()
    {
        const std::optional<int> outcome = connection_outcome(socket_.get());
        if (!outcome)
            return;
        if (*outcome != 0)
            return fail(*outcome);
        if (talk_.connected)
            return finish(Answer(*talk_.connected));
        step_ = Step::sending;
        send_more();
    }

    void send_more()
    {
        if (!talk_.to_send.empty()) {
            const Stream::Moved moved = talk_.stream->send(socket_.get(), talk_.to_send);
            if (moved.failure)
                return finish(talk_.failed(*moved.failure));
            talk_.to_send.erase(0, moved.bytes);
            if (!talk_.to_send.empty())
                return wait(moved.wants.value_or(Stream::Wants::writing));
        }
        step_ = Step::receiving;
        wait(Stream::Wants::reading);
    }

    void receive_more()
    {
        std::array<char, 16384> buffer{}; // as much as a record of TLS has
        const Stream::Moved moved = talk_.stream->receive(socket_.get(), buffer);
        if (moved.failure)
            return finish(talk_.failed(*moved.failure));
        if (moved.wants)
            return wait(*moved.wants);
        received_.append(buffer.data(), moved.bytes);
        if (auto answer = talk_.judge(received_, moved.ended, socket_.get()))
            finish(*std::move(answer));
        else
            wait(Stream::Wants::reading);
    }

    // The step goes on when the socket can do this.
    void wait(Stream::Wants what)
    {
        if (waits_ == what)
            return;
        waits_ = what;
        ready_.reset();
        ready_ = what == Stream::Wants::reading ? loop_.on_readable(socket_.get(), [this] { look(); })
                                                : loop_.on_writable(socket_.get(), [this] { look(); });
    }

    void fail(int error) { finish(talk_.failed(result_of(error))); }

    // Done is not called before the constructor has returned.
    void fail_soon(int error)
    {
        early_ = talk_.failed(result_of(error));
        ready_ = loop_.after({}, [this] { finish(Answer(*early_)); });
    }

    void finish(const Answer& answer)
    {
        step_ = Step::over;
        ready_.reset();
        socket_.reset();
        const Done done = std::move(done_);
        done(answer);
    }

    Loop& loop_;
    Talk<Answer> talk_; // to_send: what is still to be sent
    Done done_;
    std::string received_; // as much as was needed to judge
    Fd socket_;
    Handle ready_;                       // refers to the socket: goes before it
    std::optional<Stream::Wants> waits_; // what for
    Step step_ = Step::connecting;
    std::optional<Answer> early_;
};

} // namespace featherlb
