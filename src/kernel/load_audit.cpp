// SPDX-License-Identifier: Apache-2.0
#include "kernel/load_audit.h"

#include <algorithm>
#include <atomic>
#include <utility>

namespace featherlb {

std::vector<LoadCorrection> LoadAudit::compare(std::span<flb_backend_load> loads, std::span<const std::uint32_t> open,
    const std::function<std::uint64_t(std::uint32_t backend)>& begun)
{
    std::vector<LoadCorrection> corrections;
    std::map<std::uint32_t, Suspect> suspects;
    const auto backends = static_cast<std::uint32_t>(std::min(loads.size(), open.size()));
    for (std::uint32_t backend = 1; backend < backends; backend++) {
        const std::atomic_ref<__u32> count(loads[backend].open);
        const std::uint32_t counted = count.load(std::memory_order_relaxed);
        if (counted == open[backend])
            continue;
        const Suspect suspect{.counted = counted, .found = open[backend], .begun = begun ? begun(backend) : 0};
        const auto before = suspects_.find(backend);
        __u32 expected = counted;
        if (before == suspects_.end() || before->second != suspect)
            suspects.emplace(backend, suspect);
        else if (count.compare_exchange_strong(expected, suspect.found, std::memory_order_relaxed))
            corrections.push_back({.backend = backend, .counted = counted, .found = suspect.found});
    }
    suspects_ = std::move(suspects);
    return corrections;
}

} // namespace featherlb
