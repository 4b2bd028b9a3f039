// SPDX-License-Identifier: Apache-2.0
#include "observe/events.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <utility>
#include <vector>

#include <arpa/inet.h>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "config/endpoints.h"
#include "kernel/counters.h"

namespace featherlb {

namespace {

constexpr std::array<std::string_view, 2> kinds = {"drop", "decision"};
constexpr std::array<std::string_view, 3> decisions = {"new", "midstream", "moved"};

std::string time_text(std::chrono::system_clock::time_point time)
{
    const auto milliseconds = std::chrono::floor<std::chrono::milliseconds>(time.time_since_epoch()).count();
    return fmt::format(
        "{:%Y-%m-%dT%H:%M:%S}.{:03}Z", fmt::gmtime(static_cast<std::time_t>(milliseconds / 1000)), milliseconds % 1000);
}

std::string protocol_text(std::uint8_t protocol)
{
    switch (protocol) {
    case IPPROTO_TCP:
        return "tcp";
    case IPPROTO_UDP:
        return "udp";
    case IPPROTO_ICMP:
        return "icmp";
    case IPPROTO_ICMPV6:
        return "icmpv6";
    default:
        return std::to_string(protocol);
    }
}

std::string_view decision_text(const flb_sample& sample)
{
    if (sample.kind == FLB_SAMPLE_MOVED)
        return "moved";
    return sample.protocol == IPPROTO_TCP && !(sample.tcp_flags & TH_SYN) ? "midstream" : "new";
}

// Whose packet it is, where no backend says it: something listens at its destination, or its source is a backend.
// Without ports (0) the addresses alone say it where all that is there belongs to one service.
std::optional<ServiceId> service_of(const ListenerKey& source, const ListenerKey& destination, const Tables& tables)
{
    constexpr int most_looked_at = 256; // a listener may have every port
    std::optional<ServiceId> found;
    int looked_at = 0;
    for (auto at = tables.listeners.lower_bound({destination.address, destination.port, Protocol{}});
         at != tables.listeners.end() && at->first.address == destination.address; ++at) {
        if (++looked_at > most_looked_at)
            return std::nullopt;
        if (destination.port != 0 && at->first.port != destination.port)
            break;
        if (at->first.protocol != destination.protocol)
            continue;
        if (found && *found != at->second)
            return std::nullopt;
        found = at->second;
    }
    if (found)
        return found;
    const auto sent = tables.sources.find(source);
    if (sent == tables.sources.end())
        return std::nullopt;
    const auto backend = tables.backends.find(sent->second.backend);
    return backend == tables.backends.end() ? std::nullopt : std::optional(backend->second.service);
}

Result<void> check_word(const char* what, const std::string& word, const std::vector<std::string_view>& known)
{
    if (word.empty() || std::ranges::find(known, word) != known.end())
        return {};
    const auto meant = closest(word, known);
    return fail(fmt::format("{} {} is unknown", what, quote(word)),
        meant ? fmt::format("did you mean {}?", quote(*meant)) : fmt::format("use one of {}", join(known)));
}

std::vector<std::string_view> reasons_of(const std::string& kind)
{
    std::vector<std::string_view> all;
    if (kind != "decision")
        for (std::uint32_t reason = 1; reason < FLB_DROP_REASON_COUNT; ++reason)
            all.push_back(drop_reason(reason).name);
    if (kind != "drop")
        all.insert(all.end(), decisions.begin(), decisions.end());
    return all;
}

std::uint64_t bit_of(std::uint32_t reason)
{
    return std::uint64_t{1} << reason % FLB_MAX_REASONS;
}

} // namespace

Event make_event(const flb_sample& sample, std::chrono::system_clock::time_point time, const Tables& tables)
{
    const auto family = static_cast<Family>(sample.family);
    const auto protocol = static_cast<Protocol>(sample.protocol);
    const Endpoint source{IpAddress::from_abi(sample.source, family), ntohs(sample.sport)};
    const Endpoint destination{IpAddress::from_abi(sample.destination, family), ntohs(sample.dport)};
    Event event;
    event.time = time_text(time);
    event.kind = sample.kind == FLB_SAMPLE_DROP ? "drop" : "decision";
    event.reason = sample.kind == FLB_SAMPLE_DROP ? drop_reason(sample.reason).name : decision_text(sample);
    event.protocol = protocol_text(sample.protocol);
    event.source = source.to_string();
    event.destination = destination.to_string();
    std::optional<ServiceId> service =
        service_of({source.address, source.port, protocol}, {destination.address, destination.port, protocol}, tables);
    if (const auto backend = tables.backends.find(sample.backend); backend != tables.backends.end()) {
        service = backend->second.service;
        event.backend_address = backend->second.endpoint.to_string();
    }
    if (service)
        if (const auto row = tables.services.find(*service); row != tables.services.end())
            event.service = row->second.name;
    return event;
}

Result<EventFilter> make_event_filter(
    std::string kind, std::string reason, std::string service, const std::string& client)
{
    if (auto checked = check_word("the kind", kind, {kinds.begin(), kinds.end()}); !checked)
        return fail(checked.error());
    if (auto checked = check_word("the reason", reason, reasons_of(kind)); !checked)
        return fail(checked.error());
    EventFilter filter{std::move(kind), std::move(reason), std::move(service), {}};
    if (!client.empty()) {
        const auto network = parse_clients(client);
        if (!network)
            return fail(fmt::format("the client {}", network.error().what), network.error().remedy);
        filter.client = *network;
    }
    return filter;
}

std::uint64_t samples_for(const EventFilter& filter)
{
    std::uint64_t drops = 0, named = 0;
    for (std::uint32_t reason = 1; reason < FLB_DROP_REASON_COUNT; ++reason) {
        drops |= bit_of(reason);
        if (drop_reason(reason).name == filter.reason)
            named = bit_of(reason);
    }
    if (!filter.reason.empty())
        return named != 0 ? named : FLB_SAMPLED_DECISIONS;
    if (filter.kind == "drop")
        return drops;
    return filter.kind == "decision" ? FLB_SAMPLED_DECISIONS : drops | FLB_SAMPLED_DECISIONS;
}

bool may_match(const EventFilter& filter, const flb_sample& sample)
{
    if (!(samples_for(filter) & bit_of(sample.reason)))
        return false;
    if (!filter.client)
        return true;
    if (sample.family != static_cast<std::uint8_t>(filter.client->address.family()))
        return false;
    const auto is_client = [&](const flb_addr& bytes) {
        return filter.client->contains(IpAddress::from_abi(bytes, filter.client->address.family()));
    };
    return is_client(sample.source) || is_client(sample.destination);
}

bool matches(const EventFilter& filter, const Event& event)
{
    return (filter.reason.empty() || filter.reason == event.reason) &&
           (filter.service.empty() || filter.service == event.service);
}

void to_json(nlohmann::json& json, const Event& event)
{
    json = {{"time", event.time}, {"kind", event.kind}, {"reason", event.reason}, {"protocol", event.protocol},
        {"source", event.source}, {"destination", event.destination}, {"service", event.service},
        {"backend", event.backend}, {"backend_address", event.backend_address}, {"interface", event.interface}};
}

void from_json(const nlohmann::json& json, Event& event)
{
    for (const auto& [name, field] : {std::pair{"time", &event.time}, std::pair{"kind", &event.kind},
             std::pair{"reason", &event.reason}, std::pair{"protocol", &event.protocol},
             std::pair{"source", &event.source}, std::pair{"destination", &event.destination},
             std::pair{"service", &event.service}, std::pair{"backend", &event.backend},
             std::pair{"backend_address", &event.backend_address}, std::pair{"interface", &event.interface}})
        json.at(name).get_to(*field);
}

std::string format_event(const Event& event)
{
    constexpr std::size_t clock_at = 11, clock_size = 12; // of a time: 12:00:00.000
    std::string protocol = event.protocol;
    std::ranges::transform(protocol, protocol.begin(), [](unsigned char c) { return std::toupper(c); });
    std::string line = fmt::format("{} {} {} {} {} -> {}",
        event.time.size() > clock_at ? event.time.substr(clock_at, clock_size) : event.time, event.kind, event.reason,
        protocol, event.source, event.destination);
    std::string whose = event.service;
    const std::string& backend = event.backend.empty() ? event.backend_address : event.backend;
    if (!backend.empty())
        whose += "/" + backend;
    for (const std::string& word : {whose, event.interface})
        if (!word.empty())
            line += " " + word;
    return line;
}

} // namespace featherlb
