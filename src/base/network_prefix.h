// SPDX-License-Identifier: Apache-2.0
// A network of addresses as a value: "10.0.0.0/8", "2001:db8::/32".
#pragma once

#include <compare>
#include <cstdint>
#include <string>

#include "base/ip.h"

namespace featherlb {

struct NetworkPrefix {
    IpAddress address;     // bits behind the prefix are zero
    std::uint8_t bits = 0; // 0 to 32 or 128

    // The network that the first `bits` bits of `address` name.
    [[nodiscard]] static NetworkPrefix of(const IpAddress& address, std::uint8_t bits);
    [[nodiscard]] bool contains(const IpAddress& other) const; // false: also if it is of the other IP version
    [[nodiscard]] std::string to_string() const;
    friend auto operator<=>(const NetworkPrefix&, const NetworkPrefix&) = default;
};

[[nodiscard]] std::uint8_t address_bits(Family family); // 32 or 128

} // namespace featherlb
