// SPDX-License-Identifier: Apache-2.0
// FlowRequest: which connections somebody asks for, in words, and what they mean. The command line and the admin API
// take the same.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "kernel/flow_walk.h"
#include "plan/tables.h"

namespace featherlb {

struct FlowRequest {
    std::optional<std::string> service;
    std::optional<std::string> backend; // its name, or address and port
    std::optional<std::string> client;  // address or network
    std::optional<std::string> state;
    std::optional<std::string> protocol;

    [[nodiscard]] bool has_filter() const { return service || backend || client || state || protocol; }
    // The one with this name; null: there is none.
    [[nodiscard]] std::optional<std::string>* find(std::string_view name);
};
inline constexpr std::string_view flow_filters = "service, backend, client, state, protocol";

inline constexpr std::uint64_t flows_shown = 1000; // unless asked for more
inline constexpr std::uint64_t most_flows_shown = 100000;

// The backends that connections lead to, as people know them.
struct FlowBackend {
    std::string service;
    std::string name;
    Endpoint endpoint;
    Forward forward = Forward::snat;
};
struct FlowBackends {
    std::map<BackendId, FlowBackend> rows;
    std::set<std::string> services; // those without backends, too
};

// All of the filter but its backends; fails with what is wrong with the words.
[[nodiscard]] Result<FlowFilter> read_filter(const FlowRequest& request);
// Its backends; fails where there is no such service or backend.
[[nodiscard]] Result<std::optional<std::vector<bool>>> select_backends(
    const FlowRequest& request, const FlowBackends& backends);
// Nothing: all that the filter lets through are over already, and there is nothing to end.
[[nodiscard]] Result<void> check_killable(const FlowRequest& request, const FlowFilter& filter);
// A whole number up to most_flows_shown.
[[nodiscard]] Result<std::uint64_t> read_limit(const std::string& text);

} // namespace featherlb
