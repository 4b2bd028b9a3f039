// SPDX-License-Identifier: Apache-2.0
// The command line as a value. Parsing never prints or exits: what would be printed instead of running a command
// (help, or what is wrong and what was probably meant) comes back as a value too.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "base/log.h"
#include "daemon/run.h"

namespace featherlb::cli {

enum class Command { run, check, reload, status, detach, version };

struct Arguments {
    Command command = Command::version;
    std::string config_file = default_config_file;
    std::string socket; // empty: the one that the configuration names
    std::string pins = default_pins;
    LogLevel log_level = LogLevel::info;
    bool json = false;
    bool ephemeral = false;
    bool offline = false; // check: only the file, not this machine
};

struct EarlyExit {
    int code = 0;
    std::string text; // without the last line feed
};

// `words`: without the program's name.
[[nodiscard]] std::variant<Arguments, EarlyExit> parse_arguments(const std::vector<std::string>& words);

} // namespace featherlb::cli
