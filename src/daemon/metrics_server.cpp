// SPDX-License-Identifier: Apache-2.0
#include "daemon/metrics_server.h"

#include <utility>

#include "observe/metrics.h"

namespace featherlb {

namespace {

constexpr const char* plain = "text/plain; charset=utf-8";
constexpr const char* exposition = "text/plain; version=0.0.4; charset=utf-8";
constexpr int rest_factor = 4; // a text that took a millisecond to make is not made again for four

HttpResponse say(unsigned code, const std::string& line, std::string allow = {})
{
    return {code, line + '\n', std::move(allow), plain};
}

} // namespace

HttpLimits MetricsServer::default_limits()
{
    using namespace std::chrono_literals;
    return {.connections = 32, .memory = 8192, .body = 0, .idle = 5s, .life = 20s};
}

MetricsServer::MetricsServer(Loop& loop, MetricsTarget target, HttpLimits limits)
    : loop_(loop), target_(std::move(target)), limits_(limits)
{
}

Result<void> MetricsServer::listen(const std::optional<Endpoint>& where)
{
    if (where == endpoint_)
        return {};
    if (!where) {
        server_.reset();
        endpoint_.reset();
        return {};
    }
    const std::optional<Endpoint> before = endpoint_;
    Result<void> opened = open(*where);
    if (!opened && before && before->port == where->port) { // it may be in its own way: 127.0.0.1 and 0.0.0.0
        server_.reset();
        opened = open(*where);
        if (!opened) {
            if (!open(*before))
                endpoint_.reset();
        }
    }
    if (!opened)
        return fail(std::move(opened.error()).add_context("metrics.listen"));
    return {};
}

Result<void> MetricsServer::open(const Endpoint& where)
{
    Result<TcpListener> listener = TcpListener::open(where);
    if (!listener)
        return fail(std::move(listener.error()));
    const Endpoint bound = listener->endpoint();
    Result<std::unique_ptr<HttpServer>> server = HttpServer::start(
        std::move(*listener), loop_,
        [this](const HttpRequest& request, const HttpServer::Respond& respond) { answer(request, respond); }, limits_);
    if (!server)
        return fail(std::move(server.error()));
    server_ = std::move(*server);
    endpoint_ = bound;
    return {};
}

void MetricsServer::answer(const HttpRequest& request, const HttpServer::Respond& respond)
{
    const bool known = request.path == "/metrics" || request.path == "/healthz" || request.path == "/readyz";
    if (!known)
        return respond(say(404, "there is /metrics, /healthz and /readyz"));
    if (request.method != "GET")
        return respond(say(405, "use GET", "GET"));
    if (request.path == "/healthz")
        return respond(say(200, "ok")); // the loop lives, or nobody would say so
    if (request.path == "/readyz") {
        const std::string why = target_.why_not_ready();
        return respond(why.empty() ? say(200, "ready") : say(503, why));
    }
    answer_metrics(respond);
}

void MetricsServer::answer_metrics(const HttpServer::Respond& respond)
{
    const auto now = loop_.now();
    if (text_ != nullptr && now < fresh_until_)
        return respond({.code = 200, .type = exposition, .shared = text_});
    waiting_.push_back(respond);
    if (waiting_.size() > 1)
        return;
    began_ = now;
    auto status = std::make_shared<const Status>(target_.status());
    target_.aside([status = std::move(status)] { return metrics_text(*status); },
        [this](std::string text) { give(std::move(text)); });
}

void MetricsServer::give(std::string text)
{
    text_ = std::make_shared<const std::string>(std::move(text));
    const auto ended = loop_.now();
    fresh_until_ = ended + rest_factor * (ended - began_);
    forget_ = loop_.after(fresh_until_ - ended, [this] { text_.reset(); });
    for (const auto& respond : std::exchange(waiting_, {}))
        respond({.code = 200, .type = exposition, .shared = text_});
}

} // namespace featherlb
