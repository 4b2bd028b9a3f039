// SPDX-License-Identifier: Apache-2.0
#include "kernel/pin_sweeper.h"

#include <cstring>
#include <utility>

namespace featherlb {

bool is_pin_over(const flb_pin_key& key, std::uint64_t pin, std::span<const flb_service> services,
    std::span<const flb_backend> backends, std::uint32_t now)
{
    if (key.service >= services.size() || (pin >> 32) >= backends.size())
        return true;
    const flb_service& service = services[key.service];
    const flb_backend& backend = backends[pin >> 32];
    if (!(service.flags & FLB_SERVICE_VALID) || service.affinity_ticks == 0 || !(backend.flags & FLB_BACKEND_VALID) ||
        backend.service != key.service)
        return true;
    return static_cast<std::int32_t>(now - static_cast<std::uint32_t>(pin)) >
           static_cast<std::int32_t>(service.affinity_ticks);
}

Result<void> PinSweeper::step(
    const Map& pins, std::span<const flb_service> services, std::span<const flb_backend> backends, std::uint32_t now)
{
    std::size_t count = 0;
    const auto end = pins.read_batch(walk_, keys_, values_, count);
    if (!end)
        return fail(end.error());
    for (std::size_t i = 0; i < count; i++) {
        flb_pin_key key{};
        std::uint64_t pin = 0;
        std::memcpy(&key, keys_.data() + i * sizeof(key), sizeof(key));
        std::memcpy(&pin, values_.data() + i * sizeof(pin), sizeof(pin));
        // One that is used at this very moment may be lost: the client's next connection pins it anew.
        if (!is_pin_over(key, pin, services, backends, now))
            running_++;
        else if (auto done = pins.remove(&key); !done)
            return done;
    }
    if (*end)
        finished_ = std::exchange(running_, 0);
    return {};
}

} // namespace featherlb
