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

} // namespace

int plan(const Arguments& arguments, Streams streams)
{
    const auto asked = ask_daemon(arguments, {"GET", "/v1/plan", {}}, streams);
    if (const int* code = std::get_if<int>(&asked))
        return *code;
    const auto& json = std::get<nlohmann::json>(asked);
    const int code = exit_code(json.value("result", ""));
    if (code != exit_ok)
        streams.err << json.value("text", "") << '\n';
    if (arguments.json)
        print(streams.out, json);
    else if (code == exit_ok)
        streams.out << json.value("text", "");
    else
        streams.err << "featherlb: a reload would change nothing, for this reason\n";
    return code;
}

int reload(const Arguments& arguments, Streams streams)
{
    const auto asked = ask_daemon(arguments, {"POST", "/v1/reload", {}}, streams);
    if (const int* unreachable = std::get_if<int>(&asked))
        return *unreachable;
    const auto& json = std::get<nlohmann::json>(asked);
    const int code = exit_code(json.value("result", ""));
    if (code != exit_ok)
        streams.err << json.value("text", "") << '\n';
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
