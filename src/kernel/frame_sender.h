// SPDX-License-Identifier: Apache-2.0
// FrameSender: whole Ethernet frames out of an interface, past the machine's own stack; a seam that unit tests fake.
// The real one is a packet socket, which needs CAP_NET_RAW and receives nothing.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "base/result.h"

namespace featherlb {

class FrameSender {
public:
    virtual ~FrameSender() = default;
    // Does not wait: a full queue is a failure like any other.
    [[nodiscard]] virtual Result<void> send(std::uint32_t ifindex, std::span<const std::uint8_t> frame) = 0;
};

// Of the calling thread's network namespace.
[[nodiscard]] Result<std::unique_ptr<FrameSender>> open_frame_sender();

} // namespace featherlb
