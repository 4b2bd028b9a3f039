// SPDX-License-Identifier: Apache-2.0
#include <ostream>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "cli/client.h"
#include "cli/commands.h"

namespace featherlb::cli {

namespace {

// Names may take 5 s to resolve, and another reload may be under way.
constexpr std::chrono::seconds timeout{30};

int exit_code(const std::string& result)
{
    if (result == "ok")
        return exit_ok;
    return result == "invalid" ? exit_invalid : exit_failed;
}

} // namespace

int reload(const Arguments& arguments, Streams streams)
{
    const std::string socket = socket_of(arguments);
    const Result<Reply> reply = ask_daemon(socket, "POST", "/v1/reload", timeout);
    if (!reply)
        return complain(streams.err, reply.error(), exit_unreachable);
    const nlohmann::json json = nlohmann::json::parse(reply->body, nullptr, false);
    if (!json.is_object() || !json.contains("result"))
        return complain(
            streams.err, {fmt::format("{} does not answer as featherlb does", socket), "check --socket"}, exit_failed);
    const int code = exit_code(json.value("result", ""));
    if (const std::string text = json.value("text", ""); !text.empty())
        streams.err << text << '\n';
    for (const auto& warning : json.value("warnings", nlohmann::json::array()))
        streams.err << "warning: " << warning.get<std::string>() << '\n';
    if (arguments.json)
        print(streams.out, json);
    else if (code == exit_ok)
        streams.out << fmt::format(
            "{}: reloaded, {} rows of the tables changed\n", json.value("file", ""), json.value("changes", 0));
    else
        streams.err << fmt::format(
            "featherlb: the reload {}\n", code == exit_invalid ? "was refused: nothing was changed" : "failed");
    return code;
}

} // namespace featherlb::cli
