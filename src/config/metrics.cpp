// SPDX-License-Identifier: Apache-2.0
#include "config/metrics.h"

#include <fmt/format.h>

#include "base/text.h"
#include "config/endpoints.h"
#include "config/values.h"

namespace featherlb {

namespace {

constexpr std::string_view example = R"(metrics: {listen: "127.0.0.1:9420"})";

// Whether clients of the listener connect to the address and port of `own`. "*" leaves loopback alone.
bool takes(const ListenerConfig& listener, const Endpoint& own)
{
    if (listener.protocol != Protocol::tcp || own.port < listener.port || own.port > listener.last_port())
        return false;
    if (!listener.address)
        return !own.address.is_loopback();
    return own.address.is_unspecified() ? listener.address->family() == own.address.family()
                                        : *listener.address == own.address;
}

} // namespace

std::optional<MetricsConfig> read_metrics(const Node& node, Problems& problems)
{
    const Section section(node, keys::metrics, example, problems);
    if (!section.is_mapping())
        return std::nullopt;
    const Node* listen = section.require("listen", R"(listen: "127.0.0.1:9420")");
    if (listen == nullptr)
        return std::nullopt;
    const auto text = read_text(*listen, "metrics.listen", problems);
    if (!text)
        return std::nullopt;
    const auto endpoint = parse_own_endpoint(*text);
    if (!endpoint) {
        problems.add(listen->place, fmt::format("metrics.listen: {}", endpoint.error().what), endpoint.error().remedy);
        return std::nullopt;
    }
    return MetricsConfig{*endpoint, listen->place};
}

void check_metrics(const Config& config, Problems& problems)
{
    if (!config.metrics)
        return;
    for (const ServiceConfig& service : config.services) {
        for (const ListenerConfig& listener : service.listeners) {
            if (!takes(listener, config.metrics->listen))
                continue;
            return problems.add(config.metrics->place,
                fmt::format("metrics.listen {} is taken by the listener {} of the service {}",
                    config.metrics->listen.to_string(), quote(to_string(listener)), quote(service.name)),
                "write another port, or a loopback address such as \"127.0.0.1:9420\"");
        }
    }
}

} // namespace featherlb
