// SPDX-License-Identifier: Apache-2.0
// The command line as a value. Parsing never prints or exits: what would be printed instead of running a command
// (help, or what is wrong and what was probably meant) comes back as a value too.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/log.h"
#include "cli/flow_words.h"
#include "daemon/decap.h"
#include "daemon/run.h"
#include "observe/events.h"

namespace featherlb::cli {

enum class Command {
    run,
    check,
    plan,
    reload,
    status,
    top,
    events,
    detach,
    decap,
    backend_setup,
    drain,
    undrain,
    weight,
    flows,
    version
};

struct Arguments {
    Command command = Command::version;
    std::string config_file = default_config_file;
    std::string socket; // empty: the one that the configuration names
    std::string pins = default_pins;
    LogLevel log_level = LogLevel::info;
    bool json = false;
    bool ephemeral = false;
    bool offline = false; // check: only the file, not this machine
    DecapOptions decap_options;
    FlowOptions flows;
    std::string service;                          // backend-setup
    std::string backend;                          // backend-setup: empty: all
    std::string target;                           // drain, undrain, weight: "SERVICE/BACKEND"
    std::string weight;                           // weight: a number, or "file"
    std::optional<std::chrono::seconds> deadline; // drain: then its connections end
    bool wait = false;                            // drain: until it has no connection left
    std::optional<std::chrono::seconds> timeout;  // drain --wait: no longer than this
    std::chrono::seconds interval{1};             // top: from one look to the next
    EventFilter filter;                           // events
    std::optional<std::uint64_t> count;           // events, top: no more than so many
    std::optional<std::chrono::seconds> how_long; // events
};

struct EarlyExit {
    int code = 0;
    std::string text; // without the last line feed
};

// As in the file: whole seconds, to 30 days.
[[nodiscard]] std::optional<std::chrono::seconds> parse_duration(const std::string& text);

// `words`: without the program's name.
[[nodiscard]] std::variant<Arguments, EarlyExit> parse_arguments(const std::vector<std::string>& words);

} // namespace featherlb::cli
