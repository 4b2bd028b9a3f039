// SPDX-License-Identifier: Apache-2.0
// Half: one service in one IP version, what becomes a row of `services`, while a plan is made.
#pragma once

#include <vector>

#include "plan/tables.h"

namespace featherlb {

struct Half {
    const ServiceConfig* config = nullptr;
    Family family = Family::ipv4;
    std::vector<ListenerKey> listeners; // in the order of the configuration
    struct Target {
        Endpoint endpoint;
        std::uint32_t weight = 1;
        bool backup = false;
        bool drained = false;             // by its agent or an operator
        std::uint32_t share = full_share; // of its weight
        BackendId id = 0;
    };
    std::vector<Target> targets; // in the order of the configuration, each endpoint once
    ServiceId id = 0;
    bool panic = false; // health is ignored
};

} // namespace featherlb
