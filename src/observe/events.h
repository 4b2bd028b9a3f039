// SPDX-License-Identifier: Apache-2.0
// Events: single packets that were dropped, and backends given to connections, as `featherlb events` and GET /v1/events
// show them. Pure.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <nlohmann/json_fwd.hpp>

#include "base/network_prefix.h"
#include "base/result.h"
#include "featherlb/samples.h"
#include "plan/tables.h"

namespace featherlb {

struct Event {
    std::string time;        // 2026-01-31T12:00:00.000Z
    std::string kind;        // "drop", "decision"
    std::string reason;      // of a drop its name in `status`; of a decision "new", "midstream", "moved"
    std::string protocol;    // "tcp", "udp", "icmp", "icmpv6"; else its number
    std::string source;      // "10.0.0.1:4242"; without a port where that is not known
    std::string destination; // of an ICMP error both are of what would answer the packet that it quotes
    std::string service;     // empty: none is known
    std::string backend;     // its name; empty: none, or not known
    std::string backend_address;
    std::string interface; // that it came in by; empty: it is gone
    friend bool operator==(const Event&, const Event&) = default;
};

// `interface` and the backend's name stay empty.
[[nodiscard]] Event make_event(
    const flb_sample& sample, std::chrono::system_clock::time_point time, const Tables& tables);

struct EventFilter {
    std::string kind;   // empty: any, and so below
    std::string reason; // of either kind
    std::string service;
    std::optional<NetworkPrefix> client; // the packet's source or destination
    friend bool operator==(const EventFilter&, const EventFilter&) = default;
};

// What is wrong with the words of a filter, if anything; whether there is such a service is not its to know.
[[nodiscard]] Result<EventFilter> make_event_filter(
    std::string kind, std::string reason, std::string service, const std::string& client);
// What must be asked of the programs for it, as flb_settings.sampled.
[[nodiscard]] std::uint64_t samples_for(const EventFilter& filter);
// By what the record itself says; then by what make_event() made of it.
[[nodiscard]] bool may_match(const EventFilter& filter, const flb_sample& sample);
[[nodiscard]] bool matches(const EventFilter& filter, const Event& event);

void to_json(nlohmann::json& json, const Event& event);
void from_json(const nlohmann::json& json, Event& event); // throws nlohmann::json::exception on wrong types
// "12:01:02.345 drop no_backend TCP 10.0.0.1:4242 -> 10.1.0.1:80 web eth1"
[[nodiscard]] std::string format_event(const Event& event);

} // namespace featherlb
