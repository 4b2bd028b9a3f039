// SPDX-License-Identifier: Apache-2.0
// Prober: one question to one backend, without holding up the loop: can a connection be opened (tcp), does a page
// answer as it should (http, https), does what is sent by UDP come back right (udp, dns). How long to wait, and what to
// make of the answer, is health.h's part. This is the seam that unit tests fake.
#pragma once

#include <functional>
#include <memory>

#include "base/ip.h"
#include "base/loop.h"
#include "config/config.h"
#include "daemon/health_state.h"
#include "daemon/probe.h"
#include "kernel/probe_programs.h"

namespace featherlb {

// What is asked, and the mark of the way there (0: straight to the backend's own address).
struct Check : HealthConfig {
    Check() = default;
    Check(HealthConfig how, std::uint32_t its_mark = 0) : HealthConfig(std::move(how)), mark(its_mark) {}
    std::uint32_t mark = 0;
    friend bool operator==(const Check&, const Check&) = default;
};

class Prober {
public:
    using Done = std::function<void(const CheckResult&)>;

    virtual ~Prober() = default;
    // Calls `done` once at most, from the loop or from look(), not before start() has returned. The probe may be
    // destroyed in there.
    [[nodiscard]] virtual std::unique_ptr<Probe> start(const Endpoint& target, const Check& how, Done done) = 0;
    // The ways of checks with a mark, before they start. Where this fails, they are lost.
    [[nodiscard]] virtual Result<void> prepare(const ProbeRoutes&) { return {}; }
};

[[nodiscard]] std::unique_ptr<Prober> make_prober(Loop& loop);

} // namespace featherlb
