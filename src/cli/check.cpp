// SPDX-License-Identifier: Apache-2.0
#include <ostream>
#include <set>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "daemon/api.h"
#include "daemon/machine.h"

namespace featherlb::cli {

namespace {

// What a machine without a readable network would hide is worth a warning, not a wrong verdict.
MachineReport look_at_machine(const Config& config)
{
    MachineReport report;
    Result<std::unique_ptr<Network>> network = open_network();
    if (!network) {
        report.warnings.push_back("this machine was not looked at: " + describe(network.error()));
        return report;
    }
    Result<Machine> machine = read_machine(**network);
    if (!machine) {
        report.warnings.push_back("this machine was not looked at: " + describe(machine.error()));
        return report;
    }
    machine->ports = read_host_ports();
    return check_machine(config, *machine);
}

std::size_t count_backends(const Config& config)
{
    std::size_t backends = 0;
    for (const ServiceConfig& service : config.services)
        backends += service.backends.size();
    return backends;
}

} // namespace

int check(const Arguments& arguments, Streams streams)
{
    const auto config = load_config(arguments.config_file);
    MachineReport report;
    if (!config)
        report.problems = config.error().problems;
    else if (!arguments.offline)
        report = look_at_machine(*config);
    const bool valid = report.problems.empty();
    if (!valid)
        streams.err << LoadReport{.result = LoadReport::Result::invalid,
                           .file = arguments.config_file,
                           .problems = report.problems,
                           .error = {},
                           .warnings = {}}
                           .text()
                    << '\n';
    for (const std::string& warning : report.warnings)
        streams.err << "warning: " << warning << '\n';
    if (arguments.json)
        print(streams.out, {{"file", arguments.config_file}, {"valid", valid}, {"problems", to_json(report.problems)},
                               {"warnings", report.warnings}});
    else if (valid)
        streams.out << fmt::format("{}: valid: {} service{}, {} backend{}\n", arguments.config_file,
            config->services.size(), config->services.size() == 1 ? "" : "s", count_backends(*config),
            count_backends(*config) == 1 ? "" : "s");
    return valid ? exit_ok : exit_invalid;
}

} // namespace featherlb::cli
