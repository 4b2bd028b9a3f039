// SPDX-License-Identifier: Apache-2.0
// A routing netlink socket for requests: one at a time, answered before the call returns, and a second at most
// where the kernel does not answer. The only user of libmnl besides netlink_messages and network_events.
// Errors keep the kernel's errno, because callers tell "no route" from "the kernel did not answer" by it.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include <libmnl/libmnl.h>

#include "base/result.h"

namespace featherlb {

struct NetlinkError {
    int number = 0;           // errno; ETIMEDOUT: no answer
    std::string message;      // the kernel's own words where it has any, else those of errno
    bool from_kernel = false; // the answer to the request, rather than a failure to ask
};

template <typename T>
using NetlinkResult = tl::expected<T, NetlinkError>;

class NetlinkSocket {
public:
    // `groups`: multicast groups (RTNLGRP_*) to join. `blocking` sockets have the timeout of a second.
    [[nodiscard]] static Result<NetlinkSocket> open(std::span<const unsigned> groups = {}, bool blocking = true);
    NetlinkSocket(NetlinkSocket&& other) noexcept;
    NetlinkSocket& operator=(NetlinkSocket&& other) noexcept;
    ~NetlinkSocket();

    using OnMessage = std::function<void(const nlmsghdr&)>;

    // Sends `request` (flags complete, sequence number set here) and hands over every message of the answer.
    // A dump that changed under way is asked for again: `on_restart` says to forget what came so far.
    [[nodiscard]] NetlinkResult<void> ask(
        nlmsghdr& request, const OnMessage& on_message, const std::function<void()>& on_restart = {});

    // Of an event socket: all messages that wait. False: some were lost (ENOBUFS, or a socket error).
    [[nodiscard]] bool read_events(const OnMessage& on_message);

    [[nodiscard]] int fd() const;

private:
    explicit NetlinkSocket(mnl_socket* socket);
    enum class Answer { complete, interrupted };
    NetlinkResult<Answer> ask_once(nlmsghdr& request, const OnMessage& on_message);

    mnl_socket* socket_ = nullptr;
    unsigned sequence_ = 0;
    std::vector<char> buffer_;
};

} // namespace featherlb
