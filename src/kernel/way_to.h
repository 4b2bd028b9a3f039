// SPDX-License-Identifier: Apache-2.0
// What the kernel would do with a packet to an address, asked by a socket that sends nothing. Unlike Network::next_hop
// it needs no rights and leaves no neighbour entry behind: for commands that only look.
#pragma once

#include <cstdint>
#include <optional>

#include "base/ip.h"

namespace featherlb {

struct WayTo {
    IpAddress source;      // this machine's address on the way
    std::uint32_t mtu = 0; // of the way, as far as the kernel knows
};
// Nothing: there is no route.
[[nodiscard]] std::optional<WayTo> way_to(const IpAddress& destination);

} // namespace featherlb
