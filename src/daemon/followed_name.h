// SPDX-License-Identifier: Apache-2.0
// FollowedName: the addresses that a DNS name stands for, from one answer to the next. An answer that fails changes
// nothing. One that differs counts at once, five times within a minute. A name that changes more often is restless: it
// stands for all addresses of the last minute, until its answers have been the same for a minute; so a server that
// gives a part of its addresses at a time does not move backends in and out. Where a minute has fewer than six answers,
// the time of six stands for it. Pure: the clock is the caller's.
#pragma once

#include <deque>
#include <map>
#include <string>
#include <vector>

#include "base/ip.h"
#include "base/loop.h"
#include "daemon/resolver.h"

namespace featherlb {

class FollowedName {
public:
    using Time = Loop::Clock::time_point;
    static constexpr std::chrono::minutes shortest_memory{1};
    static constexpr std::size_t most_changes = 5;
    static constexpr std::size_t most_addresses = 1000; // the first ones, if there are more

    // What the log is to say, if anything.
    struct Step {
        bool changed = false;
        std::string news;
        std::string warning;
    };

    // As a load has found it.
    void set(std::vector<IpAddress> addresses, bool failing);
    // `host`: for what is said.
    [[nodiscard]] Step take(
        const std::string& host, const DnsAnswer& answer, Time now, Loop::Clock::duration interval = {});
    // A good answer to somebody else as it counts here: with all that a restless name stands for, and not too many.
    [[nodiscard]] std::vector<IpAddress> completed(std::vector<IpAddress> answer) const;
    [[nodiscard]] const std::vector<IpAddress>& addresses() const { return addresses_; }

private:
    [[nodiscard]] std::vector<IpAddress> wanted(
        const std::vector<IpAddress>& answer, Time now, Loop::Clock::duration memory);

    std::vector<IpAddress> addresses_; // sorted
    std::vector<IpAddress> answer_;    // the last good one
    Time answer_since_{};
    std::map<IpAddress, Time> seen_;
    std::deque<Time> changes_; // within `memory`
    bool failing_ = false;
    bool restless_ = false;
};

} // namespace featherlb
