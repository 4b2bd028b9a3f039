// SPDX-License-Identifier: Apache-2.0
// Many connections open at once, to an echo server. Opens them all, then obeys commands on standard input and
// answers each by a JSON line: `ping` sends a token on every connection and wants it back; `recycle N` closes every
// N-th connection and opens it again; `quit`. Answer: {"open": n, "failed": n, "seconds": s}; a connection that failed
// once stays failed.
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <iostream>

#include <fmt/format.h>
#include <unistd.h>

#include "net.h"

namespace {

constexpr std::uint64_t timeout_us = 10'000'000;
constexpr std::uint32_t at_once = 256; // connections that connect or wait for an echo at the same time

enum class State { idle, connecting, waiting, failed };

struct Connection {
    Fd fd;
    State state = State::failed;
    std::uint64_t since_us = 0;
    std::uint64_t token = 0;
};

class Hold {
public:
    explicit Hold(const Arguments& arguments)
        : sources_(arguments.sources()), to_(arguments.to()), connections_(arguments.number("--count"))
    {
    }

    int run()
    {
        for_each(1, [this](std::uint32_t k) { open(k); });
        std::string command;
        while (std::getline(std::cin, command) && command != "quit") {
            if (command == "ping") {
                for_each(1, [this](std::uint32_t k) { ping(k); });
            } else if (command.starts_with("recycle ")) {
                recycle(static_cast<std::uint32_t>(std::stoul(command.substr(8))));
            }
        }
        return 0;
    }

private:
    // Starts `action` on every step-th connection, at_once at a time, waits for all, and reports.
    template <typename Action>
    void for_each(std::uint32_t step, Action action)
    {
        const std::uint64_t begin = now_us();
        std::uint32_t next = 0;
        busy_ = 0;
        while (next < connections_.size() || busy_ > 0) {
            for (; next < connections_.size() && busy_ < at_once; next += step) {
                action(next);
            }
            epoll_.wait(50, [this](std::uint64_t k, std::uint32_t) { handle(static_cast<std::uint32_t>(k)); });
            if (busy_ > 0 && now_us() - last_look_us_ > 200000) {
                expire();
            }
        }
        report(static_cast<double>(now_us() - begin) / 1e6);
    }

    void recycle(std::uint32_t step)
    {
        for (std::uint32_t k = 0; k < connections_.size(); k += step) {
            connections_[k].fd.close();
            connections_[k].state = State::failed;
        }
        for_each(step, [this](std::uint32_t k) { open(k); });
    }

    void open(std::uint32_t k)
    {
        auto& connection = connections_[k];
        connection.since_us = now_us();
        connection.fd = start_connect(sources_.of(k), to_);
        if (!connection.fd) {
            std::fprintf(stderr, "lab_load: connection %u: %s\n", k, std::strerror(errno));
            return;
        }
        connection.state = State::connecting;
        ++busy_;
        epoll_.add(connection.fd.get(), EPOLLOUT, k);
    }

    void ping(std::uint32_t k)
    {
        auto& connection = connections_[k];
        if (connection.state != State::idle) {
            return;
        }
        ++busy_;
        send_token(k);
    }

    void send_token(std::uint32_t k)
    {
        auto& connection = connections_[k];
        connection.token = (std::uint64_t{k} << 32) ^ now_us();
        connection.since_us = now_us();
        connection.state = State::waiting;
        if (write(connection.fd.get(), &connection.token, sizeof(connection.token)) != sizeof(connection.token)) {
            lose(k, errno);
        }
    }

    void lose(std::uint32_t k, int error)
    {
        auto& connection = connections_[k];
        if (connection.state == State::connecting || connection.state == State::waiting) {
            --busy_;
        }
        std::fprintf(stderr, "lab_load: connection %u from %s: %s\n", k, sources_.of(k).host().c_str(),
            error == 0 ? "closed by the other end" : std::strerror(error));
        connection.state = State::failed;
        connection.fd.close();
    }

    void handle(std::uint32_t k)
    {
        auto& connection = connections_[k];
        if (connection.state == State::connecting) {
            if (const int error = connect_error(connection.fd.get()); error != 0) {
                lose(k, error);
                return;
            }
            epoll_.change(connection.fd.get(), EPOLLIN, k);
            send_token(k);
            return;
        }
        std::uint64_t token = 0;
        const ssize_t size = read(connection.fd.get(), &token, sizeof(token));
        if (size < 0 && errno == EAGAIN) {
            return;
        }
        if (size != sizeof(token) || connection.state != State::waiting || token != connection.token) {
            lose(k, size < 0 ? errno : size == 0 ? 0 : EPROTO);
            return;
        }
        connection.state = State::idle;
        --busy_;
    }

    void expire()
    {
        last_look_us_ = now_us();
        for (std::uint32_t k = 0; k < connections_.size(); ++k) {
            auto& connection = connections_[k];
            if ((connection.state == State::connecting || connection.state == State::waiting) &&
                last_look_us_ - connection.since_us > timeout_us) {
                lose(k, ETIMEDOUT);
            }
        }
    }

    void report(double seconds)
    {
        std::size_t open = 0;
        for (const auto& connection : connections_) {
            open += connection.state == State::idle;
        }
        fmt::print(
            "{{\"open\": {}, \"failed\": {}, \"seconds\": {:.3f}}}\n", open, connections_.size() - open, seconds);
        std::fflush(stdout);
    }

    Sources sources_;
    Address to_;
    std::vector<Connection> connections_;
    Epoll epoll_;
    std::uint32_t busy_ = 0;
    std::uint64_t last_look_us_ = 0;
};

} // namespace

int hold(const Arguments& arguments)
{
    return Hold(arguments).run();
}
