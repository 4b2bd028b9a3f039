// SPDX-License-Identifier: Apache-2.0
// run_daemon: the daemon from its first line to its exit code. It puts the parts together (network, data plane,
// names, controller, admin socket, signals) and takes them apart again; what they do stands with them.
#pragma once

#include <string>

#include "base/log.h"
#include "kernel/dataplane.h"

namespace featherlb {

inline constexpr const char* default_config_file = "/etc/featherlb/featherlb.yaml";

// Of every command; docs/commands.md.
enum ExitCode { exit_ok = 0, exit_failed = 1, exit_usage = 2, exit_invalid = 3, exit_unreachable = 4 };

struct RunOptions {
    std::string config_file = default_config_file;
    std::string socket; // empty: as configured
    std::string pins = default_pins;
    bool ephemeral = false; // nothing outlives the process
};

// Returns when a signal ends it. SIGTERM, SIGINT: end; SIGHUP: reload.
[[nodiscard]] int run_daemon(const RunOptions& options, Log& log);

} // namespace featherlb
