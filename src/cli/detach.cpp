// SPDX-License-Identifier: Apache-2.0
#include <ostream>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "cli/client.h"
#include "cli/commands.h"
#include "kernel/network.h"
#include "kernel/probe_programs.h"

namespace featherlb::cli {

namespace {

constexpr std::chrono::seconds timeout{2};

// The process id of a daemon that works on these pins. The lock beside the pins would refuse as well, but cannot
// name who holds it.
std::int64_t daemon_on(const std::string& pins, const std::string& socket)
{
    const Result<Reply> reply = ask_daemon(socket, "GET", "/v1/status", timeout);
    if (!reply)
        return 0;
    const nlohmann::json json = nlohmann::json::parse(reply->body, nullptr, false);
    if (!json.is_object() || json.value("/data_plane/pins"_json_pointer, "") != pins)
        return 0;
    return json.value("pid", std::int64_t{0});
}

} // namespace

int detach(const Arguments& arguments, Streams streams)
{
    if (const std::int64_t pid = daemon_on(arguments.pins, socket_of(arguments)); pid != 0)
        return complain(streams.err,
            {fmt::format("a daemon (pid {}) is running with {}", pid, arguments.pins), "end it first"}, exit_failed);
    ProbePrograms::remove_left();
    const auto removed = DataPlane::detach(arguments.pins);
    if (!removed)
        return complain(streams.err, removed.error(), exit_failed);
    // Neighbours that the kernel kept resolved for it are ordinary ones again.
    if (const auto network = open_network())
        (*network)->release();
    if (arguments.json) {
        print(streams.out, {{"removed", *removed}});
        return exit_ok;
    }
    for (const std::string& line : *removed)
        streams.out << "removed " << line << '\n';
    if (removed->empty())
        streams.out << "nothing to remove\n";
    return exit_ok;
}

} // namespace featherlb::cli
