// SPDX-License-Identifier: Apache-2.0
// Effects: what it means to come from one Tables to another, in terms of services and backends; for `plan`. Pure.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "plan/tables.h"

namespace featherlb {

struct ServiceEffect {
    std::string service;
    Family family = Family::ipv4;
    std::string what;       // "new", "removed", "changed", "same"
    std::size_t slots = 0;  // of the new table; 0: picks by load, or no backend takes connections
    double moved_share = 0; // of the slots, and so of all hashes: those that lead to another backend than before
    std::vector<std::string> listeners_added;
    std::vector<std::string> listeners_removed;
    friend bool operator==(const ServiceEffect&, const ServiceEffect&) = default;
};

struct BackendEffect {
    std::string service;
    Endpoint endpoint;
    std::string what; // "begins to take connections", "drains", ...
    friend bool operator==(const BackendEffect&, const BackendEffect&) = default;
};

struct Effects {
    std::vector<ServiceEffect> services; // those that are not the same
    std::vector<BackendEffect> backends;
    [[nodiscard]] bool none() const { return services.empty() && backends.empty(); }
};
[[nodiscard]] Effects effects_of(const Tables& have, const Tables& want);

// Of tables of different sizes: by the part of the hash space that leads elsewhere.
[[nodiscard]] double moved_share(const SlotTable& have, const SlotTable& want);

} // namespace featherlb
