// SPDX-License-Identifier: Apache-2.0
#include <ostream>
#include <variant>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "cli/client.h"
#include "cli/commands.h"

namespace featherlb::cli {

namespace {

int exit_code(const std::string& result)
{
    if (result == "ok")
        return exit_ok;
    return result == "invalid" ? exit_invalid : exit_failed;
}

// Asks for what reads the configuration and prints what `done` makes of the answer, or why there is nothing of the kind
// and what `undone` makes of the exit code.
template <typename Done, typename Undone>
int ask_and_say(const Arguments& arguments, const Question& question, Streams streams, Done done, Undone undone)
{
    const auto asked = ask_daemon(arguments, question, streams);
    if (const int* unreachable = std::get_if<int>(&asked))
        return *unreachable;
    const auto& json = std::get<nlohmann::json>(asked);
    const int code = exit_code(json.value("result", ""));
    if (code != exit_ok)
        streams.err << json.value("text", "") << '\n';
    if (arguments.json)
        print(streams.out, json);
    else if (code == exit_ok)
        streams.out << done(json);
    else
        streams.err << undone(code);
    return code;
}

} // namespace

int plan(const Arguments& arguments, Streams streams)
{
    return ask_and_say(
        arguments, {"GET", "/v1/plan", {}}, streams, [](const nlohmann::json& json) { return json.value("text", ""); },
        [](int) { return "featherlb: a reload would change nothing, for this reason\n"; });
}

int reload(const Arguments& arguments, Streams streams)
{
    return ask_and_say(
        arguments, {"POST", "/v1/reload", {}}, streams,
        [](const nlohmann::json& json) {
            return fmt::format(
                "{}: reloaded, {} rows of the tables changed\n", json.value("file", ""), json.value("changes", 0));
        },
        [](int code) {
            return fmt::format(
                "featherlb: the reload {}\n", code == exit_invalid ? "was refused: nothing was changed" : "failed");
        });
}

} // namespace featherlb::cli
