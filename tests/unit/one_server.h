// SPDX-License-Identifier: Apache-2.0
// A server on 127.0.0.1 that talks to one client and keeps what that said.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "base/ip.h"

namespace featherlb {

class OneServer {
public:
    OneServer()
    {
        listener_ = Fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t length = sizeof(address);
        EXPECT_EQ(::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), length), 0);
        EXPECT_EQ(::listen(listener_.get(), 8), 0);
        EXPECT_EQ(::getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &length), 0);
        endpoint_ = {*IpAddress::parse("127.0.0.1"), ntohs(address.sin_port)};
    }
    OneServer(const OneServer&) = delete;
    OneServer& operator=(const OneServer&) = delete;
    ~OneServer()
    {
        if (thread_.joinable())
            thread_.join();
    }

    // Takes one connection, reads until `enough` says so, and then does `answer`.
    void serve(std::function<bool(std::string_view)> enough, std::function<void(int)> answer)
    {
        thread_ = std::thread([this, enough = std::move(enough), answer = std::move(answer)] {
            const Fd connection(::accept(listener_.get(), nullptr, nullptr));
            char buffer[4096];
            while (!enough(heard_)) {
                const ssize_t got = ::recv(connection.get(), buffer, sizeof(buffer), 0);
                if (got <= 0)
                    return;
                heard_.append(buffer, static_cast<std::size_t>(got));
            }
            answer(connection.get());
        });
    }
    static void say(int connection, std::string_view text)
    {
        ::send(connection, text.data(), text.size(), MSG_NOSIGNAL);
    }
    // Waits for the end of the conversation.
    [[nodiscard]] std::string heard()
    {
        thread_.join();
        return heard_;
    }
    [[nodiscard]] const Endpoint& endpoint() const { return endpoint_; }
    void close() { listener_.reset(); }

private:
    Fd listener_;
    Endpoint endpoint_;
    std::string heard_;
    std::thread thread_;
};

} // namespace featherlb
