// SPDX-License-Identifier: Apache-2.0
#include "daemon/flow_request.h"

#include <algorithm>
#include <charconv>

#include <fmt/format.h>

#include "base/text.h"
#include "config/endpoints.h"
#include "observe/status.h"

namespace featherlb {

namespace {

constexpr FlowStates states_open = FLB_FLOW_LOAD;

// Of owners, and of several together.
std::map<std::string, FlowStates> states_by_name()
{
    std::map<std::string, FlowStates> names{{"open", states_open}, {"over", states_over}};
    for (std::uint32_t state = 0; state < FLB_FLOW_STATES; state++)
        if (const std::string name = flow_state_name(state); !name.empty() && !(FLB_FLOW_REPLIES >> state & 1))
            names[name] |= 1u << state;
    return names;
}

Result<FlowStates> read_states(const std::string& text)
{
    const auto names = states_by_name();
    if (const auto known = names.find(text); known != names.end())
        return known->second;
    std::vector<std::string> all;
    for (const auto& [name, states] : names)
        all.push_back(name);
    return fail(fmt::format("{} is no state of a connection", quote(text)), meant(text, all));
}

Result<NetworkPrefix> read_client(const std::string& text)
{
    auto network = parse_clients(text);
    if (!network)
        return fail(network.error().what, network.error().remedy);
    return *network;
}

Result<Protocol> read_protocol(const std::string& text)
{
    for (const Protocol protocol : {Protocol::tcp, Protocol::udp})
        if (text == to_string(protocol))
            return protocol;
    return fail(fmt::format("{} is no protocol", quote(text)), "use tcp or udp");
}

bool is_named(const FlowBackend& backend, const std::string& word)
{
    return backend.name == word || backend.endpoint.to_string() == word;
}

} // namespace

std::optional<std::string>* FlowRequest::find(std::string_view name)
{
    for (const auto& [known, value] : {std::pair{"service", &service}, {"backend", &backend}, {"client", &client},
             {"state", &state}, {"protocol", &protocol}})
        if (name == known)
            return value;
    return nullptr;
}

Result<FlowFilter> read_filter(const FlowRequest& request)
{
    FlowFilter filter;
    if (request.client) {
        const auto client = read_client(*request.client);
        if (!client)
            return fail(Error(client.error()).add_context("client"));
        filter.client = *client;
    }
    if (request.state) {
        const auto states = read_states(*request.state);
        if (!states)
            return fail(Error(states.error()).add_context("state"));
        filter.states = *states;
    }
    if (request.protocol) {
        const auto protocol = read_protocol(*request.protocol);
        if (!protocol)
            return fail(Error(protocol.error()).add_context("protocol"));
        filter.protocol = *protocol;
    }
    return filter;
}

Result<std::optional<std::vector<bool>>> select_backends(const FlowRequest& request, const FlowBackends& backends)
{
    if (!request.service && !request.backend)
        return std::optional<std::vector<bool>>();
    if (request.service && !backends.services.contains(*request.service))
        return fail(fmt::format("there is no service {}", quote(*request.service)),
            meant(*request.service, {backends.services.begin(), backends.services.end()}));
    std::vector<bool> chosen(backends.rows.empty() ? 1 : backends.rows.rbegin()->first + 1);
    std::set<std::string> names;
    bool found = false;
    for (const auto& [id, row] : backends.rows) {
        if (request.service && row.service != *request.service)
            continue;
        names.insert(row.name);
        if (request.backend && !is_named(row, *request.backend))
            continue;
        chosen[id] = true;
        found = true;
    }
    if (request.backend && !found)
        return fail(request.service
                        ? fmt::format("service {} has no backend {}", *request.service, quote(*request.backend))
                        : fmt::format("no service has a backend {}", quote(*request.backend)),
            meant(*request.backend, {names.begin(), names.end()}));
    return std::optional(std::move(chosen));
}

Result<void> check_killable(const FlowRequest& request, const FlowFilter& filter)
{
    if (filter.states & ~states_over)
        return {};
    return fail(fmt::format("state: connections that are {} are over already", *request.state),
        "name a state of connections that are open, or leave it out");
}

Result<std::uint64_t> read_limit(const std::string& text)
{
    std::uint64_t number = 0;
    const char* end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, number);
    if (error != std::errc() || stop != end || number > most_flows_shown)
        return fail(fmt::format("limit: {} is no number from 0 to {}", quote(text), most_flows_shown),
            "more are counted, but not shown");
    return number;
}

} // namespace featherlb
