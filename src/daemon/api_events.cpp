// SPDX-License-Identifier: Apache-2.0
// GET /v1/events: its arguments and its answer.
#include <array>
#include <map>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "config/values.h"
#include "daemon/api.h"

namespace featherlb {

nlohmann::json to_json(const EventBatch& batch)
{
    return {{"events", batch.events}, {"next", batch.next.to_string()}, {"left_out", batch.left_out}};
}

Result<EventQuery> read_event_query(const std::vector<std::pair<std::string, std::string>>& arguments)
{
    static constexpr std::array<std::string_view, 6> known{"kind", "reason", "service", "client", "after", "wait"};
    std::map<std::string_view, std::string> given;
    for (const auto& [name, value] : arguments) {
        if (std::ranges::find(known, name) == known.end()) {
            const auto meant = closest(name, known);
            return fail(fmt::format("there is no argument {}", quote(name)),
                meant ? fmt::format("did you mean {}?", quote(*meant)) : fmt::format("use {}", join(known)));
        }
        if (value.empty() || !given.emplace(name, value).second)
            return fail(fmt::format("{} is there twice, or is empty", name), "leave it out, or give it one value");
    }
    Result<EventFilter> filter = make_event_filter(given["kind"], given["reason"], given["service"], given["client"]);
    if (!filter)
        return fail(std::move(filter.error()));
    EventQuery query{std::move(*filter), {}, {}};
    if (!given["after"].empty() && !(query.after = EventCursor::parse(given["after"])))
        return fail(fmt::format("after is no place to go on from: {}", quote(given["after"])),
            "take `next` of the answer before, or leave it out");
    if (!given["wait"].empty()) {
        const auto seconds = parse_decimal(given["wait"]);
        if (!seconds || *seconds > static_cast<std::uint64_t>(EventLog::longest_wait.count()))
            return fail(fmt::format(
                "wait is no number of seconds from 0 to {}: {}", EventLog::longest_wait.count(), quote(given["wait"])));
        query.wait = std::chrono::seconds(*seconds);
    }
    return query;
}

} // namespace featherlb
