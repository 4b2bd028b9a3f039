// SPDX-License-Identifier: Apache-2.0
// Prober: one question to one backend, without holding up the loop: can a connection be opened (tcp), does a page
// answer with the right status (http). How long to wait, and what to make of the answer, is health.h's part. This is
// the seam that unit tests fake.
//
// HTTP: one GET in HTTP/1.1 with "Connection: close"; the status code is all that is read of the answer.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/ip.h"
#include "base/loop.h"
#include "config/config.h"
#include "daemon/health_state.h"

namespace featherlb {

// A question under way; destroying it ends it.
class Probe {
public:
    virtual ~Probe() = default;
    // Looks whether an answer has come that the loop has not told of yet; calls `done` if so.
    virtual void look() = 0;
    // What it waits for: "the connection", "an HTTP answer".
    [[nodiscard]] virtual std::string waits_for() const = 0;
};

class Prober {
public:
    using Done = std::function<void(const CheckResult&)>;

    virtual ~Prober() = default;
    // Calls `done` once at most, from the loop or from look(), not before start() has returned. The probe may be
    // destroyed in there.
    [[nodiscard]] virtual std::unique_ptr<Probe> start(const Endpoint& target, const HealthConfig& how, Done done) = 0;
};

[[nodiscard]] std::unique_ptr<Prober> make_prober(Loop& loop);

// The request, and what the first bytes of an answer say; nothing while they are too few. `ended`: no more will come.
[[nodiscard]] std::string http_request(const Endpoint& target, const HealthConfig& how);
[[nodiscard]] std::optional<CheckResult> judge_http(std::string_view received, bool ended, const HealthConfig& how);

} // namespace featherlb
