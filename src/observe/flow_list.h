// SPDX-License-Identifier: Apache-2.0
// Connections as people and programs read them: rows, numbers, JSON (docs/api.md) and text.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace featherlb {

struct FlowRow {
    std::string service; // empty: of a backend that has just been forgotten
    std::string backend;
    std::string backend_address;
    std::string forward;
    std::string protocol;
    std::string client;
    std::string listener;
    std::string source; // as which the backend sees the client
    std::string state;  // as flow_state_name
    bool proven = false;
    std::uint64_t idle_seconds = 0;
};

struct FlowList {
    std::uint64_t total = 0; // that match
    std::vector<FlowRow> flows;
};

struct FlowTally {
    struct Backend {
        std::string service;
        std::string backend;
        std::string address;
        std::uint64_t connections = 0;
    };
    std::uint64_t total = 0;
    std::map<std::string, std::uint64_t> services;
    std::vector<Backend> backends; // that have connections
    std::map<std::string, std::uint64_t> states;
    std::map<std::string, std::uint64_t> protocols;
};

void to_json(nlohmann::json& json, const FlowRow& row);
void from_json(const nlohmann::json& json, FlowRow& row); // throws nlohmann::json::exception on wrong types
void to_json(nlohmann::json& json, const FlowList& list);
void from_json(const nlohmann::json& json, FlowList& list);
void to_json(nlohmann::json& json, const FlowTally& tally);
void from_json(const nlohmann::json& json, FlowTally& tally);

// At most 100 columns wide, as long as names are not.
[[nodiscard]] std::string format_flows(const FlowList& list);
[[nodiscard]] std::string format_tally(const FlowTally& tally);

} // namespace featherlb
