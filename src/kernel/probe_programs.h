// SPDX-License-Identifier: Apache-2.0
// ProbePrograms: the programs of bpf/probe.bpf.c, which bring health checks of `dsr` and `ipip` services to the service
// address at the backend. Loaded with the first such check and attached only while there are any.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "base/ip.h"
#include "base/result.h"
#include "featherlb/probe.h"

namespace featherlb {

// How the check with one mark gets there.
struct ProbeRoute {
    IpAddress backend;
    IpAddress service;
    std::optional<IpAddress> own; // where it comes from, if these two differ in IP version: of the service's
    bool tunnel = false;          // `ipip`
    friend bool operator==(const ProbeRoute&, const ProbeRoute&) = default;
};

struct ProbeRoutes {
    std::map<std::uint32_t, ProbeRoute> by_mark;
    std::map<std::uint32_t, std::string> devices; // ifindex and name of where they leave and answers arrive
    friend bool operator==(const ProbeRoutes&, const ProbeRoutes&) = default;
};

class ProbePrograms {
public:
    [[nodiscard]] static Result<ProbePrograms> load();
    ~ProbePrograms(); // detaches
    ProbePrograms(ProbePrograms&&) noexcept;
    ProbePrograms& operator=(ProbePrograms&&) noexcept;

    // What a daemon that was killed left where there is no TCX. For `detach`.
    static void remove_left();
    // Makes what is there what `routes` says. After a failure it may be called again with the same.
    [[nodiscard]] Result<void> follow(const ProbeRoutes& routes);

    // For tests.
    [[nodiscard]] int out_fd() const;
    [[nodiscard]] int in_fd() const;

private:
    struct State;
    explicit ProbePrograms(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

} // namespace featherlb
