// SPDX-License-Identifier: Apache-2.0
// Routing netlink messages as values: requests are built into a fixed buffer, answers and events are parsed.
// Parsers check every length, refuse what is too short and skip attributes that they do not know, so they may be
// given anything. Nothing here talks to the kernel.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include <libmnl/libmnl.h>
#include <linux/neighbour.h>

#include "base/ip.h"
#include "kernel/network.h"

namespace featherlb {

// The originator that our entries in the neighbour table carry (NDA_PROTOCOL, a number in the space of
// /etc/iproute2/rt_protos): it tells them from the operator's, over restarts of the daemon too.
inline constexpr std::uint8_t neighbour_protocol = 0xfb;

struct NeighbourKey {
    std::uint32_t ifindex = 0;
    IpAddress address;
    friend auto operator<=>(const NeighbourKey&, const NeighbourKey&) = default;
};

struct Neighbour {
    NeighbourKey key;
    std::optional<std::array<std::uint8_t, 6>> mac; // nothing: none, or not Ethernet
    std::uint16_t state = NUD_NONE;                 // NUD_*
    std::uint8_t protocol = 0;
    bool managed = false;
    friend bool operator==(const Neighbour&, const Neighbour&) = default;

    [[nodiscard]] bool permanent() const { return (state & (NUD_PERMANENT | NUD_NOARP)) != 0; }
    // Frames may be sent to its MAC.
    [[nodiscard]] bool usable() const;
};

// The kernel's answer for one destination.
struct Route {
    std::uint8_t type = 0; // RTN_*
    std::uint32_t ifindex = 0;
    std::optional<IpAddress> gateway; // may be of the other family
    std::optional<IpAddress> source;
    std::uint32_t mtu = 0;     // 0: the device's
    bool encapsulated = false; // MPLS, segment routing, ...: more than a MAC is needed
    bool temporary = false;    // holds a learned path MTU or came with a lifetime: changes without an event
    friend bool operator==(const Route&, const Route&) = default;
};

struct AddressMessage {
    InterfaceAddress address;
    bool working = false; // neither tentative nor a duplicate
};

// Fields that netlink does not know (driver, offloads) are left empty. Nothing for messages of the bridge.
[[nodiscard]] std::optional<Interface> parse_link(const nlmsghdr& header);
[[nodiscard]] std::optional<AddressMessage> parse_address(const nlmsghdr& header);
[[nodiscard]] std::optional<Route> parse_route(const nlmsghdr& header);
[[nodiscard]] std::optional<Neighbour> parse_neighbour(const nlmsghdr& header);

class Request {
public:
    static Request dump_links();
    static Request dump_addresses();
    static Request dump_neighbours(Family family);
    static Request get_route(const IpAddress& destination);
    static Request get_neighbour(const NeighbourKey& key);
    enum class Keep { managed, used }; // by the kernel from now on; by one round of probes
    enum class Existing { refuse, change };
    static Request keep_neighbour(const NeighbourKey& key, Keep keep, Existing existing);
    static Request delete_neighbour(const NeighbourKey& key);

    [[nodiscard]] nlmsghdr& header() { return *reinterpret_cast<nlmsghdr*>(buffer_.data()); }

private:
    Request(std::uint16_t type, std::uint16_t flags);
    template <typename T>
    T& extra();
    void put(std::uint16_t type, const IpAddress& address);
    alignas(NLMSG_ALIGNTO) std::array<std::byte, 256> buffer_{};
};

} // namespace featherlb
