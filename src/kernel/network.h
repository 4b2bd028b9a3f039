// SPDX-License-Identifier: Apache-2.0
// What is known of the machine's network, in the network namespace of the process: interfaces, addresses, and for
// a destination the way out on layer 2. `Network` is the seam that unit tests fake; `open_network` gives the real
// one (netlink and ethtool). Answers come from a cache that events invalidate: watch `event_fd()`, call `drain()`
// when it is readable, and ask again for what changed. Links, addresses and routes that change in any way flag
// their kind; neighbours only where an answer of `next_hop` may change.
// Requests are synchronous but short (microseconds; a second at most where the kernel does not answer).
// Not thread-safe; every call belongs to the thread of the event loop.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/ip.h"
#include "base/result.h"
#include "plan/tables.h"

namespace featherlb {

// A VLAN device: what it adds to the frames of the device below it.
struct VlanDevice {
    std::uint32_t parent = 0; // ifindex; 0: lies in another network namespace
    std::uint16_t id = 0;     // 0-4095
    bool ad = false;          // 802.1ad rather than 802.1Q
    friend bool operator==(const VlanDevice&, const VlanDevice&) = default;
};

struct Interface {
    std::uint32_t index = 0;
    std::string name;
    std::array<std::uint8_t, 6> mac{};
    std::uint32_t mtu = 0;
    bool up = false;      // set up by the operator
    bool carrier = false; // and the link is there
    bool loopback = false;
    bool ethernet = false; // frames with Ethernet headers, loopback excluded
    bool no_arp = false;   // resolves no neighbours
    std::string kind;      // "veth", "bridge", "vlan", "macvlan", ...; empty for a NIC
    std::optional<VlanDevice> vlan;
    // A veth whose other end is in another network namespace, with no queueing discipline: TC may hand frames over to
    // that end (bpf_redirect_peer).
    bool hands_over = false;
    std::uint32_t master = 0; // ifindex of the bridge, bond, ... that it is a port of
    std::uint32_t tx_queues = 0;
    std::uint32_t rx_queues = 0;
    std::string driver;           // by ethtool; empty where the device does not tell
    bool rx_vlan_offload = false; // tags of received frames are taken off before XDP
    bool tx_checksum_offload = false;
    friend bool operator==(const Interface&, const Interface&) = default;
};

// An address that works: neither tentative nor found to be a duplicate.
struct InterfaceAddress {
    IpAddress address;
    std::uint8_t prefix_length = 0;
    std::uint32_t ifindex = 0;
    bool link_local = false;
    bool deprecated = false; // receives, but must not be the source of new connections
    friend bool operator==(const InterfaceAddress&, const InterfaceAddress&) = default;
};

// The answer to "how does a packet get there".
struct Way {
    NextHop next;                       // what the plan takes; hop all zero: not resolved, mtu 0: no route either
    std::uint32_t ifindex = 0;          // the device that the frame leaves by, below any VLAN devices; 0: no route
    std::string device;                 // the device of the route, e.g. "eth0.10"
    std::optional<IpAddress> neighbour; // who gets the frame: the gateway, or the destination itself
    std::optional<Error> problem;       // why next.hop is all zero; or why the answer may be out of date
};

struct NetworkChanges {
    bool links = false;
    bool addresses = false;
    bool routes = false;
    bool neighbours = false;
    [[nodiscard]] bool any() const { return links || addresses || routes || neighbours; }
    static NetworkChanges everything() { return {true, true, true, true}; }
    NetworkChanges& operator|=(const NetworkChanges& other)
    {
        links |= other.links;
        addresses |= other.addresses;
        routes |= other.routes;
        neighbours |= other.neighbours;
        return *this;
    }
};

class Network {
public:
    virtual ~Network() = default;

    // By index.
    [[nodiscard]] virtual Result<std::vector<Interface>> interfaces() = 0;
    // Of all interfaces, loopback included; by interface and address.
    [[nodiscard]] virtual Result<std::vector<InterfaceAddress>> addresses() = 0;

    // From now on the neighbour on the way to `destination` is kept resolved by the kernel. The first answer for a
    // neighbour that nobody talked to is "not resolved yet"; `drain()` tells of neighbours when it is. Ask again
    // after any change: that also puts back what a link that went down has lost.
    [[nodiscard]] virtual Way next_hop(const IpAddress& destination) = 0;
    // Only the ways to these are still wanted: neighbours that we keep resolved for no other are let go.
    virtual void retain(const std::set<IpAddress>& destinations) = 0;
    // Every few seconds, from a timer: puts back what is missing, and probes where the kernel cannot keep
    // neighbours by itself. True: a path MTU was learned or forgotten, which no event tells; ask again.
    virtual bool maintain() = 0;
    // Lets go of all neighbours. For `detach`; a daemon that leaves the data plane behind does not call it.
    virtual void release() = 0;

    // Non-blocking; readable when something changed. -1 in a fake that has none.
    [[nodiscard]] virtual int event_fd() const = 0;
    // What changed since the last call. Reads until nothing is left.
    virtual NetworkChanges drain() = 0;
};

// Of the calling thread's network namespace. Needs CAP_NET_ADMIN to keep neighbours; without it, `next_hop` still
// answers with what the kernel knows.
[[nodiscard]] Result<std::unique_ptr<Network>> open_network();

// ---- pure parts ----

// The device below the VLAN devices and the tags on the way; fails where a frame cannot be built.
struct WayOut {
    std::uint32_t ifindex = 0;
    std::uint32_t mtu = 0;  // the smallest of the devices passed
    std::uint16_t link = 0; // as in flb_hop
    std::array<std::uint16_t, FLB_MAX_VLANS> vlan{};
};
[[nodiscard]] Result<WayOut> way_out(const std::vector<Interface>& interfaces, std::uint32_t ifindex);
[[nodiscard]] const Interface* find_interface(const std::vector<Interface>& interfaces, std::uint32_t ifindex);

} // namespace featherlb
