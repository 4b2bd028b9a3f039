// SPDX-License-Identifier: Apache-2.0
// The command line's way to the daemon: one HTTP request over its Unix socket.
#pragma once

#include <chrono>
#include <string>

#include "base/result.h"

namespace featherlb::cli {

struct Reply {
    long code = 0; // HTTP
    std::string body;
};

// Fails where no daemon answers in time; the error names the socket and what to do.
[[nodiscard]] Result<Reply> ask_daemon(
    const std::string& socket, const std::string& method, const std::string& path, std::chrono::seconds timeout);

} // namespace featherlb::cli
