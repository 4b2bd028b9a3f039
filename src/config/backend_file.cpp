// SPDX-License-Identifier: Apache-2.0
#include "config/backend_file.h"

#include <functional>
#include <utility>

#include <fmt/format.h>

#include "config/endpoints.h"
#include "config/file.h"
#include "config/lists.h"
#include "config/values.h"
#include "config/words.h"

namespace featherlb {

namespace {

constexpr std::size_t most_shown = 5; // of what is wrong in one file
constexpr std::string_view group_example = R"({targets: ["10.0.1.11:8080"], labels: {weight: "3"}})";

std::size_t fingerprint(const std::string& text)
{
    return std::hash<std::string>{}(text) | 1u; // never 0
}

// Prometheus wants all labels in quotes; here they may be left out.
void read_labels(const Node& node, BackendConfig& backend, Problems& problems)
{
    if (node.kind != Node::Kind::mapping)
        return problems.add(node.place, fmt::format("labels must be a mapping, not {}", describe(node)),
            R"(write labels: {weight: "3"})");
    for (const Entry& label : node.entries) {
        if (label.key.text == "weight") {
            const auto weight = read_number(label.value, "weight", {0, largest_weight}, Quotes::allowed, problems);
            backend.weight = static_cast<std::uint32_t>(weight.value_or(backend.weight));
        } else if (label.key.text == "backup") {
            const auto index = read_word(label.value, "backup", words::boolean, {}, problems);
            backend.backup = index ? *index == 1 : backend.backup;
        }
    }
}

void read_group(const Node& node, const BackendFile& file, Once<Endpoint>& seen, std::vector<BackendConfig>& backends,
    Problems& problems)
{
    const Section section(node, keys::target_group, group_example, problems);
    if (!section.is_mapping())
        return;
    BackendConfig backend{.weight = file.weight, .backup = file.backup, .place = file.place, .from_file = true};
    if (const Node* labels = section.find("labels"))
        read_labels(*labels, backend, problems);
    const Node* targets = section.require("targets", R"(targets: ["10.0.1.11:8080"])");
    if (targets == nullptr)
        return;
    if (targets->kind != Node::Kind::sequence)
        return problems.add(targets->place, fmt::format("targets must be a list, not {}", describe(*targets)),
            R"(write targets: ["10.0.1.11:8080"])");
    for (const Node& target : targets->items) {
        const auto text = read_text(target, "a target", problems);
        if (!text)
            continue;
        const auto endpoint = parse_backend_address(*text);
        if (!endpoint) {
            problems.add(target.place, endpoint.error().what, endpoint.error().remedy);
            continue;
        }
        seen.add(*endpoint, target.place, fmt::format("the target {}", endpoint->to_string()), problems);
        backend.target = *endpoint;
        backend.name = *text;
        backends.push_back(backend);
    }
}

void report(const BackendFile& file, const std::vector<Problem>& found, Problems& problems)
{
    for (std::size_t i = 0; i < found.size() && i < most_shown; ++i)
        problems.add(file.place,
            fmt::format("{}:{}:{}: {}", file.path, std::max<std::size_t>(found[i].place.line, 1),
                std::max<std::size_t>(found[i].place.column, 1), found[i].what),
            found[i].remedy);
    if (found.size() > most_shown)
        problems.add(file.place, fmt::format("{}: and {} more", file.path, found.size() - most_shown), "");
}

} // namespace

std::vector<BackendConfig> read_backend_file(BackendFile& file, Problems& problems)
{
    std::vector<BackendConfig> backends;
    const auto text = read_config_file(file.path);
    if (!text) {
        problems.add(file.place, fmt::format("{}: {}", file.path, text.error().what),
            "name a readable file with a list of targets, or create it");
        return backends;
    }
    file.fingerprint = fingerprint(*text);
    const auto root = parse_document(*text, Node::Kind::sequence);
    if (!root) {
        report(file, root.error(), problems);
        return backends;
    }
    Problems own;
    Once<Endpoint> seen;
    for (const Node& group : root->items)
        read_group(group, file, seen, backends, own);
    if (!own.empty()) {
        report(file, own.take(), problems);
        backends.clear();
    }
    return backends;
}

std::size_t fingerprint_of(const std::string& path)
{
    const auto text = read_config_file(path);
    return text ? fingerprint(*text) : 0;
}

} // namespace featherlb
