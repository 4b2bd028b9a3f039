// SPDX-License-Identifier: Apache-2.0
// Drains: since when each backend drains, until when it may, and which are over. A backend that drains keeps its row
// until no flow refers to it; after `drain_timeout` its connections are ended. A daemon that adopts tables begins
// the time of drains anew, except for those that were over already.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/loop.h"
#include "config/config.h"
#include "kernel/sweeper.h"
#include "plan/tables.h"

namespace featherlb {

class Drains {
public:
    explicit Drains(const Loop& loop) : loop_(loop) {}

    // From now on these deadlines hold; a service that is not there any more keeps the one that it had.
    void configure(const Config& config);
    // Of single backends; before those of their services.
    void set_own_limits(std::map<BackendKey, std::chrono::seconds> limits) { own_limits_ = std::move(limits); }
    // After every change of the tables.
    void follow(const Tables& tables);

    [[nodiscard]] bool any() const { return !drains_.empty(); }
    [[nodiscard]] std::set<BackendId> overdue() const;
    // When the next one will be.
    [[nodiscard]] std::optional<Loop::Clock::time_point> next_deadline() const;
    // Those that no flow refers to, by a count that began after they took their last connection.
    [[nodiscard]] std::set<BackendId> unreferenced(const FlowCounts& counts) const;

    // A line for each backend whose connections `want` ends because its drain is over, and `have` does not.
    [[nodiscard]] std::vector<std::string> newly_over(const Tables& have, const Tables& want) const;
    // "; its connections end in 59m", for status; empty without a deadline.
    [[nodiscard]] std::string describe(BackendId id) const;

private:
    struct Drain {
        Loop::Clock::time_point since;
        BackendKey key;
        bool over = false; // already when it was adopted
    };
    [[nodiscard]] std::optional<std::chrono::seconds> limit(const Drain& drain) const;
    [[nodiscard]] std::optional<Loop::Clock::time_point> deadline(const Drain& drain) const;

    const Loop& loop_;
    std::map<BackendId, Drain> drains_;
    std::map<BackendKey, std::chrono::seconds> own_limits_;
    std::set<std::string> configured_;
    std::map<std::string, std::optional<std::chrono::seconds>> limits_; // by service, as last configured
    std::optional<std::chrono::seconds> default_limit_;                 // for services that were never configured here
};

} // namespace featherlb
