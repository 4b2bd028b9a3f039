// SPDX-License-Identifier: Apache-2.0
// ServiceTotals: what a service has carried since the daemon started. The maps count by backend, and a backend that is
// forgotten takes its counts along; a sum over those that are left would fall, which a reader of counters takes for a
// new beginning. So what they had is kept here, and what an earlier daemon had counted is left out.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "daemon/plane.h"
#include "observe/status.h"
#include "plan/tables.h"

namespace featherlb {

// As `status` says it, without the backend's response times.
[[nodiscard]] TrafficStatus traffic_of(const BackendCounts& counts);
// Field by field; below zero they wrap.
TrafficStatus& operator+=(TrafficStatus& sum, const TrafficStatus& more);

class ServiceTotals {
public:
    using Gone = std::vector<std::pair<std::string, TrafficStatus>>;

    // For a daemon that adopts tables.
    void begin(const Tables& have, const Plane& plane);
    // What the backends that these changes remove have counted, before they are carried out,
    [[nodiscard]] static Gone collect(const Tables& have, const std::vector<Change>& changes, const Plane& plane);
    // and afterwards. Services that are not in `have` are forgotten.
    void add(const Gone& gone, const Tables& have);

    // To be added to the sum over the backends that are there.
    [[nodiscard]] TrafficStatus besides(const std::string& service) const;

private:
    std::map<std::string, TrafficStatus> besides_;
};

} // namespace featherlb
