// SPDX-License-Identifier: Apache-2.0
#include "kernel/samples.h"

#include <cerrno>
#include <cstring>
#include <utility>

#include <bpf/libbpf.h>

#include "kernel/dataplane_maps.h"
#include "kernel/map.h"

namespace featherlb {

namespace {

// More than the ring holds: what is written while it is read waits for the next time.
constexpr std::size_t most_at_once = FLB_SAMPLES_BYTES / sizeof(flb_sample);

int take(void* user, void* data, std::size_t size)
{
    std::vector<flb_sample>* into = *static_cast<std::vector<flb_sample>**>(user);
    if (size < sizeof(flb_sample))
        return 0;
    std::memcpy(&into->emplace_back(), data, sizeof(flb_sample));
    return into->size() < most_at_once ? 0 : -EAGAIN; // ends the reading; this record is read
}

} // namespace

Result<Samples> Samples::open(const MapSet& maps)
{
    Samples samples;
    samples.into_ = std::make_unique<std::vector<flb_sample>*>(nullptr);
    samples.ring_ = ring_buffer__new(maps.at("samples").fd(), take, samples.into_.get(), nullptr);
    if (samples.ring_ == nullptr)
        return fail(bpf_error("mapping samples", errno));
    samples.settings_ = &maps.settings();
    samples.budgets_ = maps.values<flb_sample_budget>("sample_budgets");
    samples.ask(0, 0);
    return samples;
}

Samples::~Samples()
{
    ring_buffer__free(ring_);
}

Samples::Samples(Samples&& other) noexcept
    : ring_(std::exchange(other.ring_, nullptr)), into_(std::move(other.into_)), settings_(other.settings_),
      budgets_(other.budgets_)
{
}

Samples& Samples::operator=(Samples&& other) noexcept
{
    std::swap(ring_, other.ring_);
    std::swap(into_, other.into_);
    settings_ = other.settings_;
    budgets_ = other.budgets_;
    return *this;
}

void Samples::ask(std::uint64_t which, std::uint32_t until)
{
    publish(settings_->sampled_until, until);
    publish_word<std::uint64_t>(&settings_->sampled, which);
}

void Samples::read(std::vector<flb_sample>& into)
{
    std::vector<flb_sample> fresh;
    *into_ = &fresh;
    (void)ring_buffer__consume(ring_); // -EAGAIN: enough for now
    *into_ = nullptr;
    into.insert(into.end(), fresh.begin(), fresh.end());
}

SampleCounts Samples::left_out() const
{
    SampleCounts counts{};
    for (std::size_t i = 0; i < budgets_.size(); i++)
        counts[i % FLB_MAX_REASONS] += __atomic_load_n(&budgets_[i].left_out, __ATOMIC_RELAXED);
    return counts;
}

} // namespace featherlb
