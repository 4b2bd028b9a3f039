// SPDX-License-Identifier: Apache-2.0
// AdminServer: HTTP on a listening Unix socket, driven by the daemon's loop (libmicrohttpd with an epoll descriptor
// of its own). It knows nothing of what is asked: a handler gets method and path and answers, at once or later, from
// the loop. A client that sends slowly, sends much, or never reads holds nobody up: connections, their memory, their
// idle time and their whole life are limited.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/loop.h"
#include "base/result.h"
#include "daemon/unix_socket.h"

namespace featherlb {

struct AdminRequest {
    std::string method;
    std::string path;
};

struct AdminResponse {
    unsigned code = 200;
    std::string body;  // JSON
    std::string allow; // for 405: the methods that are allowed
};

struct AdminLimits {
    unsigned connections = 16;
    std::size_t memory = 16384; // a connection's headers
    std::size_t body = 65536;
    std::chrono::seconds idle{5};
    std::chrono::seconds life{60}; // of a connection, whatever it does
};

class AdminServer {
public:
    using Respond = std::function<void(AdminResponse)>; // once; later calls do nothing
    using Handler = std::function<void(const AdminRequest&, Respond)>;

    [[nodiscard]] static Result<std::unique_ptr<AdminServer>> start(
        UnixListener listener, Loop& loop, Handler handler, AdminLimits limits = {});
    virtual ~AdminServer() = default;
};

} // namespace featherlb
