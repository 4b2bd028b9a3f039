// SPDX-License-Identifier: Apache-2.0
#include "kernel/frame_sender.h"

#include <cerrno>
#include <cstring>
#include <utility>

#include <fmt/format.h>
#include <linux/if_packet.h>
#include <sys/socket.h>

#include "base/fd.h"

namespace featherlb {

namespace {

class PacketSocket : public FrameSender {
public:
    explicit PacketSocket(Fd socket) : socket_(std::move(socket)) {}

    Result<void> send(std::uint32_t ifindex, std::span<const std::uint8_t> frame) override
    {
        sockaddr_ll to{};
        to.sll_family = AF_PACKET;
        to.sll_ifindex = static_cast<int>(ifindex);
        if (::sendto(socket_.get(), frame.data(), frame.size(), MSG_DONTWAIT, reinterpret_cast<const sockaddr*>(&to),
                sizeof(to)) < 0)
            return fail(fmt::format("sending out of interface {}: {}", ifindex, std::strerror(errno)));
        return {};
    }

private:
    Fd socket_;
};

} // namespace

Result<std::unique_ptr<FrameSender>> open_frame_sender()
{
    Fd socket(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
    if (!socket.valid())
        return fail(fmt::format("opening a packet socket: {}", std::strerror(errno)),
            errno == EPERM ? "give the process CAP_NET_RAW (with systemd: AmbientCapabilities=; with Docker: --cap-add)"
                           : "");
    return std::make_unique<PacketSocket>(std::move(socket));
}

} // namespace featherlb
