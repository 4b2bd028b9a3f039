// SPDX-License-Identifier: Apache-2.0
#include "config/services.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "base/text.h"
#include "config/admission.h"
#include "config/backend_file.h"
#include "config/endpoints.h"
#include "config/failure.h"
#include "config/health.h"
#include "config/lists.h"
#include "config/measure.h"
#include "config/one_way.h"
#include "config/sharing.h"
#include "config/values.h"
#include "config/words.h"

namespace featherlb {

namespace {

constexpr DurationLimits name_interval_limits{std::chrono::seconds(1), std::chrono::hours(24)};
constexpr std::string_view service_example =
    R"(- {name: web, listen: "203.0.113.10:80/tcp", backends: [{address: "10.0.1.11:8080"}]})";
constexpr std::string_view backends_example = R"(backends: [{address: "10.0.1.11:8080"}])";
constexpr std::string_view backend_example = R"({address: "10.0.1.11:8080"})";

struct BackendDraft {
    BackendConfig config;
    std::optional<Place> weight_place; // where a weight is written
    Place agent_port_place;
};

// A service while it is read: what the checks need beyond the result.
struct ServiceDraft {
    ServiceConfig config;
    std::optional<Algorithm> algorithm; // nothing: wrong, and reported
    std::vector<BackendDraft> backends;
    Place backends_place;
    bool all_listeners_sound = true;
    bool all_backends_sound = true;
};

// Lower case without the last dot: two spellings of one name.
std::string canonical_host(std::string_view host)
{
    std::string result(host.ends_with('.') ? host.substr(0, host.size() - 1) : host);
    for (char& c : result)
        c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    return result;
}

std::optional<Family> family_of(const BackendConfig& backend)
{
    const auto* endpoint = std::get_if<Endpoint>(&backend.target);
    return endpoint == nullptr ? std::nullopt : std::optional(endpoint->address.family());
}

// Text of `node` through one of the parsers of endpoints.h.
template <typename T>
std::optional<T> read_endpoint(
    const Node& node, std::string_view setting, Parsed<T> (*parse)(std::string_view), Problems& problems)
{
    const auto text = read_text(node, setting, problems);
    if (!text)
        return std::nullopt;
    auto parsed = parse(*text);
    if (!parsed) {
        problems.add(node.place, fmt::format("{}: {}", setting, parsed.error().what), parsed.error().remedy);
        return std::nullopt;
    }
    return *std::move(parsed);
}

void read_listener(const Node& node, ServiceDraft& draft, Problems& problems)
{
    if (node.kind == Node::Kind::sequence || node.kind == Node::Kind::mapping) {
        problems.add(node.place, fmt::format("an entry of listen must be text, not {}", describe(node)),
            R"(write "ADDRESS:PORT/PROTOCOL" in quotes, such as "[2001:db8::10]:80/tcp")");
        draft.all_listeners_sound = false;
        return;
    }
    auto listener = read_endpoint<ListenerConfig>(node, "listen", parse_listener, problems);
    if (listener) {
        listener->place = node.place;
        draft.config.listeners.push_back(*listener);
    } else {
        draft.all_listeners_sound = false;
    }
}

void read_listeners(const Node* node, ServiceDraft& draft, Problems& problems)
{
    if (node == nullptr) {
        draft.all_listeners_sound = false;
    } else if (node->kind != Node::Kind::sequence) {
        read_listener(*node, draft, problems);
    } else {
        const auto items = list_items(*node, "listen", R"(listen: ["203.0.113.10:80/tcp"])", problems);
        draft.all_listeners_sound = !items.empty() && items.size() == node->items.size();
        for (const Node* item : items)
            read_listener(*item, draft, problems);
    }
}

// `interval`: how often a name is looked up.
void read_interval(const Section& section, BackendConfig& backend, Problems& problems)
{
    const Node* interval = section.find("interval");
    if (interval == nullptr)
        return;
    auto* name = std::get_if<DnsName>(&backend.target);
    if (name == nullptr)
        return problems.add(section.place("interval"), "interval says nothing with address: only names are looked up",
            "remove it, or name the backend by dns");
    name->interval = read_seconds(*interval, "interval", name_interval_limits, problems).value_or(name->interval);
}

// The key that says where the backend is: exactly one of `address` and `dns`.
bool read_target(const Section& section, const Node& node, BackendConfig& backend, Problems& problems)
{
    if (section.has("address") && section.has("dns")) {
        problems.add(section.place("dns"), "a backend has either address or dns, not both", "make two backends of it");
        return false;
    }
    if (!section.has("address") && !section.has("dns")) {
        problems.add(node.place, "a backend has neither address nor dns",
            R"(add address: "10.0.1.11:8080" or dns: "web.internal:8080", or file: /etc/featherlb/web.yaml)");
        return false;
    }
    if (const Node* address = section.find("address")) {
        const auto endpoint = read_endpoint<Endpoint>(*address, "address", parse_backend_address, problems);
        if (!endpoint)
            return false;
        backend.target = *endpoint;
        backend.place = address->place;
        backend.name = address->text;
        return true;
    }
    if (const Node* dns = section.find("dns")) {
        auto name = read_endpoint<DnsName>(*dns, "dns", parse_dns_name, problems);
        if (!name)
            return false;
        backend.target = *std::move(name);
        backend.place = dns->place;
        backend.name = dns->text;
        return true;
    }
    return false;
}

struct SeenBackends {
    Once<std::string> names;
    Once<Endpoint> addresses;
    Once<std::pair<std::string, std::uint16_t>> dns_names;

    void add_target(const BackendConfig& backend, Problems& problems)
    {
        if (const auto* endpoint = std::get_if<Endpoint>(&backend.target)) {
            addresses.add(*endpoint, backend.place, fmt::format("the backend {}", endpoint->to_string()), problems);
        } else {
            const auto& dns = std::get<DnsName>(backend.target);
            dns_names.add({canonical_host(dns.host), dns.port}, backend.place,
                fmt::format("the backend {}", quote(dns.to_string())), problems);
        }
    }
};

// `file: /etc/featherlb/web.yaml`: all backends that stand there.
void read_file(const Section& section, ServiceDraft& draft, SeenBackends& seen, Problems& problems)
{
    bool sound = true;
    for (const std::string_view other : {"name", "address", "dns", "interval", "agent_port"}) {
        if (section.has(other))
            problems.add(section.place(other), fmt::format("{} cannot stand beside file", other),
                "make two backends of it, or remove it");
        sound = sound && !section.has(other);
    }
    const Node* file = section.find("file");
    const auto path = file == nullptr ? std::nullopt : read_text(*file, "file", problems);
    if (path && !path->starts_with('/'))
        problems.add(file->place, fmt::format("file is not an absolute path: {}", quote(*path)),
            "write one such as /etc/featherlb/web.yaml");
    if (!path || !path->starts_with('/') || !sound) {
        draft.all_backends_sound = false;
        return;
    }
    BackendFile source{.path = *path, .place = file->place};
    if (const Node* weight = section.find("weight")) {
        const auto value = read_number(*weight, "weight", {0, largest_weight}, Quotes::refused, problems);
        source.weight = static_cast<std::uint32_t>(value.value_or(1));
    }
    if (const Node* backup = section.find("backup"))
        source.backup = read_boolean(*backup, "backup", problems).value_or(false);
    Problems wrong;
    for (BackendConfig& backend : read_backend_file(source, wrong)) {
        seen.add_target(backend, problems);
        draft.backends.push_back({std::move(backend), source.place, {}});
    }
    for (Problem& problem : wrong.take()) {
        problems.add(problem.place, std::move(problem.what), std::move(problem.remedy));
        draft.all_backends_sound = false;
    }
    draft.config.files.push_back(std::move(source));
}

void read_backend(const Node& node, ServiceDraft& draft, SeenBackends& seen, Problems& problems)
{
    if (node.kind == Node::Kind::scalar) {
        problems.add(node.place, fmt::format("a backend must be a mapping, not {}", describe(node)),
            fmt::format("write {}", backend_example));
        draft.all_backends_sound = false;
        return;
    }
    const Section section(node, keys::backend, backend_example, problems);
    if (!section.is_mapping()) {
        draft.all_backends_sound = false;
        return;
    }
    if (section.has("file"))
        return read_file(section, draft, seen, problems);
    BackendDraft backend;
    const bool has_target = read_target(section, node, backend.config, problems);
    draft.all_backends_sound = draft.all_backends_sound && has_target;
    if (has_target) {
        seen.add_target(backend.config, problems);
        read_interval(section, backend.config, problems);
    }
    if (const Node* name = section.find("name")) {
        if (const auto text = read_name(*name, "a backend's name", problems)) {
            seen.names.add(*text, name->place, fmt::format("the backend name {}", quote(*text)), problems);
            backend.config.name = *text;
        }
    }
    if (const Node* weight = section.find("weight")) {
        const auto value = read_number(*weight, "weight", {0, largest_weight}, Quotes::refused, problems);
        if (value)
            backend.config.weight = static_cast<std::uint32_t>(*value);
        backend.weight_place = weight->place;
    }
    if (const Node* backup = section.find("backup"))
        backend.config.backup = read_boolean(*backup, "backup", problems).value_or(false);
    if (const Node* port = section.find("agent_port")) {
        const auto value = read_number(*port, "agent_port", {1, 65535}, Quotes::refused, problems);
        backend.config.agent_port = static_cast<std::uint16_t>(value.value_or(1));
        backend.agent_port_place = section.place("agent_port");
    }
    if (has_target)
        draft.backends.push_back(std::move(backend));
}

void read_backends(const Node* node, ServiceDraft& draft, Problems& problems)
{
    if (node == nullptr) {
        draft.all_backends_sound = false;
        return;
    }
    draft.backends_place = node->place;
    const auto items = list_items(*node, "backends", backends_example, problems);
    draft.all_backends_sound = !items.empty() && items.size() == node->items.size();
    SeenBackends seen;
    for (const Node* item : items)
        read_backend(*item, draft, seen, problems);
    if (draft.all_backends_sound && draft.backends.empty()) {
        problems.add(node->place, "its files name no target, and the service has no other backend",
            "add a target to a file, or a backend here");
        draft.all_backends_sound = false;
    }
}

void check_weights(const ServiceDraft& draft, Problems& problems)
{
    if (draft.algorithm && !uses_weights(*draft.algorithm)) {
        const std::string_view word = to_string(*draft.algorithm);
        for (const BackendDraft& backend : draft.backends) {
            if (backend.config.weight > 1 && backend.weight_place)
                problems.add(*backend.weight_place,
                    fmt::format("{} does not use weights, and this one is {}", word, backend.config.weight),
                    fmt::format("write algorithm: weighted-{}, or remove the weight", word));
        }
    }
    const bool all_zero = std::all_of(draft.backends.begin(), draft.backends.end(),
        [](const BackendDraft& backend) { return backend.config.weight == 0; });
    if (draft.all_backends_sound && all_zero)
        problems.add(draft.backends_place, "all backends have weight 0, so none takes connections",
            "give at least one a weight from 1 to 1000");
}

void check_backups(const ServiceDraft& draft, Problems& problems)
{
    const bool all_backups = std::all_of(draft.backends.begin(), draft.backends.end(),
        [](const BackendDraft& backend) { return backend.config.backup; });
    if (draft.all_backends_sound && all_backups)
        problems.add(draft.backends_place, "all backends are backups, and there is none that they could stand in for",
            "remove backup: true from those that are to be used");
    for (const BackendDraft& backend : draft.backends) {
        if (backend.config.agent_port && !draft.config.sharing.agent)
            problems.add(backend.agent_port_place, "agent_port says nothing without the service's agent",
                fmt::format("add {} to the service, or remove it", agent_example));
    }
}

// Names may add backends: the plan looks again.
void check_compared(const ServiceDraft& draft, Problems& problems)
{
    if (!draft.algorithm || !picks_by_load(*draft.algorithm))
        return;
    std::size_t of_family[2] = {};
    for (const BackendDraft& backend : draft.backends) {
        if (const auto family = family_of(backend.config))
            of_family[*family == Family::ipv4 ? 0 : 1]++;
    }
    const std::size_t most = std::max(of_family[0], of_family[1]);
    if (most > FLB_MOST_COMPARED)
        problems.add(draft.backends_place,
            fmt::format("{} backends, and {} compares at most {} of one IP version", most, to_string(*draft.algorithm),
                FLB_MOST_COMPARED),
            "use maglev, or make two services of it");
}

// Client and backend must have the same IP version. "*" and DNS names may be either, and so may what was wrong. In
// `ipip` the outer header may have another one than the packet in it.
void check_families(const ServiceDraft& draft, Problems& problems)
{
    if (draft.config.forward == Forward::ipip)
        return;
    bool any_listener = !draft.all_listeners_sound;
    bool any_backend = !draft.all_backends_sound;
    bool has_listener[2] = {};
    bool has_backend[2] = {};
    const auto index = [](Family family) { return family == Family::ipv4 ? 0 : 1; };
    for (const ListenerConfig& listener : draft.config.listeners) {
        if (listener.address)
            has_listener[index(listener.address->family())] = true;
        else
            any_listener = true;
    }
    for (const BackendDraft& backend : draft.backends) {
        if (const auto family = family_of(backend.config))
            has_backend[index(*family)] = true;
        else
            any_backend = true;
    }
    bool found = false;
    for (const ListenerConfig& listener : draft.config.listeners) {
        if (!listener.address || any_backend || has_backend[index(listener.address->family())])
            continue;
        const auto family = to_string(listener.address->family());
        problems.add(listener.place, fmt::format("an {} listener, and the service has no {} backend", family, family),
            fmt::format("add an {} backend, or remove this listener: both sides need the same IP version", family));
        found = true;
    }
    for (const BackendDraft& backend : draft.backends) {
        const auto family = family_of(backend.config);
        if (found || !family || any_listener || has_listener[index(*family)])
            continue;
        problems.add(backend.config.place,
            fmt::format("an {} backend, and the service has no {} listener", to_string(*family), to_string(*family)),
            fmt::format(
                "add an {} listener, or remove this backend: both sides need the same IP version", to_string(*family)));
    }
}

bool has_own_port(const BackendConfig& backend)
{
    return std::visit([](const auto& target) { return target.port != 0; }, backend.target);
}

// Checks must know where to ask.
void check_ports(const ServiceDraft& draft, Problems& problems)
{
    const auto& health = draft.config.failure.health;
    if (!health || health->port || !draft.all_listeners_sound || only_port(draft.config))
        return;
    const auto portless = std::find_if(draft.backends.begin(), draft.backends.end(),
        [](const BackendDraft& backend) { return !has_own_port(backend.config); });
    if (portless != draft.backends.end())
        problems.add(portless->config.place,
            "a backend without a port, in a service with several: health checks do not know which one to ask",
            "add a port to `health`, such as health: {type: tcp, port: 8080}");
}

ServiceConfig read_service(const Node& node, const ServiceDefaults& defaults, Problems& problems)
{
    const Section section(node, keys::service, service_example, problems);
    ServiceDraft draft;
    draft.config.place = node.place;
    draft.algorithm = defaults.algorithm;
    if (!section.is_mapping())
        return draft.config;
    if (const Node* name = section.require("name", "name: web")) {
        draft.config.place = name->place;
        draft.config.name = read_name(*name, "a service's name", problems).value_or("");
    }
    if (const Node* algorithm = section.find("algorithm"))
        draft.algorithm = read_algorithm(*algorithm, problems);
    std::optional<Forward> forward = defaults.forward;
    if (const Node* node_forward = section.find("forward"))
        forward = read_forward(*node_forward, problems);
    draft.config.algorithm = draft.algorithm.value_or(Algorithm::maglev);
    draft.config.forward = forward.value_or(Forward::snat);
    draft.config.failure = defaults.failure;
    read_failure(section, draft.config.failure, problems);
    draft.config.sharing = read_sharing(section, defaults.sharing, problems);
    draft.config.admission = read_admission(section, defaults.admission, problems);
    read_listeners(section.require("listen", R"(listen: "203.0.113.10:80/tcp")"), draft, problems);
    read_backends(section.require("backends", backends_example), draft, problems);
    settle_measure(section, defaults.measure, draft.config, problems);
    check_weights(draft, problems);
    check_compared(draft, problems);
    check_backups(draft, problems);
    if (draft.algorithm)
        check_sharing(section, *draft.algorithm, draft.config.sharing, problems);
    check_families(draft, problems);
    check_ports(draft, problems);
    for (BackendDraft& backend : draft.backends)
        draft.config.backends.push_back(std::move(backend.config));
    finish_one_way(section, draft.config, problems);
    check_health_way(section, draft.config, problems);
    return std::move(draft.config);
}

} // namespace

std::optional<Algorithm> read_algorithm(const Node& node, Problems& problems)
{
    const auto index = read_word(node, "algorithm", words::algorithm, {}, problems);
    return index ? std::optional(static_cast<Algorithm>(*index)) : std::nullopt;
}

std::optional<Forward> read_forward(const Node& node, Problems& problems)
{
    const auto index = read_word(node, "forward", words::forward, {}, problems);
    return index ? std::optional(static_cast<Forward>(*index)) : std::nullopt;
}

std::vector<ServiceConfig> read_services(const Node& node, const ServiceDefaults& defaults, Problems& problems)
{
    std::vector<ServiceConfig> services;
    for (const Node* item : list_items(node, "services", service_example, problems))
        services.push_back(read_service(*item, defaults, problems));
    return services;
}

} // namespace featherlb
