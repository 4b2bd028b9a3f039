// SPDX-License-Identifier: Apache-2.0
#include "observe/backend_setup.h"

#include <algorithm>
#include <ostream>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "cli/commands.h"
#include "daemon/resolver.h"
#include "kernel/network.h"
#include "kernel/way_to.h"

namespace featherlb::cli {

namespace {

constexpr std::uint32_t usual_mtu = 1500;

bool is_on_link(const std::vector<InterfaceAddress>& own, const IpAddress& address)
{
    return std::any_of(own.begin(), own.end(), [&address](const InterfaceAddress& here) {
        return here.address.family() == address.family() &&
               NetworkPrefix::of(here.address, here.prefix_length) == NetworkPrefix::of(address, here.prefix_length);
    });
}

BackendView view(
    const Config& config, const std::string& name, const IpAddress& address, const std::vector<InterfaceAddress>& own)
{
    BackendView backend{
        .name = name, .address = address, .balancer = {}, .on_link = is_on_link(own, address), .sources = {}};
    if (const auto& network = config.ipip.source[address.is_ipv4() ? 0 : 1])
        backend.sources.push_back(*network);
    if (const auto way = way_to(address)) {
        backend.balancer = way->source;
        backend.mtu = way->mtu == 0 ? usual_mtu : way->mtu;
    }
    return backend;
}

const ServiceConfig* find_service(const Config& config, const std::string& name)
{
    const auto found = std::find_if(config.services.begin(), config.services.end(),
        [&name](const ServiceConfig& service) { return service.name == name; });
    return found == config.services.end() ? nullptr : &*found;
}

int unknown(std::ostream& err, const char* what, const std::string& name, const std::vector<std::string>& known)
{
    const std::vector<std::string_view> names(known.begin(), known.end());
    const auto meant = closest(name, names);
    return complain(err,
        {fmt::format(
             "there is no {} {}{}", what, quote(name), meant ? fmt::format("; did you mean {}?", quote(*meant)) : ""),
            names.empty() ? "" : fmt::format("there are: {}", join(names))},
        exit_usage);
}

std::vector<BackendSetup> all_setups(const Config& config, const ServiceConfig& service, const std::string& wanted,
    const std::vector<InterfaceAddress>& own, std::ostream& err)
{
    std::vector<BackendSetup> setups;
    for (const BackendConfig& backend : service.backends) {
        if (!wanted.empty() && backend.name != wanted)
            continue;
        if (const auto* endpoint = std::get_if<Endpoint>(&backend.target)) {
            setups.push_back(backend_setup(service, view(config, backend.name, endpoint->address, own)));
            continue;
        }
        const auto addresses = look_up(std::get<DnsName>(backend.target).host).addresses;
        if (addresses.empty())
            err << "warning: " << std::get<DnsName>(backend.target).host << " has no address now\n";
        for (const IpAddress& address : addresses)
            setups.push_back(backend_setup(service, view(config, backend.name, address, own)));
    }
    return setups;
}

} // namespace

int backend_setup(const Arguments& arguments, Streams streams)
{
    const auto config = load_config(arguments.config_file);
    if (!config)
        return complain(streams.err, {config.error().format(), ""}, exit_invalid);
    const ServiceConfig* service = find_service(*config, arguments.service);
    std::vector<std::string> names;
    if (service == nullptr) {
        for (const ServiceConfig& known : config->services)
            names.push_back(known.name);
        return unknown(streams.err, "service", arguments.service, names);
    }
    for (const BackendConfig& known : service->backends)
        names.push_back(known.name);
    if (!arguments.backend.empty() && std::find(names.begin(), names.end(), arguments.backend) == names.end())
        return unknown(streams.err, "backend", arguments.backend, names);
    std::vector<InterfaceAddress> own;
    if (const auto network = open_network())
        if (auto addresses = (*network)->addresses())
            own = std::move(*addresses);
    const auto setups = all_setups(*config, *service, arguments.backend, own, streams.err);
    if (arguments.json)
        print(streams.out, setups_to_json(*service, setups));
    else
        streams.out << format_setups(*service, setups);
    return exit_ok;
}

} // namespace featherlb::cli
