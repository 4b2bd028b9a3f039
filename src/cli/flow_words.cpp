// SPDX-License-Identifier: Apache-2.0
#include "cli/flow_words.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

namespace featherlb::cli {

namespace {

std::string said(const Error& error)
{
    return "--" + error.message + (error.remedy.empty() ? "" : "; " + error.remedy);
}

std::string wrong_kill(const FlowOptions& options)
{
    if (!options.kill)
        return options.all ? "--all goes with --kill" : options.yes ? "--yes goes with --kill" : "";
    if (options.count)
        return "--kill and --count contradict each other";
    if (options.limit)
        return "--kill ends all that match: --limit does not go with it";
    if (options.all && options.which.has_filter())
        return "--all and a filter contradict each other";
    if (!options.all && !options.which.has_filter())
        return "--kill needs to know which: --service, --backend, --client, --state or --protocol; or --all";
    return {};
}

} // namespace

void FlowWords::add_to(CLI::App& command, FlowOptions& options)
{
    command.add_option("--service", options.which.service, "of this service")->type_name("NAME");
    command.add_option("--backend", options.which.backend, "of this backend: its name, or address and port")
        ->type_name("BACKEND");
    command.add_option("--client", options.which.client, "from this address or network")->type_name("ADDRESS[/BITS]");
    command.add_option("--state", options.which.state, "in this state; `open`: in any that is not over")
        ->type_name("STATE");
    command.add_option("--protocol", options.which.protocol, "tcp or udp")->type_name("PROTOCOL");
    command.add_option("--limit", limit_, fmt::format("show so many at most (default: {})", flows_shown))
        ->type_name("NUMBER");
    command.add_flag("--count", options.count, "only count them, by service, backend, state and protocol");
    command.add_flag("--kill", options.kill, "end them");
    command.add_flag("--all", options.all, "with --kill: all there are");
    command.add_flag("--yes", options.yes, "with --kill: do not ask");
}

std::string FlowWords::finish(FlowOptions& options) const
{
    if (!limit_.empty()) {
        const auto limit = read_limit(limit_);
        if (!limit)
            return said(limit.error());
        options.limit = *limit;
    }
    const auto filter = read_filter(options.which);
    if (!filter)
        return said(filter.error());
    if (std::string wrong = wrong_kill(options); !wrong.empty())
        return wrong;
    if (const auto killable = options.kill ? check_killable(options.which, *filter) : Result<void>(); !killable)
        return said(killable.error());
    return {};
}

} // namespace featherlb::cli
