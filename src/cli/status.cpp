// SPDX-License-Identifier: Apache-2.0
#include "observe/status.h"

#include <ostream>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "cli/client.h"
#include "cli/commands.h"

namespace featherlb::cli {

namespace {
constexpr std::chrono::seconds timeout{10};
}

int status(const Arguments& arguments, Streams streams)
{
    const std::string socket = socket_of(arguments);
    const Result<Reply> reply = ask_daemon(socket, "GET", "/v1/status", timeout);
    if (!reply)
        return complain(streams.err, reply.error(), exit_unreachable);
    try {
        const nlohmann::json json = nlohmann::json::parse(reply->body);
        if (reply->code != 200)
            return complain(streams.err, {json.value("error", "the daemon refuses"), ""}, exit_failed);
        if (arguments.json)
            print(streams.out, json);
        else
            streams.out << format_status(json.get<Status>());
    } catch (const nlohmann::json::exception&) {
        return complain(
            streams.err, {fmt::format("{} does not answer as featherlb does", socket), "check --socket"}, exit_failed);
    }
    return exit_ok;
}

} // namespace featherlb::cli
