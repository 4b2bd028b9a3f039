// SPDX-License-Identifier: Apache-2.0
#include "cli/commands.h"

namespace featherlb::cli {

int run(const Arguments& arguments)
{
    const std::unique_ptr<Log> log = make_stderr_log(arguments.log_level);
    return run_daemon({.config_file = arguments.config_file,
                          .socket = arguments.socket,
                          .pins = arguments.pins,
                          .ephemeral = arguments.ephemeral},
        *log);
}

} // namespace featherlb::cli
