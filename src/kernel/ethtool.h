// SPDX-License-Identifier: Apache-2.0
// What a network device tells of itself by the ethtool ioctl: its driver and the offloads that matter to us.
// A device that does not answer (no such device, or "lo") has an empty driver and no offloads: never an error.
// The queries need no capability. Of the namespace in which the object was made.
#pragma once

#include <string>

#include "base/fd.h"

namespace featherlb {

struct DeviceOffloads {
    bool rx_vlan = false;     // takes tags off received frames
    bool tx_checksum = false; // frames are handed to it with partial checksums
};

class Ethtool {
public:
    Ethtool();
    // May take milliseconds on hardware that asks its firmware: keep the answer.
    [[nodiscard]] std::string driver(const std::string& interface) const;
    [[nodiscard]] DeviceOffloads offloads(const std::string& interface) const;

private:
    bool query(const std::string& interface, void* command) const;
    Fd socket_;
};

} // namespace featherlb
