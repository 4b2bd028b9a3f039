// SPDX-License-Identifier: Apache-2.0
// The options of `featherlb decap` as words, and what they mean.
#pragma once

#include <string>
#include <vector>

#include "daemon/decap.h"

namespace CLI {
class App;
}

namespace featherlb::cli {

class DecapWords {
public:
    void add_to(CLI::App& command);
    // Fills `options`; what is wrong with the words, empty where nothing is.
    [[nodiscard]] std::string finish(DecapOptions& options) const;

private:
    std::vector<std::string> interfaces_, services_, from_;
    std::string attach_ = "tc";
    unsigned mtu_ = 0; // 0: not given
};

} // namespace featherlb::cli
