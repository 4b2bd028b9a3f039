// SPDX-License-Identifier: Apache-2.0
#include "base/network_prefix.h"

#include <algorithm>

namespace featherlb {

NetworkPrefix NetworkPrefix::of(const IpAddress& address, std::uint8_t bits)
{
    flb_addr bytes = address.to_abi();
    for (std::size_t i = 0; i < sizeof(bytes.bytes); i++) {
        const int left = std::clamp(bits - static_cast<int>(i) * 8, 0, 8);
        bytes.bytes[i] = static_cast<std::uint8_t>(bytes.bytes[i] & 0xff00 >> left);
    }
    return {IpAddress::from_abi(bytes, address.family()), bits};
}

bool NetworkPrefix::contains(const IpAddress& other) const
{
    return other.family() == address.family() && of(other, bits) == *this;
}

std::string NetworkPrefix::to_string() const
{
    return address.to_string() + "/" + std::to_string(bits);
}

std::uint8_t address_bits(Family family)
{
    return family == Family::ipv4 ? 32 : 128;
}

} // namespace featherlb
