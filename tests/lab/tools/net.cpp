// SPDX-License-Identifier: Apache-2.0
#include "net.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <unistd.h>

#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24
#endif

Fd::~Fd()
{
    if (fd_ >= 0) {
        ::close(fd_);
    }
}

void fail(std::string_view what)
{
    std::fprintf(stderr, "lab_load: %.*s: %s\n", static_cast<int>(what.size()), what.data(), std::strerror(errno));
    std::exit(1);
}

std::string Address::host() const
{
    char text[INET6_ADDRSTRLEN] = "";
    if (family() == AF_INET) {
        inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(&storage)->sin_addr, text, sizeof(text));
    } else {
        inet_ntop(AF_INET6, &reinterpret_cast<const sockaddr_in6*>(&storage)->sin6_addr, text, sizeof(text));
    }
    return text;
}

// sin_port and sin6_port lie in the same place.
std::uint16_t Address::port() const
{
    return ntohs(reinterpret_cast<const sockaddr_in*>(&storage)->sin_port);
}

void Address::set_port(std::uint16_t port)
{
    reinterpret_cast<sockaddr_in*>(&storage)->sin_port = htons(port);
}

Address Address::plus(std::uint32_t step) const
{
    Address next = *this;
    if (family() == AF_INET) {
        auto& word = reinterpret_cast<sockaddr_in*>(&next.storage)->sin_addr.s_addr;
        word = htonl(ntohl(word) + step);
    } else {
        auto* last = reinterpret_cast<sockaddr_in6*>(&next.storage)->sin6_addr.s6_addr + 12;
        std::uint32_t word = 0;
        std::memcpy(&word, last, sizeof(word));
        word = htonl(ntohl(word) + step);
        std::memcpy(last, &word, sizeof(word));
    }
    return next;
}

Address parse_address(const std::string& host, std::uint16_t port)
{
    Address address;
    auto* four = reinterpret_cast<sockaddr_in*>(&address.storage);
    auto* six = reinterpret_cast<sockaddr_in6*>(&address.storage);
    if (inet_pton(AF_INET, host.c_str(), &four->sin_addr) == 1) {
        address.storage.ss_family = AF_INET;
        address.size = sizeof(sockaddr_in);
    } else if (inet_pton(AF_INET6, host.c_str(), &six->sin6_addr) == 1) {
        address.storage.ss_family = AF_INET6;
        address.size = sizeof(sockaddr_in6);
    } else {
        errno = EINVAL;
        fail("not an address: " + host);
    }
    address.set_port(port);
    return address;
}

std::uint64_t now_us()
{
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<std::uint64_t>(now.tv_sec) * 1000000 + static_cast<std::uint64_t>(now.tv_nsec) / 1000;
}

void raise_descriptor_limit()
{
    rlimit limit{};
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

Epoll::Epoll() : fd_(epoll_create1(EPOLL_CLOEXEC)), ready_(1024)
{
}

void Epoll::add(int fd, std::uint32_t events, std::uint64_t tag)
{
    epoll_event event{};
    event.events = events;
    event.data.u64 = tag;
    if (epoll_ctl(fd_.get(), EPOLL_CTL_ADD, fd, &event) != 0) {
        fail("epoll_ctl");
    }
}

void Epoll::change(int fd, std::uint32_t events, std::uint64_t tag)
{
    epoll_event event{};
    event.events = events;
    event.data.u64 = tag;
    epoll_ctl(fd_.get(), EPOLL_CTL_MOD, fd, &event);
}

Address Sources::of(std::uint32_t k) const
{
    Address address = first.plus(k % addresses);
    address.set_port(ports == 0 ? 0 : static_cast<std::uint16_t>(first_port + k / addresses % ports));
    return address;
}

Fd start_connect(const Address& source, const Address& to)
{
    Fd fd(socket(to.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!fd) {
        fail("socket");
    }
    const int on = 1;
    setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (source.port() == 0) {
        setsockopt(fd.get(), IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
    }
    if (bind(fd.get(), source.get(), source.size) != 0) {
        return Fd();
    }
    if (connect(fd.get(), to.get(), to.size) != 0 && errno != EINPROGRESS) {
        return Fd();
    }
    return fd;
}

int connect_error(int fd)
{
    int error = 0;
    socklen_t size = sizeof(error);
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
    return error;
}

Arguments::Arguments(int argc, char** argv)
{
    for (int i = 2; i + 1 < argc; i += 2) {
        values_[argv[i]] = argv[i + 1];
    }
}

std::string Arguments::text(const std::string& name, const char* otherwise) const
{
    const auto found = values_.find(name);
    if (found != values_.end()) {
        return found->second;
    }
    if (otherwise == nullptr) {
        errno = EINVAL;
        fail(name + " is missing");
    }
    return otherwise;
}

std::uint32_t Arguments::number(const std::string& name, const char* otherwise) const
{
    return static_cast<std::uint32_t>(std::strtoul(text(name, otherwise).c_str(), nullptr, 10));
}

Sources Arguments::sources() const
{
    Sources sources;
    sources.first = parse_address(text("--from"), 0);
    sources.addresses = number("--addresses", "1");
    sources.first_port = static_cast<std::uint16_t>(number("--first-port", "0"));
    sources.ports = static_cast<std::uint16_t>(number("--ports", "0"));
    return sources;
}

Address Arguments::to() const
{
    return parse_address(text("--to"), static_cast<std::uint16_t>(number("--port")));
}
