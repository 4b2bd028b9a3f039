// SPDX-License-Identifier: Apache-2.0
// A listening TCP socket at an address and port of this machine. A port of which connections of an earlier daemon are
// still closing may be taken; one that somebody listens on may not.
#pragma once

#include "base/fd.h"
#include "base/ip.h"
#include "base/result.h"

namespace featherlb {

class TcpListener {
public:
    [[nodiscard]] static Result<TcpListener> open(const Endpoint& endpoint);

    [[nodiscard]] int fd() const { return fd_.get(); } // non-blocking
    // Port 0 was asked for: the one that the kernel chose.
    [[nodiscard]] const Endpoint& endpoint() const { return endpoint_; }

private:
    TcpListener(Fd fd, const Endpoint& endpoint) : fd_(std::move(fd)), endpoint_(endpoint) {}
    Fd fd_;
    Endpoint endpoint_;
};

} // namespace featherlb
