// SPDX-License-Identifier: Apache-2.0
#include "kernel/way_to.h"

#include <cstring>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "base/fd.h"

namespace featherlb {

namespace {

constexpr std::uint16_t discard_port = 9;

} // namespace

std::optional<WayTo> way_to(const IpAddress& destination)
{
    const bool v4 = destination.is_ipv4();
    const Fd socket(::socket(v4 ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    const flb_addr bytes = destination.to_abi();
    sockaddr_in inet{};
    sockaddr_in6 inet6{};
    inet.sin_family = AF_INET;
    inet.sin_port = htons(discard_port);
    std::memcpy(&inet.sin_addr, bytes.bytes, sizeof(inet.sin_addr));
    inet6.sin6_family = AF_INET6;
    inet6.sin6_port = htons(discard_port);
    std::memcpy(&inet6.sin6_addr, bytes.bytes, sizeof(inet6.sin6_addr));
    auto* address = v4 ? reinterpret_cast<sockaddr*>(&inet) : reinterpret_cast<sockaddr*>(&inet6);
    socklen_t length = v4 ? sizeof(inet) : sizeof(inet6);
    if (!socket.valid() || ::connect(socket.get(), address, length) != 0 ||
        ::getsockname(socket.get(), address, &length) != 0)
        return std::nullopt;
    flb_addr source{};
    if (v4)
        std::memcpy(source.bytes, &inet.sin_addr, sizeof(inet.sin_addr));
    else
        std::memcpy(source.bytes, &inet6.sin6_addr, sizeof(inet6.sin6_addr));
    int mtu = 0;
    socklen_t size = sizeof(mtu);
    if (::getsockopt(socket.get(), v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_MTU : IPV6_MTU, &mtu, &size) != 0)
        mtu = 0;
    return WayTo{IpAddress::from_abi(source, destination.family()), static_cast<std::uint32_t>(mtu)};
}

} // namespace featherlb
