// SPDX-License-Identifier: Apache-2.0
#include "daemon/sockets.h"

#include <cerrno>
#include <cstring>

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>

namespace featherlb {

namespace {

bool is_our_own(int error)
{
    switch (error) {
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
    case EADDRNOTAVAIL:
    case EAGAIN:
    case EACCES:
    case EPERM:
        return true;
    default:
        return false;
    }
}

} // namespace

CheckResult result_of(int error)
{
    using Kind = CheckResult::Kind;
    if (is_our_own(error))
        return {Kind::discarded, fmt::format("this machine cannot ask: {}", std::strerror(error))};
    if (error == ECONNREFUSED)
        return {Kind::failed, "connection refused"};
    if (error == ECONNRESET)
        return {Kind::failed, "connection reset"};
    return {Kind::failed, fmt::format("no connection: {}", std::strerror(error))};
}

SocketAddress socket_address(const Endpoint& endpoint)
{
    SocketAddress result;
    const flb_addr address = endpoint.address.to_abi();
    if (endpoint.address.is_ipv4()) {
        auto& inet = reinterpret_cast<sockaddr_in&>(result.bytes);
        inet.sin_family = AF_INET;
        inet.sin_port = htons(endpoint.port);
        std::memcpy(&inet.sin_addr, address.bytes, 4);
        result.length = sizeof(inet);
    } else {
        auto& inet = reinterpret_cast<sockaddr_in6&>(result.bytes);
        inet.sin6_family = AF_INET6;
        inet.sin6_port = htons(endpoint.port);
        std::memcpy(&inet.sin6_addr, address.bytes, 16);
        result.length = sizeof(inet);
    }
    return result;
}

std::optional<int> connection_outcome(int socket)
{
    int error = 0;
    socklen_t length = sizeof(error);
    if (::getsockopt(socket, SOL_SOCKET, SO_ERROR, &error, &length) != 0)
        error = errno;
    if (error != 0)
        return error;
    sockaddr_storage peer{};
    length = sizeof(peer);
    if (::getpeername(socket, reinterpret_cast<sockaddr*>(&peer), &length) != 0)
        return std::nullopt;
    return 0;
}

} // namespace featherlb
