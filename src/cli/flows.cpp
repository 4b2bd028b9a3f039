// SPDX-License-Identifier: Apache-2.0
// `featherlb flows`: lists, counts and ends connections.
#include <array>
#include <iostream>
#include <ostream>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "cli/client.h"
#include "cli/commands.h"
#include "observe/flow_list.h"

namespace featherlb::cli {

namespace {

constexpr std::array filters{"service", "backend", "client", "state", "protocol"};

std::string path_of(FlowOptions options)
{
    std::string path = "/v1/flows";
    const auto add = [&path](const char* key, const std::string& value) {
        path += fmt::format("{}{}={}", path.find('?') == std::string::npos ? '?' : '&', key, escape(value));
    };
    for (const char* name : filters)
        if (const auto& value = *options.which.find(name))
            add(name, *value);
    if (options.count)
        add("count", "1");
    if (options.limit)
        add("limit", fmt::format("{}", *options.limit));
    return path;
}

nlohmann::json body_of(FlowOptions options)
{
    nlohmann::json body = nlohmann::json::object();
    for (const char* name : filters)
        if (const auto& value = *options.which.find(name))
            body[name] = *value;
    if (options.all)
        body["all"] = true;
    return body;
}

// What the daemon answers, or an exit code.
std::variant<nlohmann::json, int> ask(const Arguments& arguments, const Question& question, Streams streams)
{
    auto asked = ask_daemon(arguments, question, streams);
    const auto* json = std::get_if<nlohmann::json>(&asked);
    if (json == nullptr || json->value("result", "") == "ok")
        return asked;
    const nlohmann::json error = json->value("error", nlohmann::json::object());
    return complain(
        streams.err, {error.value("message", "the daemon refuses"), error.value("remedy", "")}, exit_failed);
}

// Whoever is at the terminal agrees; or an exit code.
std::variant<bool, int> agreed(const Arguments& arguments, Streams streams)
{
    if (::isatty(STDIN_FILENO) != 1)
        return complain(streams.err, {"--kill has nobody to ask", "say --yes"}, exit_usage);
    FlowOptions which = arguments.flows;
    which.count = true;
    if (!which.which.state)
        which.which.state = "open";
    const std::string path = path_of(which);
    const auto asked = ask(arguments, {"GET", path.c_str(), {}}, streams);
    if (const int* code = std::get_if<int>(&asked))
        return *code;
    const auto tally = std::get<nlohmann::json>(asked).get<FlowTally>();
    streams.err << fmt::format("end {} connection{}? [y/N] ", tally.total, tally.total == 1 ? "" : "s") << std::flush;
    std::string answer;
    std::getline(std::cin, answer);
    return answer == "y" || answer == "yes";
}

int kill(const Arguments& arguments, Streams streams)
{
    if (!arguments.flows.yes) {
        const auto agrees = agreed(arguments, streams);
        if (const int* code = std::get_if<int>(&agrees))
            return *code;
        if (!std::get<bool>(agrees))
            return complain(streams.err, {"nothing was ended", ""}, exit_failed);
    }
    const auto asked = ask(arguments, {"POST", "/v1/flows/kill", body_of(arguments.flows).dump()}, streams);
    if (const int* code = std::get_if<int>(&asked))
        return *code;
    const auto& json = std::get<nlohmann::json>(asked);
    const auto killed = json.value("killed", std::uint64_t{0});
    if (arguments.json)
        print(streams.out, json);
    else
        streams.out << fmt::format("{} connection{} ended\n", killed, killed == 1 ? "" : "s");
    return exit_ok;
}

} // namespace

int flows(const Arguments& arguments, Streams streams)
{
    if (arguments.flows.kill)
        return kill(arguments, streams);
    const std::string path = path_of(arguments.flows);
    const auto asked = ask(arguments, {"GET", path.c_str(), {}}, streams);
    if (const int* code = std::get_if<int>(&asked))
        return *code;
    const auto& json = std::get<nlohmann::json>(asked);
    if (arguments.json)
        print(streams.out, json);
    else
        streams.out << (arguments.flows.count ? format_tally(json.get<FlowTally>())
                                              : format_flows(json.get<FlowList>()));
    return exit_ok;
}

} // namespace featherlb::cli
