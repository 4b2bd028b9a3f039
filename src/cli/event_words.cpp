// SPDX-License-Identifier: Apache-2.0
#include "cli/event_words.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "base/text.h"
#include "cli/arguments.h"
#include "config/values.h"

namespace featherlb::cli {

void EventWords::add_to(CLI::App& command)
{
    command.add_option("--kind", kind_, "drop or decision (default: both)")->type_name("KIND");
    command.add_option("--reason", reason_, "as `status` names it; of decisions new, midstream or moved")
        ->type_name("REASON");
    command.add_option("--service", service_, "only of this service")->type_name("SERVICE");
    command.add_option("--client", client_, "only of packets from or to this address or network")
        ->type_name("ADDRESS[/LENGTH]");
    command.add_option("--count", count_, "end after so many events")->type_name("NUMBER");
    command.add_option("--for", how_long_, "end after so long (default: at SIGINT or SIGTERM)")->type_name("DURATION");
}

std::string EventWords::finish(Arguments& arguments) const
{
    auto filter = make_event_filter(kind_, reason_, service_, client_);
    if (!filter)
        return describe(filter.error());
    arguments.filter = std::move(*filter);
    if (!count_.empty()) {
        arguments.count = parse_decimal(count_);
        if (!arguments.count || *arguments.count == 0)
            return fmt::format("--count {} is no number from 1 on", quote(count_));
    }
    if (!how_long_.empty() && !(arguments.how_long = parse_duration(how_long_)))
        return fmt::format("--for {} is no duration such as 90s, 5m or 1h", quote(how_long_));
    return {};
}

} // namespace featherlb::cli
