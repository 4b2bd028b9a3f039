// SPDX-License-Identifier: Apache-2.0
// The options of `featherlb events` as words, and what they mean.
#pragma once

#include <string>

namespace CLI {
class App;
}

namespace featherlb::cli {

struct Arguments;

class EventWords {
public:
    void add_to(CLI::App& command);
    // Fills `arguments`; what is wrong with the words, empty where nothing is.
    [[nodiscard]] std::string finish(Arguments& arguments) const;

private:
    std::string kind_, reason_, service_, client_, count_, how_long_;
};

} // namespace featherlb::cli
