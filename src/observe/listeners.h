// SPDX-License-Identifier: Apache-2.0
// What a service listens on, for people: ports in a row as one range.
#pragma once

#include <string>
#include <vector>

#include "plan/tables.h"

namespace featherlb {

// "203.0.113.10:80/tcp", "203.0.113.10:8000-8099/udp": by address, first port, protocol.
[[nodiscard]] std::vector<std::string> write_listeners(std::vector<ListenerKey> keys);

} // namespace featherlb
