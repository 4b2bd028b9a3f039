// SPDX-License-Identifier: Apache-2.0
// What those share who open TCP connections to backends to ask them something.
#pragma once

#include <optional>

#include <sys/socket.h>

#include "base/ip.h"
#include "daemon/health_state.h"

namespace featherlb {

struct SocketAddress {
    sockaddr_storage bytes{};
    socklen_t length = 0;
};
[[nodiscard]] SocketAddress socket_address(const Endpoint& endpoint);

// What a connection that failed says of the backend: failures of this machine say nothing and are discarded.
[[nodiscard]] CheckResult result_of(int error);

// Whether the connection is there: nothing while it is still being opened, else 0 or the error.
[[nodiscard]] std::optional<int> connection_outcome(int socket);

} // namespace featherlb
