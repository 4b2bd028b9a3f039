// SPDX-License-Identifier: Apache-2.0
#include "daemon/refusals.h"

namespace featherlb {

std::vector<BackendId> Refusals::look(const std::map<BackendId, BackendRow>& backends, const Plane& plane)
{
    std::vector<BackendId> grown;
    auto known = before_.begin(); // both are in the order of numbers
    for (const auto& [id, row] : backends) {
        while (known != before_.end() && known->first < id)
            known = before_.erase(known);
        const std::uint64_t count = plane.refused(id);
        if (known == before_.end() || known->first != id) {
            before_.emplace_hint(known, id, count);
            continue;
        }
        if (count > known->second)
            grown.push_back(id);
        known->second = count;
        ++known;
    }
    before_.erase(known, before_.end());
    return grown;
}

} // namespace featherlb
