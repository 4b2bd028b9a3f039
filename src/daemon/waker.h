// SPDX-License-Identifier: Apache-2.0
// Waker: has one end of a connection speak (kernel/wake_frames.h), by a packet socket that needs CAP_NET_RAW.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "daemon/plane.h"
#include "kernel/frame_sender.h"
#include "kernel/wake_frames.h"

namespace featherlb {

class Waker {
public:
    using Open = std::function<Result<std::unique_ptr<FrameSender>>()>;

    // The plane must outlive it. `open`: empty: nobody can be woken.
    Waker(Plane& plane, Open open);

    [[nodiscard]] bool is_possible() const { return static_cast<bool>(open_); }
    [[nodiscard]] bool is_open() const { return sender_ != nullptr; }
    // What has worked once is not done again.
    [[nodiscard]] Result<void> open();
    // Of an open one. False: it could not be told, because of take_failure(), or because its interface has gone.
    bool wake(const WaitingClient& who);
    // Why the last one could not be told, of those since the last call; empty: all could.
    [[nodiscard]] std::string take_failure();

private:
    Plane& plane_;
    Open open_;
    std::unique_ptr<FrameSender> sender_;
    std::string failure_;
};

} // namespace featherlb
