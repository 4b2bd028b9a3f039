// SPDX-License-Identifier: Apache-2.0
#include "kernel/pin_sweeper.h"

#include <cerrno>

#include <bpf/bpf.h>

namespace featherlb {

bool is_pin_over(const flb_pin_key& key, std::uint64_t pin, std::span<const flb_service> services,
    std::span<const flb_backend> backends, std::uint32_t now)
{
    if (key.service >= services.size() || (pin >> 32) >= backends.size())
        return true;
    const flb_service& service = services[key.service];
    const flb_backend& backend = backends[pin >> 32];
    if (!(service.flags & FLB_SERVICE_VALID) || service.affinity_ticks == 0 || !(backend.flags & FLB_BACKEND_VALID) ||
        (backend.flags & FLB_BACKEND_DRAINING) || backend.service != key.service)
        return true; // one that drains leaves: its number may become another backend's
    return static_cast<std::int32_t>(now - static_cast<std::uint32_t>(pin)) >
           static_cast<std::int32_t>(service.affinity_ticks);
}

Result<void> PinSweeper::step(
    const Map& pins, std::span<const flb_service> services, std::span<const flb_backend> backends, std::uint32_t now)
{
    keys_.resize(batch_);
    values_.resize(batch_);
    std::uint32_t got = batch_;
    const int error = bpf_map_lookup_batch(
        pins.fd(), first_ ? nullptr : &cursor_, &cursor_, keys_.data(), values_.data(), &got, nullptr);
    if (error == -ENOSPC && batch_ <= pins.shape().max_entries) { // the next bucket alone has more
        batch_ *= 2;
        return {};
    }
    if (error < 0 && error != -ENOENT)
        return fail(bpf_error("reading the map " + pins.shape().name, -error));
    for (std::uint32_t i = 0; i < got; i++) {
        // One that is used at this very moment may be lost: the client's next connection pins it anew.
        if (!is_pin_over(keys_[i], values_[i], services, backends, now)) {
            running_++;
        } else if (auto done = pins.remove(&keys_[i]); done) {
            removed_++;
        } else {
            return done;
        }
    }
    first_ = error == -ENOENT; // the end
    if (first_) {
        finished_ = running_;
        running_ = 0;
    }
    return {};
}

} // namespace featherlb
