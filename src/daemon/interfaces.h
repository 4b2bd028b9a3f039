// SPDX-License-Identifier: Apache-2.0
// Interfaces: which ones carry our programs, what was said about each, and the steps from what is to what is chosen.
// An interface that vanished and came back has a new index, so it is simply a new one. Failures are remembered and
// tried again with the next update; the log has each once.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/log.h"
#include "daemon/machine.h"
#include "daemon/plane.h"

namespace featherlb {

struct AttachedInterface {
    ChosenInterface chosen;
    std::optional<AttachOutcome> outcome; // nothing: not attached
    std::string problem;                  // why not
};

// The programs that these need, as far as their drivers tell; where there are none yet, that of TC.
[[nodiscard]] ProgramChoice programs_for(const std::vector<ChosenInterface>& chosen);

class Interfaces {
public:
    Interfaces(Plane& plane, Log& log) : plane_(plane), log_(log) {}

    // First step: writes down the interfaces that frames may come in by or leave by.
    [[nodiscard]] Result<void> record(const Machine& machine, const std::set<std::uint32_t>& indexes);
    // Second step, after the tables: attaches what is chosen, leaves what is not. Fails with the first failure of
    // any interface, after having tried all.
    [[nodiscard]] Result<void> attach(const std::vector<ChosenInterface>& chosen);
    // What somebody else took off in the meantime is put back by the next attach().
    void look_again();

    [[nodiscard]] const std::map<std::uint32_t, AttachedInterface>& all() const { return interfaces_; }

private:
    [[nodiscard]] Result<void> attach_one(AttachedInterface& interface);
    [[nodiscard]] Result<void> leave_others(const std::set<std::uint32_t>& keep);
    void say_attached(const ChosenInterface& chosen, const AttachOutcome& outcome);

    Plane& plane_;
    Log& log_;
    std::map<std::uint32_t, AttachedInterface> interfaces_; // by index
    std::map<std::uint32_t, InterfaceRecord> records_;
};

} // namespace featherlb
