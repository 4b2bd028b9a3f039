// SPDX-License-Identifier: Apache-2.0
#include "kernel/responses.h"

#include "response.h"

namespace featherlb {

ResponseCounts read_responses(
    const flb_response_histogram& histogram, const __u64& smoothed, const __u64& mean, std::uint64_t now_ns)
{
    ResponseCounts counts;
    for (std::size_t bucket = 0; bucket < counts.buckets.size(); bucket++)
        counts.buckets[bucket] = atomic_load(&histogram.count[bucket]);
    counts.sum_us = atomic_load(&histogram.sum_us);
    const __u64 word = atomic_load(&smoothed);
    if (word != 0)
        counts.smoothed_us =
            static_cast<double>(response_now(word, static_cast<__u32>(atomic_load(&mean)), response_clock(now_ns))) /
            (1 << RESPONSE_PART_SHIFT);
    return counts;
}

} // namespace featherlb
