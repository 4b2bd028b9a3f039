// SPDX-License-Identifier: Apache-2.0
// The command line's way to the daemon: one HTTP request over its Unix socket.
#pragma once

#include <chrono>
#include <functional>
#include <string>

#include "base/result.h"

namespace featherlb::cli {

struct Reply {
    long code = 0; // HTTP
    std::string body;
};

// Fails where no daemon answers in time; the error names the socket and what to do.
[[nodiscard]] Result<Reply> ask_daemon(const std::string& socket, const std::string& method, const std::string& path,
    std::chrono::seconds timeout, const std::string& body = {});
// The same; while it waits, `stop` is asked now and then, and after every signal. Once it says so, the answer has code
// 0.
[[nodiscard]] Result<Reply> ask_daemon_until(const std::string& socket, const std::string& path,
    std::chrono::seconds timeout, const std::function<bool()>& stop);
// As an argument of a path: what is not a letter, a digit, '-', '.', '_' or '~' is escaped.
[[nodiscard]] std::string escape(const std::string& text);

} // namespace featherlb::cli
