// SPDX-License-Identifier: Apache-2.0
#include "config/failure.h"

#include <fmt/format.h>

#include "config/health.h"
#include "config/values.h"
#include "config/words.h"

namespace featherlb {

namespace {

using namespace std::chrono_literals;

constexpr DurationLimits avoid_limits{0ms, 1h};

std::optional<BackendDown> read_backend_down(const Node& node, std::string_view setting, Problems& problems)
{
    const auto index = read_word(node, setting, words::backend_down, {}, problems);
    return index ? std::optional(static_cast<BackendDown>(*index)) : std::nullopt;
}

// One word for both protocols (UDP has nothing to reset, and keeps what it had), or one for each.
void read_on_backend_down(const Node& node, FailureConfig& failure, Problems& problems)
{
    if (node.kind != Node::Kind::mapping) {
        const auto both = read_backend_down(node, "on_backend_down", problems);
        failure.tcp = both.value_or(failure.tcp);
        if (both && *both != BackendDown::reset)
            failure.udp = *both;
        return;
    }
    const Section section(node, keys::backend_down, "on_backend_down: {tcp: reset, udp: rehash}", problems);
    if (const Node* tcp = section.find("tcp"))
        failure.tcp = read_backend_down(*tcp, "on_backend_down.tcp", problems).value_or(failure.tcp);
    const Node* udp = section.find("udp");
    const auto word = udp == nullptr ? std::nullopt : read_backend_down(*udp, "on_backend_down.udp", problems);
    if (word == BackendDown::reset)
        problems.add(udp->place, "on_backend_down.udp cannot be \"reset\": UDP has nothing that resets a connection",
            "supported for udp: keep, rehash");
    else
        failure.udp = word.value_or(failure.udp);
}

} // namespace

void read_failure(const Section& section, FailureConfig& failure, Problems& problems)
{
    if (const Node* health = section.find("health"))
        failure.health = read_health(*health, problems);
    if (const Node* percent = section.find("min_healthy"))
        failure.min_healthy = read_percent(*percent, "min_healthy", problems).value_or(0);
    if (const Node* all_down = section.find("all_down")) {
        if (const auto index = read_word(*all_down, "all_down", words::all_down, {}, problems))
            failure.all_down = static_cast<AllDown>(*index);
    }
    if (const Node* down = section.find("on_backend_down"))
        read_on_backend_down(*down, failure, problems);
    if (const Node* failover = section.find("syn_failover"))
        failure.syn_failover = read_boolean(*failover, "syn_failover", problems).value_or(true);
    if (const Node* avoid = section.find("avoid_refused"))
        failure.avoid_refused =
            read_seconds(*avoid, "avoid_refused", avoid_limits, problems).value_or(failure.avoid_refused);
    if (const Node* drain = section.find("drain_timeout")) {
        if (drain->kind == Node::Kind::scalar && drain->text == "never")
            failure.drain_timeout.reset();
        else
            failure.drain_timeout = read_duration(*drain, "drain_timeout", problems);
    }
}

} // namespace featherlb
