// SPDX-License-Identifier: Apache-2.0
// Probe: one question to one backend, while it is under way.
#pragma once

#include <string>

namespace featherlb {

// A question under way; destroying it ends it.
class Probe {
public:
    virtual ~Probe() = default;
    // Looks whether an answer has come that the loop has not told of yet; calls `done` if so.
    virtual void look() = 0;
    // Whether it is well that nothing has come when the time is up: there was no need to answer.
    [[nodiscard]] virtual bool silence_is_good() const { return false; }
    // What it waits for: "the connection", "an HTTP answer".
    [[nodiscard]] virtual std::string waits_for() const = 0;
};

} // namespace featherlb
