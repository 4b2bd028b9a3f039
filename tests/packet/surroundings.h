// SPDX-License-Identifier: Apache-2.0
// Surroundings: a network namespace of the suite's own with two interfaces, one towards clients and one towards
// backends, with routes and neighbours. BPF_PROG_TEST_RUN accepts only interfaces that exist, and looks for them in
// the namespace of the caller. It is made once; a thread (and threads that it starts) is in it while it holds an
// Inside. Nothing is left behind: the namespace goes with the process.
#pragma once

#include <string>

#include "base/fd.h"
#include "frame.h"

namespace featherlb::packet {

struct Interface {
    std::string name;
    unsigned index = 0;
    Mac mac{};
};

class Surroundings {
public:
    static const Surroundings& get();

    [[nodiscard]] const Interface& clients() const { return clients_; }
    [[nodiscard]] const Interface& backends() const { return backends_; }
    // Does the machine route? It does, unless a test says otherwise.
    void set_forwarding(bool on) const;

    [[nodiscard]] const Fd& outside() const { return outside_; }
    [[nodiscard]] const Fd& inside() const { return inside_; }

private:
    Surroundings();
    Fd outside_, inside_; // network namespaces
    Interface clients_, backends_;
};

class Inside {
public:
    Inside();
    ~Inside(); // NOLINT(performance-trivially-destructible): not where the kernel runs the programs
    Inside(const Inside&) = delete;
    Inside& operator=(const Inside&) = delete;
};

// Runs a command in the namespace of this thread; throws with its output if it fails.
void run_command(const std::string& command);

} // namespace featherlb::packet
