// SPDX-License-Identifier: Apache-2.0
#include "config/config.h"

#include <algorithm>
#include <array>
#include <tuple>
#include <utility>

#include <fmt/format.h>

#include "base/text.h"
#include "config/admission.h"
#include "config/document.h"
#include "config/endpoints.h"
#include "config/failure.h"
#include "config/file.h"
#include "config/lists.h"
#include "config/measure.h"
#include "config/metrics.h"
#include "config/one_way.h"
#include "config/rules.h"
#include "config/section.h"
#include "config/services.h"
#include "config/sharing.h"
#include "config/values.h"
#include "config/words.h"

namespace featherlb {

namespace {

constexpr std::size_t most_problems = 20;
constexpr std::uint64_t largest_flows_max = 16'777'216;
constexpr std::size_t longest_interface = 15; // IFNAMSIZ - 1
constexpr std::size_t longest_socket = 107;   // sockaddr_un.sun_path without its terminator

bool is_interface_name(std::string_view name)
{
    return !name.empty() && name.size() <= longest_interface && name != "." && name != ".." &&
           std::all_of(name.begin(), name.end(), [](char c) { return c > ' ' && c < 0x7f && c != '/' && c != ':'; });
}

void read_interface_name(const Node& node, InterfaceConfig& interface, Problems& problems)
{
    const auto name = read_text(node, "an interface's name", problems);
    if (!name)
        return;
    if (!is_interface_name(*name))
        return problems.add(node.place, fmt::format("{} cannot be the name of an interface", quote(*name)),
            fmt::format("use at most {} characters, none of them a space, '/' or ':'", longest_interface));
    if (*name == "auto")
        return problems.add(node.place, "auto is not one interface among others", "write interfaces: auto");
    interface.name = *name;
    interface.place = node.place;
}

InterfaceConfig read_interface(const Node& node, Problems& problems)
{
    InterfaceConfig interface;
    interface.place = node.place;
    if (node.kind == Node::Kind::scalar) {
        read_interface_name(node, interface, problems);
        return interface;
    }
    const Section section(node, keys::interface_entry, "eth0 or {name: eth0, attach: auto}", problems);
    if (const Node* name = section.require("name", "name: eth0"))
        read_interface_name(*name, interface, problems);
    if (const Node* attach = section.find("attach")) {
        if (const auto index = read_word(*attach, "attach", words::attach, {}, problems))
            interface.attach = static_cast<Attach>(*index);
    }
    return interface;
}

std::optional<std::vector<InterfaceConfig>> read_interfaces(const Node& node, Problems& problems)
{
    if (node.kind == Node::Kind::scalar && node.text == "auto")
        return std::nullopt;
    const bool one_name = node.kind == Node::Kind::scalar && is_interface_name(node.text);
    const std::string example = fmt::format("auto or [{}]", one_name ? node.text : "eth0");
    std::vector<InterfaceConfig> interfaces;
    Once<std::string> names;
    for (const Node* item : list_items(node, "interfaces", example, problems)) {
        interfaces.push_back(read_interface(*item, problems));
        const InterfaceConfig& added = interfaces.back();
        if (!added.name.empty())
            names.add(added.name, added.place, fmt::format("the interface {}", quote(added.name)), problems);
    }
    return interfaces;
}

void read_admin_access(const Section& section, Config& config, Problems& problems)
{
    static constexpr std::array<std::uint32_t, words::socket_mode.size()> modes{0600, 0660, 0666};
    AdminAccess& access = config.admin_access;
    if (const Node* group = section.find("group")) {
        access.group = read_name(*group, "admin.group", problems).value_or("");
        config.admin_group_place = group->place;
    }
    if (const Node* mode = section.find("mode")) {
        if (const auto index = read_word(*mode, "admin.mode", words::socket_mode, {}, problems))
            access.mode = modes.at(*index);
    }
}

void read_admin(const Node& node, Config& config, Problems& problems)
{
    const Section section(node, keys::admin, "admin: {socket: /run/featherlb/admin.sock}", problems);
    read_admin_access(section, config, problems);
    const Node* socket = section.find("socket");
    if (socket == nullptr)
        return;
    const auto path = read_text(*socket, "admin.socket", problems);
    if (!path)
        return;
    if (path->size() > longest_socket)
        return problems.add(socket->place, fmt::format("admin.socket is {} bytes long", path->size()),
            fmt::format("use a path of at most {}; the kernel takes no longer one", longest_socket));
    if (!path->starts_with('/') || path->ends_with('/') || path->find('\0') != std::string::npos)
        return problems.add(socket->place,
            fmt::format("admin.socket is not the absolute path of a file: {}", quote(*path)),
            "write one such as /run/featherlb/admin.sock");
    config.admin_socket = *path;
}

void read_flows(const Node& node, Config& config, Problems& problems)
{
    const Section section(node, keys::flows, "flows: {max: 262144}", problems);
    if (const Node* max = section.find("max"))
        config.flows_max = static_cast<std::uint32_t>(
            read_number(*max, "flows.max", {1, largest_flows_max}, Quotes::refused, problems).value_or(1));
}

void read_source_addresses(const Node& node, SnatConfig& snat, Problems& problems)
{
    snat.place = node.place;
    if (node.kind == Node::Kind::scalar && node.text == "auto")
        return;
    Once<IpAddress> seen;
    for (const Node* item : list_items(node, "snat.addresses", R"(auto or ["10.0.0.5"])", problems)) {
        const auto text = read_text(*item, "an entry of snat.addresses", problems);
        if (!text)
            continue;
        const auto address = parse_source_address(*text);
        if (!address) {
            problems.add(item->place, fmt::format("snat.addresses: {}", address.error().what), address.error().remedy);
        } else {
            seen.add(*address, item->place, fmt::format("the address {}", address->to_string()), problems);
            snat.addresses.push_back(*address);
        }
    }
}

void read_snat(const Node& node, Config& config, Problems& problems)
{
    const Section section(node, keys::snat, "snat: {addresses: auto, ports: 1024-32767}", problems);
    config.snat.place = node.place;
    if (const Node* addresses = section.find("addresses"))
        read_source_addresses(*addresses, config.snat, problems);
    if (const Node* ports = section.find("ports"))
        config.snat.ports = read_port_range(*ports, "snat.ports", problems).value_or(PortRange{});
}

void read_timeouts(const Node& node, Config& config, Problems& problems)
{
    using Member = std::chrono::seconds Timeouts::*;
    static constexpr std::array<Member, keys::timeouts_known.size()> members{&Timeouts::tcp_handshake,
        &Timeouts::tcp_established, &Timeouts::tcp_half_closed, &Timeouts::tcp_closed, &Timeouts::tcp_reset,
        &Timeouts::udp_unreplied, &Timeouts::udp_stream};
    const Section section(node, keys::timeouts, "timeouts: {tcp_established: 2h}", problems);
    for (std::size_t i = 0; i < members.size(); ++i) {
        const std::string_view key = keys::timeouts_known[i];
        const Node* value = section.find(key);
        if (value == nullptr)
            continue;
        if (const auto duration = read_duration(*value, fmt::format("timeouts.{}", key), problems))
            config.timeouts.*members[i] = *duration;
    }
}

ServiceDefaults read_defaults(const Node* node, Problems& problems)
{
    ServiceDefaults defaults;
    if (node == nullptr)
        return defaults;
    const Section section(*node, keys::defaults, "defaults: {algorithm: maglev, forward: snat}", problems);
    if (const Node* algorithm = section.find("algorithm"))
        defaults.algorithm = read_algorithm(*algorithm, problems);
    if (const Node* forward = section.find("forward"))
        defaults.forward = read_forward(*forward, problems);
    read_failure(section, defaults.failure, problems);
    defaults.sharing = read_sharing(section, {}, problems);
    defaults.admission = read_admission(section, {}, problems);
    defaults.measure = read_measure(section, problems);
    return defaults;
}

Config read_config(const Node& root, Problems& problems)
{
    const Section section(root, keys::top, "services: [...]", problems);
    Config config;
    config.snat.place = root.place;
    if (const Node* interfaces = section.find("interfaces"))
        config.interfaces = read_interfaces(*interfaces, problems);
    if (const Node* admin = section.find("admin"))
        read_admin(*admin, config, problems);
    if (const Node* metrics = section.find("metrics"))
        config.metrics = read_metrics(*metrics, problems);
    if (const Node* flows = section.find("flows"))
        read_flows(*flows, config, problems);
    if (const Node* snat = section.find("snat"))
        read_snat(*snat, config, problems);
    if (const Node* ipip = section.find("ipip"))
        config.ipip = read_ipip(*ipip, problems);
    if (const Node* timeouts = section.find("timeouts"))
        read_timeouts(*timeouts, config, problems);
    if (const Node* seed = section.find("hash_seed"))
        config.hash_seed = read_number(*seed, "hash_seed", {}, Quotes::allowed, problems).value_or(0);
    const ServiceDefaults defaults = read_defaults(section.find("defaults"), problems);
    config.drain_timeout = defaults.failure.drain_timeout;
    if (const Node* services = section.require("services",
            R"(at least one: services: [{name: web, listen: "*:80/tcp", backends: [{address: "10.0.1.11:8080"}]}])"))
        config.services = read_services(*services, defaults, problems);
    check_rules(config, problems);
    return config;
}

ConfigErrors make_errors(const std::string& file, std::vector<Problem> problems)
{
    const auto key = [](const Problem& problem) { return std::tie(problem.place.line, problem.place.column); };
    std::stable_sort(
        problems.begin(), problems.end(), [&](const Problem& a, const Problem& b) { return key(a) < key(b); });
    ConfigErrors errors;
    errors.file = file;
    errors.more = problems.size() > most_problems ? problems.size() - most_problems : 0;
    problems.resize(problems.size() - errors.more);
    errors.problems = std::move(problems);
    return errors;
}

} // namespace

std::string ConfigErrors::format() const
{
    std::string text;
    for (const Problem& problem : problems) {
        // A problem of the file as a whole is shown at its beginning: every line has the same form.
        text += fmt::format("{}:{}:{}: {}", file, std::max<std::size_t>(problem.place.line, 1),
            std::max<std::size_t>(problem.place.column, 1), problem.what);
        text += problem.remedy.empty() ? "\n" : fmt::format("; {}\n", problem.remedy);
    }
    if (more > 0)
        text += fmt::format("{}: and {} more\n", file, more);
    return text;
}

tl::expected<Config, ConfigErrors> parse_config(std::string_view text, const std::string& name)
{
    if (text.size() > largest_file)
        return tl::unexpected(make_errors(name, {too_large(text.size())}));
    auto root = parse_document(text);
    if (!root)
        return tl::unexpected(make_errors(name, std::move(root.error())));
    Problems problems;
    Config config = read_config(*root, problems);
    if (!problems.empty())
        return tl::unexpected(make_errors(name, problems.take()));
    config.file = name;
    config.text = std::make_shared<const std::string>(text);
    return config;
}

tl::expected<Config, ConfigErrors> load_config(const std::string& path)
{
    const auto text = read_config_file(path);
    if (!text)
        return tl::unexpected(make_errors(path, {text.error()}));
    return parse_config(*text, path);
}

std::string DnsName::to_string() const
{
    return port == 0 ? host : fmt::format("{}:{}", host, port);
}

std::optional<std::uint16_t> only_port(const ServiceConfig& service)
{
    const std::vector<ListenerConfig>& all = service.listeners;
    const bool same = std::all_of(all.begin(), all.end(), [&all](const ListenerConfig& listener) {
        return listener.port == all.front().port && listener.more_ports == 0;
    });
    return same && !all.empty() ? std::optional(all.front().port) : std::nullopt;
}

std::string to_string(const ListenerConfig& listener)
{
    const std::string where = listener.address ? Endpoint{*listener.address, 0}.to_string() : "*";
    const std::string more = listener.more_ports == 0 ? "" : fmt::format("-{}", listener.last_port());
    return fmt::format("{}:{}{}/{}", where, listener.port, more, to_string(listener.protocol));
}

std::string_view to_string(Attach attach)
{
    return words::attach[static_cast<std::size_t>(attach)];
}

std::string_view to_string(Forward forward)
{
    return words::forward[static_cast<std::size_t>(forward)];
}

std::string_view to_string(Algorithm algorithm)
{
    return words::algorithm[static_cast<std::size_t>(algorithm)];
}

std::string_view to_string(HealthType type)
{
    return words::health_type[static_cast<std::size_t>(type)];
}

std::string_view to_string(Measure measure)
{
    return words::measure[static_cast<std::size_t>(measure)];
}

} // namespace featherlb
