// SPDX-License-Identifier: Apache-2.0
#include "cli/commands.h"

#include <ostream>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "cli/client.h"
#include "config/config.h"

namespace featherlb::cli {

namespace {

// Names may take 5 s to resolve, and another reload may be under way.
constexpr std::chrono::seconds longest_answer{30};

int dispatch(const Arguments& arguments, Streams streams)
{
    switch (arguments.command) {
    case Command::run:
        return run(arguments);
    case Command::check:
        return check(arguments, streams);
    case Command::plan:
        return plan(arguments, streams);
    case Command::reload:
        return reload(arguments, streams);
    case Command::status:
        return status(arguments, streams);
    case Command::top:
        return top(arguments, streams);
    case Command::flows:
        return flows(arguments, streams);
    case Command::events:
        return events(arguments, streams);
    case Command::detach:
        return detach(arguments, streams);
    case Command::backend_setup:
        return backend_setup(arguments, streams);
    case Command::decap:
        return decap(arguments, streams);
    case Command::drain:
    case Command::undrain:
    case Command::weight:
        return override_backend(arguments, streams);
    case Command::version:
        break;
    }
    return version(arguments, streams);
}

} // namespace

int main(const std::vector<std::string>& words, Streams streams)
{
    const auto parsed = parse_arguments(words);
    int code = exit_ok;
    if (const auto* early = std::get_if<EarlyExit>(&parsed)) {
        (early->code == exit_ok ? streams.out : streams.err) << early->text << '\n';
        code = early->code;
    } else {
        code = dispatch(std::get<Arguments>(parsed), streams);
    }
    streams.out.flush();
    if (streams.out)
        return code;
    streams.err << "featherlb: standard output cannot be written\n";
    return code == exit_ok ? exit_failed : code;
}

std::string socket_of(const Arguments& arguments)
{
    if (!arguments.socket.empty())
        return arguments.socket;
    const auto config = load_config(arguments.config_file);
    return config ? config->admin_socket : Config{}.admin_socket;
}

std::variant<nlohmann::json, int> ask_daemon(const Arguments& arguments, const Question& question, Streams streams)
{
    const std::string socket = socket_of(arguments);
    const Result<Reply> reply = ask_daemon(socket, question.method, question.path, longest_answer, question.body);
    if (!reply)
        return complain(streams.err, reply.error(), exit_unreachable);
    nlohmann::json json = nlohmann::json::parse(reply->body, nullptr, false);
    if (json.is_object() && json.contains("error") && json["error"].is_string())
        return complain(streams.err, {json["error"].get<std::string>(), ""}, exit_failed);
    if (!json.is_object() || !json.contains("result"))
        return complain(
            streams.err, {fmt::format("{} does not answer as featherlb does", socket), "check --socket"}, exit_failed);
    for (const auto& warning : json.value("warnings", nlohmann::json::array()))
        streams.err << "warning: " << warning.get<std::string>() << '\n';
    return json;
}

int complain(std::ostream& err, const Error& error, int code)
{
    err << describe(error) << '\n';
    return code;
}

void print(std::ostream& out, const nlohmann::json& json)
{
    out << json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) << '\n';
}

std::string indent(std::string_view json)
{
    std::string out;
    out.reserve(json.size() * 2);
    std::size_t depth = 0;
    bool quoted = false;
    for (std::size_t at = 0; at < json.size(); ++at) {
        const char c = json[at];
        const char last = at == 0 ? ' ' : json[at - 1];
        const bool closes = !quoted && (c == '}' || c == ']');
        const bool opened = !quoted && (last == '{' || last == '[');
        depth -= closes && depth > 0 ? 1 : 0;
        if (opened != closes || (!quoted && last == ','))
            out.append(1, '\n').append(2 * depth, ' ');
        out += c;
        if (quoted && c == '\\' && at + 1 < json.size())
            out += json[++at];
        else if (c == '"')
            quoted = !quoted;
        else if (!quoted && c == ':')
            out += ' ';
        else if (!quoted && (c == '{' || c == '['))
            ++depth;
    }
    return out;
}

} // namespace featherlb::cli
