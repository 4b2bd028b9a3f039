// SPDX-License-Identifier: Apache-2.0
// guard: keeps the packet path from growing unnoticed. Counts, which no noise of the machine changes: instructions and
// map look-ups of a packet, beside those of the floors, and the size of the programs, beside a file of what they were.
#pragma once

#include <string>

#include "session.h"

namespace featherlb::bench {

// Prints what is counted. False: something has grown by more than a tenth, or is not in the file. Then, and where
// something has shrunk by more than a tenth, the counts are written to FILE.new.
[[nodiscard]] bool guard(Session& session, const std::string& file);

// Prints where a packet's instructions come from, by the files of bpf/: the steps of the pipeline.
void profile(Session& session);

// Prints what each step of the express way costs.
void steps(Session& session, int rounds);

} // namespace featherlb::bench
