// SPDX-License-Identifier: Apache-2.0
#include "daemon/http_server.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <optional>
#include <utility>

#include <fcntl.h>
#include <microhttpd.h>
#include <sys/socket.h>

namespace featherlb {

namespace {

using namespace std::chrono_literals;

constexpr auto oldest_check = 1s;
constexpr auto crowded_check = 250ms;
constexpr auto crowded_life = 1s; // while all connections are taken

// One HTTP request. libmicrohttpd keeps a pointer to the owner in its per-request pointer; a handler that answers
// later holds a weak one, because the client may be gone by then.
struct Request {
    MHD_Connection* connection = nullptr;
    HttpRequest what;
    std::optional<HttpResponse> response;
    bool suspended = false;
};
using SharedRequest = std::shared_ptr<Request>;

class Server : public HttpServer {
public:
    Server(HttpListener listener, Loop& loop, Handler handler, HttpLimits limits)
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
        // libmicrohttpd does not stop while a connection is suspended, and the last run may read more requests.
        ending_ = true;
        for (auto& [key, request] : requests_) {
            if (std::exchange(request->suspended, false)) {
                request->response = last_words();
                MHD_resume_connection(request->connection);
            }
        }
        MHD_run(daemon_);
        MHD_stop_daemon(daemon_);
    }

    Result<void> begin()
    {
        // The listening descriptor stays ours: without this libmicrohttpd would close it as well.
        const int fd = std::visit([](const auto& listener) { return listener.fd(); }, listener_);
        listening_ = ::fcntl(fd, F_DUPFD_CLOEXEC, 0);
        daemon_ = MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, nullptr, nullptr, &Server::on_request,
            this, MHD_OPTION_LISTEN_SOCKET, listening_, MHD_OPTION_CONNECTION_LIMIT, limits_.connections,
            MHD_OPTION_CONNECTION_TIMEOUT, static_cast<unsigned>(limits_.idle.count()),
            MHD_OPTION_CONNECTION_MEMORY_LIMIT, limits_.memory, MHD_OPTION_NOTIFY_COMPLETED, &Server::on_completed,
            this, MHD_OPTION_NOTIFY_CONNECTION, &Server::on_connection, this, MHD_OPTION_END);
        if (daemon_ == nullptr) {
            ::close(listening_);
            return fail("the HTTP server does not start");
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
        const char*, const char* data, std::size_t* upload, void** slot)
    {
        return static_cast<Server*>(self)->handle(connection, url, method, data, upload, slot);
    }
    static MHD_Result on_argument(void* query, MHD_ValueKind, const char* key, const char* value)
    {
        static_cast<HttpQuery*>(query)->emplace_back(key, value == nullptr ? "" : value);
        return MHD_YES;
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
            server->one_has_left_ = server->born_.erase(connection) > 0;
    }

    MHD_Result handle(MHD_Connection* connection, const char* url, const char* method, const char* data,
        std::size_t* upload, void** slot)
    {
        if (*slot == nullptr) {
            auto request = std::make_shared<Request>();
            request->connection = connection;
            request->what = {method, url, {}};
            MHD_get_connection_values(connection, MHD_GET_ARGUMENT_KIND, &Server::on_argument, &request->what.query);
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
            std::string& body = request->what.body;
            if (body.size() + *upload > limits_.body)
                return MHD_NO; // closes the connection
            body.append(data, *upload);
            *upload = 0;
            return MHD_YES;
        }
        if (!request->response)
            ask(request);
        if (!request->response)
            return MHD_YES; // suspended; comes here again
        return send(connection, *request->response);
    }

    static HttpResponse last_words()
    {
        return {503,
            R"({"error":"the daemon no longer listens here"})"
            "\n",
            {}};
    }

    void ask(const SharedRequest& request)
    {
        if (ending_) {
            request->response = last_words();
            return;
        }
        handler_(request->what, [this, weak = std::weak_ptr<Request>(request)](HttpResponse response) {
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

    // A shared body lives as long as somebody has not read it all.
    static MHD_Response* make(const HttpResponse& response)
    {
        if (!response.shared)
            return MHD_create_response_from_buffer(response.body.size(), const_cast<char*>(response.body.data()),
                MHD_RESPMEM_MUST_COPY); // NOLINT: copied, not written
        using Shared = std::shared_ptr<const std::string>;
        auto* kept = new Shared(response.shared);
        return MHD_create_response_from_buffer_with_free_callback_cls((*kept)->size(),
            const_cast<char*>((*kept)->data()), // NOLINT: not written
            [](void* shared) { delete static_cast<Shared*>(shared); }, kept);
    }

    static MHD_Result send(MHD_Connection* connection, const HttpResponse& response)
    {
        MHD_Response* made = make(response);
        if (made == nullptr)
            return MHD_NO;
        MHD_add_response_header(made, "Content-Type", response.type);
        MHD_add_response_header(made, "Cache-Control", "no-store");
        if (!response.allow.empty())
            MHD_add_response_header(made, "Allow", response.allow.c_str());
        const MHD_Result queued = MHD_queue_response(connection, response.code, made);
        MHD_destroy_response(made);
        return queued;
    }

    [[nodiscard]] bool crowded() const { return born_.size() >= limits_.connections; }

    // libmicrohttpd listens no more while all connections are taken, and does again at the beginning of the first run
    // after one has ended. Nothing would call for that run.
    void run()
    {
        do {
            one_has_left_ = false;
            MHD_run(daemon_);
        } while (one_has_left_);
        MHD_UNSIGNED_LONG_LONG milliseconds = 0;
        timer_.reset();
        if (MHD_get_timeout(daemon_, &milliseconds) == MHD_YES)
            timer_ = loop_.after(std::chrono::milliseconds(milliseconds), [this] { run(); });
    }

    bool waits_for_us(MHD_Connection* connection) const
    {
        return std::any_of(requests_.begin(), requests_.end(), [connection](const auto& entry) {
            return entry.second->connection == connection && entry.second->suspended;
        });
    }

    // The idle time alone would let a client stay for ever that sends one byte at a time, and many such would take
    // every connection.
    void watch_ages()
    {
        bool ended = false;
        for (const auto& [connection, born] : born_) {
            const auto age = loop_.now() - born;
            if (age < limits_.life && !(crowded() && age >= crowded_life && !waits_for_us(connection)))
                continue;
            const MHD_ConnectionInfo* info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
            if (info != nullptr) {
                ::shutdown(info->connect_fd, SHUT_RDWR);
                ended = true;
            }
        }
        if (ended)
            run();
        ages_timer_ = loop_.after(crowded() ? crowded_check : oldest_check, [this] { watch_ages(); });
    }

    HttpListener listener_;
    int listening_ = -1; // libmicrohttpd's
    Loop& loop_;
    Handler handler_;
    HttpLimits limits_;
    MHD_Daemon* daemon_ = nullptr;
    std::map<void*, SharedRequest> requests_;
    std::map<MHD_Connection*, Loop::Clock::time_point> born_;
    bool ending_ = false;
    bool one_has_left_ = false; // during this run
    Handle events_;
    Handle timer_;
    Handle ages_timer_;
    Handle run_soon_;
};

} // namespace

Result<std::unique_ptr<HttpServer>> HttpServer::start(
    HttpListener listener, Loop& loop, Handler handler, HttpLimits limits)
{
    auto server = std::make_unique<Server>(std::move(listener), loop, std::move(handler), limits);
    if (Result<void> begun = server->begin(); !begun)
        return fail(std::move(begun.error()));
    return server;
}

} // namespace featherlb
