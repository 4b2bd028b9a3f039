// SPDX-License-Identifier: Apache-2.0
// run_decap: `featherlb decap` from its first line to its exit code. Attaches the decapsulation programs, keeps them
// told of the host's addresses and interfaces (one that goes and comes back is attached again), and takes them off
// again.
#pragma once

#include <cstdint>
#include <iosfwd>
#include <optional>
#include <string>
#include <vector>

#include "base/ip.h"
#include "base/network_prefix.h"
#include "config/config.h"

namespace featherlb {

struct DecapOptions {
    std::vector<std::string> interfaces;
    Attach attach = Attach::tc;
    std::vector<IpAddress> services;  // empty: the addresses on loopback devices
    std::vector<NetworkPrefix> from;  // empty: from anywhere
    std::optional<std::uint32_t> mtu; // of the path from the balancer; else each interface's own
    bool json = false;                // what it did and the counters, one JSON object a line
};

// SIGTERM, SIGINT: detach and end; SIGUSR1: print the counters. Problems go to `err`.
[[nodiscard]] int run_decap(const DecapOptions& options, std::ostream& out, std::ostream& err);

} // namespace featherlb
