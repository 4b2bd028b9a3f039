// SPDX-License-Identifier: Apache-2.0
#include <ostream>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "cli/client.h"
#include "cli/commands.h"

namespace featherlb::cli {

namespace {

constexpr std::chrono::seconds answer_timeout{10};

} // namespace

int status(const Arguments& arguments, Streams streams)
{
    const std::string socket = socket_of(arguments);
    // The daemon writes the text itself: of ten thousand services that is much faster than reading its JSON here.
    const Result<Reply> reply =
        ask_daemon(socket, "GET", arguments.json ? "/v1/status" : "/v1/status.txt", answer_timeout);
    if (!reply)
        return complain(streams.err, reply.error(), exit_unreachable);
    if (reply->code == 200 && (!arguments.json || reply->body.starts_with('{'))) {
        streams.out << (arguments.json ? indent(reply->body) : reply->body);
        return exit_ok;
    }
    try {
        const nlohmann::json json = nlohmann::json::parse(reply->body);
        return complain(streams.err, {json.value("error", "the daemon refuses"), ""}, exit_failed);
    } catch (const nlohmann::json::exception&) {
        return complain(
            streams.err, {fmt::format("{} does not answer as featherlb does", socket), "check --socket"}, exit_failed);
    }
}

} // namespace featherlb::cli
