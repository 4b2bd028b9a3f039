// SPDX-License-Identifier: Apache-2.0
// Ways: the next hop of each backend address, as the network seam answers, and what is said about it. A way that is
// missing is told after a second of patience, once, and again only when it is back: a neighbour that is asked for the
// first time takes a millisecond to answer. During that second the plan keeps the way that the tables already have.
#pragma once

#include <map>
#include <set>
#include <string>

#include "base/log.h"
#include "base/loop.h"
#include "kernel/network.h"

namespace featherlb {

class Ways {
public:
    static constexpr std::chrono::seconds patience{1};

    Ways(Network& network, Loop& loop, Log& log) : network_(network), loop_(loop), log_(log) {}

    // Asks anew. `destinations`: backend addresses, each with words for the log ("web, dns").
    // `adjacent`: those that no gateway may stand before (`dsr`).
    void refresh(const std::map<IpAddress, std::string>& destinations, const std::set<IpAddress>& adjacent = {});
    // Lets go of neighbours that no destination of the last refresh() needs.
    void retain();

    [[nodiscard]] const std::map<IpAddress, Way>& all() const { return ways_; }
    [[nodiscard]] std::map<IpAddress, NextHop> for_plan(const Tables& have) const;
    // The same, for backends of `have` only.
    [[nodiscard]] std::map<IpAddress, NextHop> for_rows(const Tables& have) const;

    // Is there a destination that is missing, but not long enough to be told? When refresh() is due for it; that may
    // be past already.
    [[nodiscard]] std::optional<Loop::Clock::time_point> patience_ends() const;

private:
    struct Missing {
        Loop::Clock::time_point since;
        std::string said; // what the log has; empty: nothing yet
    };
    [[nodiscard]] bool is_patient(const IpAddress& address, const Way& way) const;
    void report(const IpAddress& address, const std::string& owners, const Way& way);

    Network& network_;
    Loop& loop_;
    Log& log_;
    std::map<IpAddress, Way> ways_;
    std::map<IpAddress, Missing> missing_;
    std::set<IpAddress> distant_; // adjacent ones behind a gateway, as the log has
};

// Why a `dsr` backend counts as unresolved though its gateway is known.
[[nodiscard]] Error behind_gateway(const IpAddress& address, const Way& way);

// The hop is known, so frames can be sent.
[[nodiscard]] bool is_resolved(const flb_hop& hop);
[[nodiscard]] std::string write_mac(const std::uint8_t (&mac)[6]);

} // namespace featherlb
