// SPDX-License-Identifier: Apache-2.0
// What makes a client that only waits speak: a bare ACK outside its receive window, which RFC 9293 (3.10.7.4) has it
// answer with an ACK of its own. Where the window is we do not know, but of two numbers half the sequence space apart
// at least one is outside. A client that insists on the timestamps it has agreed upon (RFC 7323) stays silent.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "base/ip.h"
#include "featherlb/abi.h"

namespace featherlb {

// One end of a connection, as it knows it, and the way to it. (Either end: `client` is who is to speak.)
struct WaitingClient {
    Endpoint client;
    Endpoint service;
    flb_hop hop{};
};

using FrameBytes = std::vector<std::uint8_t>;

// The two frames, from the service to the client: tags as the client's own frames have them, checksums complete.
// `mac`: of the interface that they leave by.
[[nodiscard]] std::array<FrameBytes, 2> wake_frames(
    const WaitingClient& client, const std::array<std::uint8_t, 6>& mac, std::uint32_t sequence);

} // namespace featherlb
