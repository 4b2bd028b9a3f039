// SPDX-License-Identifier: Apache-2.0
#include "cli/commands.h"

#include <ostream>

#include <nlohmann/json.hpp>

#include "config/config.h"

namespace featherlb::cli {

namespace {

int dispatch(const Arguments& arguments, Streams streams)
{
    switch (arguments.command) {
    case Command::run:
        return run(arguments);
    case Command::check:
        return check(arguments, streams);
    case Command::reload:
        return reload(arguments, streams);
    case Command::status:
        return status(arguments, streams);
    case Command::detach:
        return detach(arguments, streams);
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

int complain(std::ostream& err, const Error& error, int code)
{
    err << describe(error) << '\n';
    return code;
}

void print(std::ostream& out, const nlohmann::json& json)
{
    out << json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) << '\n';
}

} // namespace featherlb::cli
