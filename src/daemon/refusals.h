// SPDX-License-Identifier: Apache-2.0
// Refusals: what the packet programs have seen fail, for those who check. They count the connections that each backend
// answered with RST; whose count has grown between two looks has something wrong now, whatever its last check said.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "daemon/plane.h"

namespace featherlb {

class Refusals {
public:
    // Those of `backends` that refused a connection since the look before. The first look at a backend says nothing.
    [[nodiscard]] std::vector<BackendId> look(const std::map<BackendId, BackendRow>& backends, const Plane& plane);

private:
    std::map<BackendId, std::uint64_t> before_;
};

} // namespace featherlb
