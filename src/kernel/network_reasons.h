// SPDX-License-Identifier: Apache-2.0
// Why a packet cannot be sent to a destination, in words for the log and for `status`, with what to do about it.
// Pure: the kernel's answers in, an Error out.
#pragma once

#include <optional>
#include <string>

#include "kernel/netlink_messages.h"
#include "kernel/netlink_socket.h"
#include "kernel/network.h"

namespace featherlb {

// The kernel did not answer, or not in a way that says anything about the network.
[[nodiscard]] Error not_asked(const std::string& what, const NetlinkError& error);
// Addresses that no route leads to, whatever the kernel would say.
[[nodiscard]] std::optional<Error> refuse_destination(const IpAddress& destination);
// The kernel's refusal of a route lookup.
[[nodiscard]] Error describe_refusal(const IpAddress& destination, const NetlinkError& error);
// A route that was found but that no frame of ours can take.
[[nodiscard]] std::optional<Error> refuse_route(const IpAddress& destination, const Route& route);
// The kernel's refusal to keep a neighbour resolved.
[[nodiscard]] Error describe_keep_failure(
    const NeighbourKey& key, const std::string& device, const NetlinkError& error);
// A neighbour whose MAC is not known; `neighbour` is null where the kernel has no entry.
[[nodiscard]] Error describe_unresolved(const NeighbourKey& key, const Interface& device, const Neighbour* neighbour);

} // namespace featherlb
