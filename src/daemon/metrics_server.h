// SPDX-License-Identifier: Apache-2.0
// MetricsServer: the port that `metrics.listen` names. GET /metrics (Prometheus' text format), /healthz, /readyz;
// nothing can be changed there. Whoever reaches the port may ask, so limits are tight: one text is shared by all who
// ask at about the same time, and making them takes a fifth of a processor's time at most.
//
// Thread rule: the loop's thread. The loop must outlive it.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/ip.h"
#include "daemon/aside.h"
#include "daemon/http_server.h"
#include "observe/status.h"

namespace featherlb {

struct MetricsTarget {
    std::function<Status()> status;
    std::function<std::string()> why_not_ready; // empty: it is ready
    Aside::Make aside = [](const Aside::Work& work, const Aside::Done& done) { done(work()); };
};

class MetricsServer {
public:
    MetricsServer(Loop& loop, MetricsTarget target, HttpLimits limits = default_limits());

    // From now on there, and nowhere else; nothing: nowhere. On failure everything stays as it was.
    [[nodiscard]] Result<void> listen(const std::optional<Endpoint>& where);
    // Where it listens; for port 0 with the port that the kernel chose.
    [[nodiscard]] const std::optional<Endpoint>& endpoint() const { return endpoint_; }

    [[nodiscard]] static HttpLimits default_limits();

private:
    [[nodiscard]] Result<void> open(const Endpoint& where);
    void answer(const HttpRequest& request, const HttpServer::Respond& respond);
    void answer_metrics(const HttpServer::Respond& respond);
    void give(std::string text);

    Loop& loop_;
    MetricsTarget target_;
    HttpLimits limits_;
    std::optional<Endpoint> endpoint_;
    std::unique_ptr<HttpServer> server_;
    std::shared_ptr<const std::string> text_;
    Loop::Clock::time_point began_{};
    Loop::Clock::time_point fresh_until_{};
    Handle forget_;
    std::vector<HttpServer::Respond> waiting_; // for the text that is being made
};

} // namespace featherlb
