// SPDX-License-Identifier: Apache-2.0
// `featherlb drain`, `undrain` and `weight`.
#include <algorithm>
#include <map>
#include <optional>
#include <ostream>
#include <string>
#include <thread>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "cli/client.h"
#include "cli/commands.h"
#include "observe/status.h"

namespace featherlb::cli {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds reply_timeout{30};
constexpr std::chrono::milliseconds look_every{250};

const char* path_of(Command command)
{
    switch (command) {
    case Command::drain:
        return "/v1/drain";
    case Command::undrain:
        return "/v1/undrain";
    default:
        return "/v1/weight";
    }
}

nlohmann::json body_of(const Arguments& arguments)
{
    nlohmann::json body{{"service", arguments.service}, {"backend", arguments.backend}};
    if (arguments.command == Command::weight) {
        body["weight"] = nullptr;
        if (arguments.weight != "file")
            body["weight"] = std::stoul(arguments.weight);
    }
    if (arguments.deadline)
        body["deadline_seconds"] = arguments.deadline->count();
    return body;
}

// What --wait waits for, of all backends of the reply together.
struct Left {
    std::uint64_t connections = 0;
    bool ends = false;               // what was said takes new connections away
    bool never = false;              // nobody but an operator would bring one of them up
    std::vector<std::string> not_up; // "b1 is down (connection refused)"

    [[nodiscard]] bool nothing() const { return connections == 0 && not_up.empty(); }
};

// Good checks of each address at the first look.
using GoodBefore = std::map<std::string, std::uint64_t>;

// One may have been under way already when the command came.
constexpr std::uint64_t fresh_checks = 2;

// The same whatever the file says of the backend.
bool ends_connections(const Arguments& arguments)
{
    return arguments.command == Command::drain ||
           (arguments.command == Command::weight && arguments.weight != "file" && std::stoul(arguments.weight) == 0);
}

// True: what was said takes new connections from the backend, so it is over with its last one; else once it is up and
// has its whole share.
bool ends_connections(const Arguments& arguments, const BackendStatus& backend)
{
    return ends_connections(arguments) || (arguments.weight == "file" && backend.weight == 0);
}

// Why the backend is not up with its whole share; empty: it is. One whose checks have not come since the command is
// not.
std::string why_not_up(const ServiceStatus& service, const BackendStatus& backend, GoodBefore& before)
{
    if (backend.state != "up" && backend.state != "standby")
        return fmt::format("{} is {}{}", backend.name, backend.state,
            backend.reason.empty() ? "" : fmt::format(" ({})", backend.reason));
    const std::uint64_t good = before.emplace(backend.address, backend.checks.good).first->second;
    if (is_checked(service) && backend.checks.good < good + fresh_checks)
        return fmt::format("{} has not been checked twice yet", backend.name);
    if (backend.slow_start_percent < 100)
        return fmt::format("{} has {}% of its share", backend.name, backend.slow_start_percent);
    return backend.weight_now == 0 ? fmt::format("{} has weight 0 for now", backend.name) : "";
}

bool drains_for_good(const BackendStatus& backend)
{
    const bool no_weight = (backend.override.weight >= 0 ? backend.override.weight : backend.weight) == 0;
    return backend.state == "draining" && (!backend.configured || backend.override.drained || no_weight);
}

// `rows`: of one address. Beside the one that counts there may be those that drain after `forward` was changed.
void add_left(const Arguments& arguments, const ServiceStatus& service, const std::vector<const BackendStatus*>& rows,
    GoodBefore& before, Left& left)
{
    const auto counts = std::ranges::find_if(rows, [](const BackendStatus* row) { return row->state != "draining"; });
    const BackendStatus& backend = counts == rows.end() ? *rows.front() : **counts;
    if (ends_connections(arguments, backend)) {
        left.ends = true;
        for (const BackendStatus* row : rows)
            left.connections += row->open;
        return;
    }
    left.never = left.never || drains_for_good(backend);
    if (std::string why = why_not_up(service, backend, before); !why.empty())
        left.not_up.push_back(std::move(why));
}

Left find_left(
    const Arguments& arguments, const Status& status, const std::vector<std::string>& addresses, GoodBefore& before)
{
    Left left{.ends = ends_connections(arguments)};
    for (const ServiceStatus& one : status.services) {
        if (one.name != arguments.service)
            continue;
        for (const std::string& address : addresses) {
            std::vector<const BackendStatus*> rows;
            for (const BackendStatus& backend : one.backends) {
                if (backend.address == address)
                    rows.push_back(&backend);
            }
            if (!rows.empty())
                add_left(arguments, one, rows, before, left);
            else if (!left.ends) // one that is forgotten has no connections
                left.not_up.push_back(fmt::format("{} is not there", address));
        }
    }
    return left;
}

Result<Status> ask_status(const Arguments& arguments)
{
    const std::string socket = socket_of(arguments);
    const Result<Reply> reply = ask_daemon(socket, "GET", "/v1/status", reply_timeout);
    if (!reply)
        return fail(reply.error());
    const nlohmann::json json = nlohmann::json::parse(reply->body, nullptr, false);
    if (!json.is_object())
        return fail(fmt::format("{} does not answer as featherlb does", socket), "check --socket");
    return json.get<Status>();
}

// Exit code; `left`: at the end, nothing if nobody could tell.
int wait_for_end(
    const Arguments& arguments, const std::vector<std::string>& addresses, std::optional<Left>& left, Streams streams)
{
    const auto begun = Clock::now();
    GoodBefore before;
    for (;;) {
        const auto asked = Clock::now();
        const Result<Status> status = ask_status(arguments);
        if (!status)
            return complain(streams.err, status.error(), exit_unreachable);
        left = find_left(arguments, *status, addresses, before);
        if (left->nothing())
            return exit_ok;
        if (left->never || (arguments.timeout && Clock::now() - begun >= *arguments.timeout)) {
            if (left->connections > 0)
                streams.err << fmt::format(
                    "featherlb: {} connections are left; it goes on draining\n", left->connections);
            else
                streams.err << fmt::format("featherlb: {}; what was said holds\n", fmt::join(left->not_up, ", "));
            return exit_failed;
        }
        std::this_thread::sleep_for(std::max<Clock::duration>(look_every, 4 * (Clock::now() - asked))); // a long status
    }
}

std::string words_of(const Arguments& arguments)
{
    switch (arguments.command) {
    case Command::drain:
        return "takes no new connections";
    case Command::undrain:
        return "is no longer drained";
    default:
        return arguments.weight == "file" ? "has the weight that the file gives it" : "has weight " + arguments.weight;
    }
}

} // namespace

int override_backend(const Arguments& arguments, Streams streams)
{
    auto asked = ask_daemon(arguments, {"POST", path_of(arguments.command), body_of(arguments).dump()}, streams);
    if (const int* unreachable = std::get_if<int>(&asked))
        return *unreachable;
    auto& json = std::get<nlohmann::json>(asked);
    int code = json.value("result", "") == "ok" ? exit_ok : exit_failed;
    if (code != exit_ok) {
        const nlohmann::json error = json.value("error", nlohmann::json::object());
        streams.err << describe(Error{error.value("message", ""), error.value("remedy", "")}) << '\n';
    }
    std::vector<std::string> addresses;
    for (const auto& backend : json.value("backends", nlohmann::json::array()))
        addresses.push_back(backend.value("address", ""));
    std::optional<Left> left;
    const bool waits = code == exit_ok && arguments.wait;
    if (waits)
        code = wait_for_end(arguments, addresses, left, streams);
    if (left) {
        json["connections_left"] = left->connections;
        json["not_up"] = left->not_up;
    }
    if (arguments.json)
        print(streams.out, json);
    else if (code == exit_ok)
        for (const std::string& address : addresses)
            streams.out << fmt::format("{}/{} ({}) {}{}\n", arguments.service, arguments.backend, address,
                words_of(arguments),
                !left        ? ""
                : left->ends ? "; no connection is left"
                             : "; it is up");
    return code;
}

} // namespace featherlb::cli
