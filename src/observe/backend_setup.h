// SPDX-License-Identifier: Apache-2.0
// What a backend needs before a service can use it, as the commands to type there: pure, from the service's settings
// and what the balancer knows of the way. Commands may be repeated without harm, and hold until the backend is started
// again.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "config/config.h"

namespace featherlb {

// A backend as the balancer sees it.
struct BackendView {
    std::string name;
    IpAddress address;
    std::optional<IpAddress> balancer;  // the balancer's own address on the way there
    bool on_link = false;               // and no router between them
    std::uint32_t mtu = 1500;           // of the way
    std::vector<NetworkPrefix> sources; // `ipip`: where outer sources are from, besides the balancer's address
};

struct BackendSetup {
    std::string name;
    IpAddress address;
    std::vector<std::string> commands;
    // Instead of the commands from `instead_of` on: a backend without a tunnel device. Empty: there is none.
    std::vector<std::string> alternative;
    std::size_t instead_of = 0;
    std::vector<std::string> notes; // what no command does
};

[[nodiscard]] BackendSetup backend_setup(const ServiceConfig& service, const BackendView& backend);

// As a script with comments, to be pasted into a shell of the backend; and as JSON.
[[nodiscard]] std::string format_setups(const ServiceConfig& service, const std::vector<BackendSetup>& setups);
[[nodiscard]] nlohmann::json setups_to_json(const ServiceConfig& service, const std::vector<BackendSetup>& setups);

} // namespace featherlb
