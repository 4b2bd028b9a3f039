// SPDX-License-Identifier: Apache-2.0
// The little of sockets that lab_load needs: owned descriptors, addresses of both families, epoll, time,
// arguments. Failures of set-up end the program with a message; failures of connections are results.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <sys/epoll.h>
#include <sys/socket.h>

class Fd {
public:
    Fd() = default;
    explicit Fd(int fd) : fd_(fd) {}
    Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    Fd& operator=(Fd&& other) noexcept
    {
        std::swap(fd_, other.fd_);
        return *this;
    }
    ~Fd();
    [[nodiscard]] int get() const { return fd_; }
    [[nodiscard]] explicit operator bool() const { return fd_ >= 0; }
    void close() { Fd gone(std::exchange(fd_, -1)); }

private:
    int fd_ = -1;
};

struct Address {
    sockaddr_storage storage{};
    socklen_t size = 0;
    [[nodiscard]] int family() const { return storage.ss_family; }
    [[nodiscard]] const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
    [[nodiscard]] sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
    [[nodiscard]] std::string host() const;
    [[nodiscard]] std::uint16_t port() const;
    void set_port(std::uint16_t port);
    // The address `step` further on, counted in its last 32 bits.
    [[nodiscard]] Address plus(std::uint32_t step) const;
};

// "10.0.0.1" or "fd00::1"
[[nodiscard]] Address parse_address(const std::string& host, std::uint16_t port);

[[nodiscard]] std::uint64_t now_us();

// As many descriptors as the hard limit allows.
void raise_descriptor_limit();

[[noreturn]] void fail(std::string_view what);

class Epoll {
public:
    Epoll();
    void add(int fd, std::uint32_t events, std::uint64_t tag);
    void change(int fd, std::uint32_t events, std::uint64_t tag);
    // Calls handle(tag, events) for what is ready within `timeout_ms`.
    template <typename Handler>
    void wait(int timeout_ms, Handler&& handle)
    {
        const int count = epoll_wait(fd_.get(), ready_.data(), static_cast<int>(ready_.size()), timeout_ms);
        for (int i = 0; i < count; ++i) {
            handle(ready_[static_cast<std::size_t>(i)].data.u64, ready_[static_cast<std::size_t>(i)].events);
        }
    }

private:
    Fd fd_;
    std::vector<epoll_event> ready_;
};

// Where connection number k comes from: addresses first, then ports; port 0 lets the kernel choose.
struct Sources {
    Address first;
    std::uint32_t addresses = 1;
    std::uint16_t first_port = 0;
    std::uint16_t ports = 0;
    [[nodiscard]] Address of(std::uint32_t k) const;
};

// A connection attempt under way from `source` to `to`; no descriptor: errno says why not.
[[nodiscard]] Fd start_connect(const Address& source, const Address& to);
// 0, or the errno that the attempt ended with.
[[nodiscard]] int connect_error(int fd);

// "--name value" pairs.
class Arguments {
public:
    Arguments(int argc, char** argv);
    [[nodiscard]] std::string text(const std::string& name, const char* otherwise = nullptr) const;
    [[nodiscard]] std::uint32_t number(const std::string& name, const char* otherwise = nullptr) const;
    [[nodiscard]] Sources sources() const;
    [[nodiscard]] Address to() const;

private:
    std::map<std::string, std::string> values_;
};

int serve(const Arguments& arguments);
int short_lived(const Arguments& arguments);
int hold(const Arguments& arguments);
int flood(const Arguments& arguments);
int delay(const Arguments& arguments);
