// SPDX-License-Identifier: Apache-2.0
// What must hold for any text that is read as a configuration. Used by the fuzzer, and by a unit test on its corpus.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <tuple>

#include "config/config.h"

namespace featherlb::fuzz {

inline bool is_printable(std::string_view text)
{
    return std::none_of(text.begin(), text.end(), [](char c) { return (c >= 0 && c < ' ') || c == 0x7f; });
}

// What is wrong with the errors themselves; "" if nothing.
inline std::string check_errors(std::string_view text, const ConfigErrors& errors)
{
    if (errors.problems.empty() || errors.problems.size() > 20)
        return "no problem, or more than are shown";
    const auto lines = static_cast<std::size_t>(1 + std::count(text.begin(), text.end(), '\n'));
    std::tuple<std::size_t, std::size_t> last{0, 0};
    for (const Problem& problem : errors.problems) {
        const std::tuple place{problem.place.line, problem.place.column};
        if (place < last)
            return "problems out of order";
        last = place;
        if (problem.place.line < 1 || problem.place.line > lines || problem.place.column < 1 ||
            problem.place.column > text.size() + 1)
            return "a place outside of the file";
        if (problem.what.empty() || problem.remedy.empty())
            return "a problem without text or remedy";
        if (!is_printable(problem.what) || !is_printable(problem.remedy))
            return "control characters in a message";
        if (problem.what.size() > 1000 || problem.remedy.size() > 1000)
            return "a message without bounds";
    }
    return "";
}

inline std::string check_service(const ServiceConfig& service)
{
    if (service.name.empty() || service.name.size() >= FLB_NAME_MAX || service.listeners.empty() ||
        service.backends.empty())
        return "an incomplete service";
    for (const ListenerConfig& listener : service.listeners) {
        if (listener.port == 0 || listener.place.line == 0 || listener.last_port() < listener.port)
            return "a listener without port or place";
        if (listener.address && (listener.address->is_unspecified() || listener.address->is_multicast()))
            return "an impossible listener";
    }
    std::uint64_t weights = 0;
    for (const BackendConfig& backend : service.backends) {
        const auto* endpoint = std::get_if<Endpoint>(&backend.target);
        if (endpoint != nullptr && endpoint->address.is_loopback())
            return "an impossible backend";
        if (backend.name.empty() || backend.weight > 1000 || backend.place.line == 0)
            return "a backend without name or place";
        weights += backend.weight;
    }
    return weights == 0 ? "no backend takes connections" : "";
}

// Reads `text`; what is wrong with the outcome, "" if nothing.
inline std::string check_config(std::string_view text)
{
    const auto config = parse_config(text, "fuzz");
    if (!config)
        return check_errors(text, config.error());
    if (config->services.empty() || config->flows_max == 0 || config->snat.ports.first == 0 ||
        config->snat.ports.first > config->snat.ports.last || config->timeouts.tcp_reset.count() < 1)
        return "a setting out of its bounds";
    for (const ServiceConfig& service : config->services) {
        if (auto wrong = check_service(service); !wrong.empty())
            return wrong;
    }
    return "";
}

} // namespace featherlb::fuzz
