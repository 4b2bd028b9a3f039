// SPDX-License-Identifier: Apache-2.0
#include "kernel/dataplane_choice.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include <fmt/format.h>

#include "kernel/ethtool.h"

namespace featherlb {

bool is_xdp(Hook hook)
{
    return hook == Hook::xdp || hook == Hook::xdp_generic;
}

std::vector<std::string> attach_warnings(Hook hook, const std::string& name, const std::string& driver)
{
    if (hook == Hook::xdp_generic)
        return {
            fmt::format("{}: generic XDP is slow for bulk transfers while the sender segments in hardware; `attach: "
                        "tc` is faster here, or switch off tso and gso at the senders",
                name)};
    if (hook != Hook::xdp || driver != "veth")
        return {};
    return {
        fmt::format("{0}: native XDP on veth forgets that a checksum is partial, so frames of senders with checksum "
                    "offload arrive broken; switch it off at both end hosts (`ethtool -K DEVICE tx off`), or use "
                    "`attach: tc`",
            name),
        fmt::format("{0}: frames that native XDP sends are lost where the peer of the veth that they leave by has "
                    "neither an XDP program nor `gro on`",
            name)};
}

std::string explain_attach_error(Hook hook, const std::string& name, const std::string& driver, int error)
{
    std::string text = std::strerror(error);
    if (!is_xdp(hook))
        return text;
    if (error == ERANGE && driver == "veth")
        return text +
               " (veth refuses native XDP where the peer's MTU is above about 3,500, or where the peer has more "
               "transmit queues than " +
               name + " has receive queues)";
    if (error == EOPNOTSUPP)
        return text + " (the driver has no native XDP)";
    if (error == EINVAL || error == ERANGE)
        return text + " (an MTU above what the driver can do under XDP, or too few queues)";
    return text;
}

std::string_view to_string(Hook hook)
{
    switch (hook) {
    case Hook::xdp:
        return "xdp";
    case Hook::xdp_generic:
        return "xdp-generic";
    case Hook::tcx:
        return "tcx";
    case Hook::clsact:
        return "clsact";
    }
    return "unknown";
}

std::string driver_of(const std::string& interface)
{
    return Ethtool().driver(interface);
}

HookChoice choose_hook(std::string_view driver)
{
    // By the names that the drivers give themselves. What is not listed is taken for a network card.
    constexpr std::array<std::string_view, 15> virtual_drivers = {"veth", "bridge", "macvlan", "macvtap", "ipvlan",
        "bonding", "team", "tun", "802.1Q VLAN Support", "vxlan", "geneve", "dummy", "wireguard", "gre", "openvswitch"};
    if (driver == "veth")
        return {false, "frames that XDP sends through veth may be lost, and partial checksums break"};
    if (driver.empty())
        return {false, "the device has no driver that could run XDP"};
    if (std::ranges::find(virtual_drivers, driver) != virtual_drivers.end())
        return {false, fmt::format("{} is a virtual device", driver)};
    return {true, fmt::format("the driver {} may run XDP", driver)};
}

} // namespace featherlb
