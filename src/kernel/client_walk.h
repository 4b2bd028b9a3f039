// SPDX-License-Identifier: Apache-2.0
// ClientWalk: walks the mapped flow table a few sets at a time and gives the clients of proven TCP connections with
// certain backends. It only reads; an entry that changes under it is left out.
#pragma once

#include <cstdint>
#include <set>
#include <span>
#include <vector>

#include "base/ip.h"
#include "featherlb/abi.h"
#include "plan/tables.h"

namespace featherlb {

// One end of a connection, as the client knows it, and the way to it.
struct WaitingClient {
    Endpoint client;
    Endpoint service;
    flb_hop hop{}; // where the client's frames come from
    friend bool operator==(const WaitingClient& a, const WaitingClient& b)
    {
        return a.client == b.client && a.service == b.service;
    }
};

class ClientWalk {
public:
    ClientWalk(std::span<flb_set4> sets4, std::span<flb_set6> sets6) : sets4_(sets4), sets6_(sets6) {}

    // Appends to `found` from the next `sets` sets; stops early, between two sets, when it has `most` or more. True
    // when the walk has come to its end: the next call begins a new one.
    bool step(
        std::uint32_t sets, std::size_t most, const std::set<BackendId>& backends, std::vector<WaitingClient>& found);
    // The next call begins a new walk.
    void rewind() { position_ = 0; }

private:
    std::span<flb_set4> sets4_;
    std::span<flb_set6> sets6_;
    std::size_t position_ = 0; // in sets4_, then in sets6_
};

} // namespace featherlb
