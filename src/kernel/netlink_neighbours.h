// SPDX-License-Identifier: Apache-2.0
// The kernel's neighbour table as we know it, and the neighbours in it that we have the kernel keep resolved
// ("managed": resolved without traffic, refreshed, tried again after failure). The table is read once and then
// follows the events. Our entries carry our number as originator: they are found again by the next daemon and by
// `release`. Entries that the operator made permanent are used as they are and never touched. Linux forgets a
// managed entry when its link goes down: `keep` puts it back. Thread rule: that of Network.
#pragma once

#include <map>
#include <optional>
#include <set>

#include "kernel/netlink_messages.h"
#include "kernel/netlink_socket.h"

namespace featherlb {

class NeighbourTable {
public:
    // The socket is the caller's and must outlive this.
    explicit NeighbourTable(NetlinkSocket& socket) : socket_(&socket) {}

    // Reads the table if it was not read yet or events were lost. On failure what was known stays.
    [[nodiscard]] NetlinkResult<void> refresh();
    // Events were lost.
    void forget() { stale_ = true; }
    // An event. True: a neighbour that we keep has another MAC, works now, works no longer or is gone.
    [[nodiscard]] bool apply(const nlmsghdr& header);
    [[nodiscard]] const Neighbour* find(const NeighbourKey& key) const;

    // Has the kernel keep it resolved from now on. A call for one that is kept already costs nothing.
    [[nodiscard]] NetlinkResult<void> keep(const NeighbourKey& key);
    // Neighbours that do not answer are asked for anew by the next `keep`: a link came up, a route changed.
    void kick();
    // One round of probes for those that this kernel cannot keep by itself.
    void probe();
    // Lets go of all of ours but these, those of an earlier daemon included.
    void retain(const std::set<NeighbourKey>& keys);
    void release() { retain({}); }

private:
    struct Wanted {
        bool kicked = false;
        bool probed = false; // the kernel refused `managed`: kept by probing
    };
    NetlinkResult<std::optional<Neighbour>> ask_for(const NeighbourKey& key);
    NetlinkResult<void> put(const NeighbourKey& key, Wanted& wanted);
    NetlinkResult<void> send(const NeighbourKey& key, Wanted& wanted, Request::Existing existing);
    void drop(const NeighbourKey& key);

    NetlinkSocket* socket_;
    std::map<NeighbourKey, Neighbour> table_;
    std::map<NeighbourKey, Wanted> wanted_;
    bool stale_ = true;
};

} // namespace featherlb
