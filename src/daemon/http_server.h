// SPDX-License-Identifier: Apache-2.0
// HttpServer: HTTP on a listening socket, driven by the daemon's loop (libmicrohttpd with an epoll descriptor of its
// own). It knows nothing of what is asked: a handler gets method and path and answers, at once or later, from the
// loop. A client that sends slowly, sends much, or never reads holds nobody up: connections, their memory, their idle
// time and their whole life are limited; while all connections are taken, who has been there for a second makes room.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "base/loop.h"
#include "base/result.h"
#include "daemon/tcp_socket.h"
#include "daemon/unix_socket.h"

namespace featherlb {

using HttpQuery = std::vector<std::pair<std::string, std::string>>; // decoded; without '=': an empty value

struct HttpRequest {
    std::string method;
    std::string path;
    std::string body;
    HttpQuery query = {};
};

struct HttpResponse {
    unsigned code = 200;
    std::string body;
    std::string allow;                              // for 405: the methods that are allowed
    const char* type = "application/json";          // of the body
    std::shared_ptr<const std::string> shared = {}; // instead of `body`: not copied
};

struct HttpLimits {
    unsigned connections = 256;
    std::size_t memory = 16384; // a connection's headers
    std::size_t body = 65536;
    std::chrono::seconds idle{5};
    std::chrono::seconds life{60}; // of a connection, whatever it does
};

using HttpListener = std::variant<UnixListener, TcpListener>;

class HttpServer {
public:
    using Respond = std::function<void(HttpResponse)>; // once; later calls do nothing
    using Handler = std::function<void(const HttpRequest&, Respond)>;

    [[nodiscard]] static Result<std::unique_ptr<HttpServer>> start(
        HttpListener listener, Loop& loop, Handler handler, HttpLimits limits = {});
    virtual ~HttpServer() = default;
};

} // namespace featherlb
