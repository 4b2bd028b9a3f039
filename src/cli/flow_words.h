// SPDX-License-Identifier: Apache-2.0
// The options of `featherlb flows` as words, and what they mean.
#pragma once

#include <optional>
#include <string>

#include "daemon/flow_request.h"

namespace CLI {
class App;
}

namespace featherlb::cli {

struct FlowOptions {
    FlowRequest which;
    std::optional<std::uint64_t> limit;
    bool count = false;
    bool kill = false;
    bool all = false; // kill: all connections
    bool yes = false; // kill: without asking
};

class FlowWords {
public:
    void add_to(CLI::App& command, FlowOptions& options);
    // Fills `options`; what is wrong with the words, empty where nothing is.
    [[nodiscard]] std::string finish(FlowOptions& options) const;

private:
    std::string limit_;
};

} // namespace featherlb::cli
