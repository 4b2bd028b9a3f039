// SPDX-License-Identifier: Apache-2.0
#include "kernel/ethtool.h"

#include <cstring>

#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

namespace featherlb {

Ethtool::Ethtool() : socket_(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0))
{
    // A kernel without IPv4 still has this one.
    if (!socket_.valid())
        socket_.reset(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0));
}

bool Ethtool::query(const std::string& interface, void* command) const
{
    ifreq request{};
    if (!socket_.valid() || interface.size() >= sizeof(request.ifr_name))
        return false;
    std::memcpy(request.ifr_name, interface.c_str(), interface.size() + 1);
    request.ifr_data = static_cast<char*>(command);
    return ::ioctl(socket_.get(), SIOCETHTOOL, &request) == 0;
}

std::string Ethtool::driver(const std::string& interface) const
{
    ethtool_drvinfo info{};
    info.cmd = ETHTOOL_GDRVINFO;
    if (!query(interface, &info))
        return {};
    return {info.driver, ::strnlen(info.driver, sizeof(info.driver))};
}

DeviceOffloads Ethtool::offloads(const std::string& interface) const
{
    DeviceOffloads offloads;
    ethtool_value flags{.cmd = ETHTOOL_GFLAGS, .data = 0};
    if (query(interface, &flags))
        offloads.rx_vlan = (flags.data & ETH_FLAG_RXVLAN) != 0;
    ethtool_value checksum{.cmd = ETHTOOL_GTXCSUM, .data = 0};
    if (query(interface, &checksum))
        offloads.tx_checksum = checksum.data != 0;
    return offloads;
}

} // namespace featherlb
