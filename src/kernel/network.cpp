// SPDX-License-Identifier: Apache-2.0
#include "kernel/network.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

namespace featherlb {

namespace {

struct Tag {
    std::uint16_t id = 0;
    bool ad = false;
};

std::uint16_t pack_link(std::uint32_t ifindex, const std::vector<Tag>& outer_first)
{
    unsigned link = ifindex % FLB_IFACE_SLOTS | static_cast<unsigned>(outer_first.size()) << FLB_LINK_TAGS_SHIFT;
    if (!outer_first.empty() && outer_first[0].ad)
        link |= FLB_LINK_OUTER_AD;
    if (outer_first.size() > 1 && outer_first[1].ad)
        link |= FLB_LINK_INNER_AD;
    return static_cast<std::uint16_t>(link);
}

} // namespace

const Interface* find_interface(const std::vector<Interface>& interfaces, std::uint32_t ifindex)
{
    const auto found =
        std::find_if(interfaces.begin(), interfaces.end(), [&](const Interface& i) { return i.index == ifindex; });
    return found == interfaces.end() ? nullptr : &*found;
}

Result<WayOut> way_out(const std::vector<Interface>& interfaces, std::uint32_t ifindex)
{
    const Interface* device = find_interface(interfaces, ifindex);
    if (device == nullptr)
        return fail(fmt::format("the interface with index {} is gone", ifindex));
    const std::string& name = device->name;
    WayOut out{.ifindex = 0, .mtu = device->mtu, .link = 0, .vlan = {}};
    std::vector<Tag> tags;
    while (device->vlan && device->vlan->parent != 0) {
        // A parent that is not in the list is one of another namespace: then the VLAN device is where our way ends.
        const Interface* parent = find_interface(interfaces, device->vlan->parent);
        if (parent == nullptr)
            break;
        if (tags.size() == FLB_MAX_VLANS)
            return fail(fmt::format("{} puts more than {} VLAN tags on a frame", name, FLB_MAX_VLANS),
                "lead the route over a device with at most two VLAN tags");
        tags.insert(tags.begin(), Tag{device->vlan->id, device->vlan->ad});
        device = parent;
        out.mtu = std::min(out.mtu, device->mtu);
    }
    if (device->loopback)
        return fail(fmt::format("{} leads back to this machine", name),
            "a backend must be another machine, or have a network namespace (container) of its own");
    if (!device->ethernet)
        return fail(fmt::format("{} is not an Ethernet device{}", device->name,
                        device->kind.empty() ? "" : fmt::format(" (it is of kind {})", device->kind)),
            "featherlb sends Ethernet frames: lead the route over an Ethernet, VLAN, bridge or veth device");
    out.ifindex = device->index;
    out.link = pack_link(device->index, tags);
    for (std::size_t i = 0; i < tags.size(); ++i)
        out.vlan[i] = tags[i].id;
    return out;
}

} // namespace featherlb
