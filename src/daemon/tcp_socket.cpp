// SPDX-License-Identifier: Apache-2.0
#include "daemon/tcp_socket.h"

#include <cerrno>
#include <cstring>

#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "daemon/sockets.h"

namespace featherlb {

namespace {

constexpr int waiting_connections = 64;

tl::unexpected<Error> failed(const Endpoint& endpoint, const char* what)
{
    const int error = errno;
    const std::string name = endpoint.to_string();
    switch (error) {
    case EADDRINUSE:
        return fail(fmt::format("{}: another program listens there", name),
            fmt::format("find it with `ss -ltnp sport = :{}` and stop it, or take another port", endpoint.port));
    case EADDRNOTAVAIL:
        return fail(fmt::format("{}: this machine has no such address", name),
            "take one that it has, such as 127.0.0.1, or add the address first");
    case EACCES:
        return fail(fmt::format("{}: this port is not for unprivileged programs", name),
            "take a port from 1024 on, or give the daemon CAP_NET_BIND_SERVICE");
    default:
        return fail(fmt::format("{}: {}: {}", name, what, std::strerror(error)));
    }
}

} // namespace

Result<TcpListener> TcpListener::open(const Endpoint& endpoint)
{
    const int family = endpoint.address.is_ipv4() ? AF_INET : AF_INET6;
    Fd fd(::socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd.valid())
        return failed(endpoint, "cannot make a socket");
    const int one = 1;
    ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    // [::] is what it says, and 0.0.0.0 beside it another one's.
    if (family == AF_INET6 && ::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one)) != 0)
        return failed(endpoint, "cannot be set up");
    SocketAddress address = socket_address(endpoint);
    auto* generic = reinterpret_cast<sockaddr*>(&address.bytes);
    if (::bind(fd.get(), generic, address.length) != 0 || ::listen(fd.get(), waiting_connections) != 0)
        return failed(endpoint, "cannot listen");
    Endpoint bound = endpoint;
    if (endpoint.port == 0 && ::getsockname(fd.get(), generic, &address.length) == 0)
        bound.port = ntohs(family == AF_INET ? reinterpret_cast<sockaddr_in*>(generic)->sin_port
                                             : reinterpret_cast<sockaddr_in6*>(generic)->sin6_port);
    return TcpListener(std::move(fd), bound);
}

} // namespace featherlb
