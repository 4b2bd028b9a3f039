// SPDX-License-Identifier: Apache-2.0
#include "daemon/admin.h"

#include <cstring>
#include <map>
#include <optional>
#include <utility>

#include <microhttpd.h>
#include <sys/socket.h>

namespace featherlb {

namespace {

using namespace std::chrono_literals;

constexpr auto oldest_check = 1s;

// One HTTP request. libmicrohttpd keeps a pointer to the owner in its per-request pointer; a handler that answers
// later holds a weak one, because the client may be gone by then.
struct Request {
    MHD_Connection* connection = nullptr;
    AdminRequest what;
    std::size_t body = 0;
    std::optional<AdminResponse> response;
    bool suspended = false;
};
using SharedRequest = std::shared_ptr<Request>;

class Server : public AdminServer {
public:
    Server(UnixListener listener, Loop& loop, Handler handler, AdminLimits limits)
        : listener_(std::move(listener)), loop_(loop), handler_(std::move(handler)), limits_(limits)
    {
    }
    Server(const Server&) = delete;
    Server& operator=(const Server&) = delete;

    ~Server() override
    {
        events_.reset();
        timer_.reset();
        ages_timer_.reset();
        run_soon_.reset();
        if (daemon_ == nullptr)
            return;
        // libmicrohttpd does not stop while a connection is suspended.
        for (auto& [key, request] : requests_) {
            if (std::exchange(request->suspended, false)) {
                request->response = AdminResponse{503,
                    R"({"error":"the daemon is ending"})"
                    "\n",
                    {}};
                MHD_resume_connection(request->connection);
            }
        }
        MHD_run(daemon_);
        MHD_stop_daemon(daemon_);
    }

    Result<void> begin()
    {
        // The listening descriptor stays ours: without this libmicrohttpd would close it as well.
        listening_ = ::dup(listener_.fd());
        daemon_ = MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, nullptr, nullptr, &Server::on_request,
            this, MHD_OPTION_LISTEN_SOCKET, listening_, MHD_OPTION_CONNECTION_LIMIT, limits_.connections,
            MHD_OPTION_CONNECTION_TIMEOUT, static_cast<unsigned>(limits_.idle.count()),
            MHD_OPTION_CONNECTION_MEMORY_LIMIT, limits_.memory, MHD_OPTION_NOTIFY_COMPLETED, &Server::on_completed,
            this, MHD_OPTION_NOTIFY_CONNECTION, &Server::on_connection, this, MHD_OPTION_END);
        if (daemon_ == nullptr) {
            ::close(listening_);
            return fail("the admin server does not start");
        }
        const MHD_DaemonInfo* info = MHD_get_daemon_info(daemon_, MHD_DAEMON_INFO_EPOLL_FD);
        if (info == nullptr || info->epoll_fd < 0)
            return fail("libmicrohttpd was built without epoll");
        events_ = loop_.on_readable(info->epoll_fd, [this] { run(); });
        watch_ages();
        return {};
    }

private:
    static MHD_Result on_request(void* self, MHD_Connection* connection, const char* url, const char* method,
        const char*, const char*, std::size_t* upload, void** slot)
    {
        return static_cast<Server*>(self)->handle(connection, url, method, upload, slot);
    }
    static void on_completed(void* self, MHD_Connection*, void** slot, MHD_RequestTerminationCode)
    {
        if (*slot != nullptr)
            static_cast<Server*>(self)->requests_.erase(*slot);
        *slot = nullptr;
    }
    static void on_connection(void* self, MHD_Connection* connection, void**, MHD_ConnectionNotificationCode code)
    {
        auto* server = static_cast<Server*>(self);
        if (code == MHD_CONNECTION_NOTIFY_STARTED)
            server->born_[connection] = server->loop_.now();
        else
            server->born_.erase(connection);
    }

    MHD_Result handle(MHD_Connection* connection, const char* url, const char* method, std::size_t* upload, void** slot)
    {
        if (*slot == nullptr) {
            auto request = std::make_shared<Request>();
            request->connection = connection;
            request->what = {method, url};
            *slot = request.get();
            requests_.emplace(request.get(), request);
            if (declares_too_much(connection))
                return send(connection, {413,
                                            R"({"error":"the body is too long"})"
                                            "\n",
                                            {}});
            return MHD_YES;
        }
        const SharedRequest request = requests_.at(*slot);
        if (*upload > 0) {
            request->body += *upload;
            *upload = 0;
            return request->body > limits_.body ? MHD_NO : MHD_YES; // MHD_NO closes the connection
        }
        if (!request->response)
            ask(request);
        if (!request->response)
            return MHD_YES; // suspended; comes here again
        return send(connection, *request->response);
    }

    void ask(const SharedRequest& request)
    {
        handler_(request->what, [this, weak = std::weak_ptr<Request>(request)](AdminResponse response) {
            const SharedRequest alive = weak.lock();
            if (!alive || alive->response)
                return;
            alive->response = std::move(response);
            if (std::exchange(alive->suspended, false)) {
                MHD_resume_connection(alive->connection);
                run_soon_ = loop_.after(0s, [this] { run(); });
            }
        });
        if (!request->response) {
            request->suspended = true;
            MHD_suspend_connection(request->connection);
        }
    }

    bool declares_too_much(MHD_Connection* connection) const
    {
        const char* length = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Content-Length");
        return length != nullptr && (std::strlen(length) > 18 || std::strtoull(length, nullptr, 10) > limits_.body);
    }

    static MHD_Result send(MHD_Connection* connection, const AdminResponse& response)
    {
        MHD_Response* made = MHD_create_response_from_buffer(response.body.size(),
            const_cast<char*>(response.body.data()), MHD_RESPMEM_MUST_COPY); // NOLINT: copied, not written
        if (made == nullptr)
            return MHD_NO;
        MHD_add_response_header(made, "Content-Type", "application/json");
        MHD_add_response_header(made, "Cache-Control", "no-store");
        if (!response.allow.empty())
            MHD_add_response_header(made, "Allow", response.allow.c_str());
        const MHD_Result queued = MHD_queue_response(connection, response.code, made);
        MHD_destroy_response(made);
        return queued;
    }

    void run()
    {
        MHD_run(daemon_);
        MHD_UNSIGNED_LONG_LONG milliseconds = 0;
        timer_.reset();
        if (MHD_get_timeout(daemon_, &milliseconds) == MHD_YES)
            timer_ = loop_.after(std::chrono::milliseconds(milliseconds), [this] { run(); });
    }

    // The idle time alone would let a client stay for ever that sends one byte at a time.
    void watch_ages()
    {
        bool ended = false;
        for (const auto& [connection, born] : born_) {
            if (loop_.now() - born < limits_.life)
                continue;
            const MHD_ConnectionInfo* info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
            if (info != nullptr) {
                ::shutdown(info->connect_fd, SHUT_RDWR);
                ended = true;
            }
        }
        if (ended)
            run();
        ages_timer_ = loop_.after(oldest_check, [this] { watch_ages(); });
    }

    UnixListener listener_;
    int listening_ = -1; // libmicrohttpd's
    Loop& loop_;
    Handler handler_;
    AdminLimits limits_;
    MHD_Daemon* daemon_ = nullptr;
    std::map<void*, SharedRequest> requests_;
    std::map<MHD_Connection*, Loop::Clock::time_point> born_;
    Handle events_;
    Handle timer_;
    Handle ages_timer_;
    Handle run_soon_;
};

} // namespace

Result<std::unique_ptr<AdminServer>> AdminServer::start(
    UnixListener listener, Loop& loop, Handler handler, AdminLimits limits)
{
    auto server = std::make_unique<Server>(std::move(listener), loop, std::move(handler), limits);
    if (Result<void> begun = server->begin(); !begun)
        return fail(std::move(begun.error()));
    return server;
}

} // namespace featherlb
