// SPDX-License-Identifier: Apache-2.0
#include "config/admission.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "base/text.h"
#include "config/endpoints.h"
#include "config/lists.h"
#include "config/values.h"

namespace featherlb {

namespace {

constexpr std::uint64_t most_a_second = 1'000'000;
constexpr std::uint64_t most_connections = 0xfffffe; // what a count in the kernel holds, less one
constexpr std::uint64_t longest_pause = 60;          // minutes in which a burst must be earned again
constexpr std::string_view affinity_example = "affinity: {timeout: 10m}, or affinity: none";
constexpr std::string_view limits_example = "limits: {new_connections_per_source: 100/s, connections_per_source: 1000}";
constexpr std::string_view rate_example = "write a number and /s or /m, such as 100/s or 30/m";

AffinityConfig read_affinity(const Node& node, Problems& problems)
{
    AffinityConfig affinity;
    const Section section(node, keys::affinity, affinity_example, problems);
    if (const Node* timeout = section.require("timeout", "timeout: 10m"))
        affinity.timeout = read_duration(*timeout, "affinity.timeout", problems).value_or(affinity.timeout);
    if (const Node* prefix = section.find("ipv6_prefix"))
        affinity.ipv6_prefix = static_cast<std::uint8_t>(
            read_number(*prefix, "affinity.ipv6_prefix", {1, 128}, Quotes::refused, problems).value_or(128));
    return affinity;
}

struct Rate {
    std::uint64_t count = 0;
    std::uint64_t a_minute = 0; // the unit, in units a minute
};

std::optional<Rate> read_rate(const Node& node, std::string_view setting, Problems& problems)
{
    const auto refuse = [&](std::string what) {
        problems.add(node.place, fmt::format("{} {}", setting, what), std::string(rate_example));
        return std::nullopt;
    };
    if (node.kind != Node::Kind::scalar)
        return refuse(fmt::format("must be a rate, not {}", describe(node)));
    const std::string_view text = node.text;
    const std::size_t slash = std::min(text.find('/'), text.size());
    const std::string_view unit = text.substr(slash);
    const auto count = parse_decimal(text.substr(0, slash));
    if (count && unit.empty())
        return refuse(fmt::format("has no unit: {}", quote(text)));
    if (!count || (unit != "/s" && unit != "/m"))
        return refuse(fmt::format("is not a rate: {}", quote(text)));
    const Rate rate{*count, unit == "/s" ? 60U : 1U};
    if (rate.count == 0 || rate.count > most_a_second * 60 / rate.a_minute)
        return refuse(fmt::format("must be from 1/m to {}/s, not {}", most_a_second, quote(text)));
    return rate;
}

void read_rate_limit(const Section& section, SourceLimits& limits, Problems& problems)
{
    const Node* rate_node = section.find("new_connections_per_source");
    const Node* burst_node = section.find("burst");
    const auto rate =
        rate_node == nullptr ? std::nullopt : read_rate(*rate_node, "limits.new_connections_per_source", problems);
    if (rate) {
        limits.new_a_minute = static_cast<std::uint32_t>(rate->count * rate->a_minute);
        limits.burst = static_cast<std::uint32_t>(rate->count);
    }
    if (burst_node == nullptr)
        return;
    if (!section.has("new_connections_per_source"))
        return problems.add(section.place("burst"), "limits.burst says nothing without new_connections_per_source",
            fmt::format("write {}, or remove it", limits_example));
    const auto burst = read_number(*burst_node, "limits.burst", {1, most_a_second}, Quotes::refused, problems);
    if (!burst || !rate)
        return;
    if (*burst > std::uint64_t{limits.new_a_minute} * longest_pause)
        return problems.add(burst_node->place,
            fmt::format("limits.burst is more than new_connections_per_source allows in an hour: {}", *burst),
            fmt::format("write at most {}", std::uint64_t{limits.new_a_minute} * longest_pause));
    limits.burst = static_cast<std::uint32_t>(*burst);
}

SourceLimits read_limits(const Node& node, Problems& problems)
{
    SourceLimits limits;
    const Section section(node, keys::limits, limits_example, problems);
    read_rate_limit(section, limits, problems);
    if (const Node* connections = section.find("connections_per_source"))
        limits.connections = static_cast<std::uint32_t>(
            read_number(*connections, "limits.connections_per_source", {1, most_connections}, Quotes::refused, problems)
                .value_or(0));
    if (section.is_mapping() && node.entries.empty())
        problems.add(node.place, "limits limits nothing", fmt::format("write {}", limits_example));
    return limits;
}

// Both lists of a section while they are read.
struct AccessDraft {
    struct Rule {
        AccessRule rule;
        Place place;
    };
    std::vector<Rule> rules;
    bool has_allow = false;
};

void read_list(const Section& section, std::string_view key, bool allow, AccessDraft& draft, Problems& problems)
{
    const Node* node = section.find(key);
    if (node == nullptr)
        return;
    draft.has_allow = draft.has_allow || allow;
    const std::string example = fmt::format("{}: [198.51.100.0/24]", key);
    draft.rules.reserve(draft.rules.size() + node->items.size());
    const std::string setting = fmt::format("an entry of {}", key);
    for (const Node* item : list_items(*node, key, example, problems)) {
        const auto text = read_text(*item, setting, problems);
        if (!text)
            continue;
        const auto network = parse_network(*text);
        if (network)
            draft.rules.push_back({{*network, allow}, item->place});
        else
            problems.add(item->place, fmt::format("{}: {}", key, network.error().what), network.error().remedy);
    }
}

void report_doubles(const std::vector<AccessDraft::Rule>& sorted, Problems& problems)
{
    for (std::size_t i = 1; i < sorted.size(); ++i) {
        const AccessDraft::Rule *first = &sorted[i - 1], *second = &sorted[i];
        if (first->rule.network != second->rule.network)
            continue;
        if (first->place.line > second->place.line ||
            (first->place.line == second->place.line && first->place.column > second->place.column))
            std::swap(first, second);
        const std::string network = first->rule.network.to_string();
        const bool both = first->rule.allow != second->rule.allow;
        problems.add(second->place,
            both ? fmt::format("the network {} is in allow and in deny", network)
                 : fmt::format("the network {} is there twice", network),
            fmt::format("remove this one or the one in line {}", first->place.line));
    }
}

void read_access(const Section& section, AdmissionConfig& admission, Problems& problems)
{
    AccessDraft draft;
    read_list(section, "allow", true, draft, problems);
    read_list(section, "deny", false, draft, problems);
    std::stable_sort(draft.rules.begin(), draft.rules.end(),
        [](const auto& a, const auto& b) { return a.rule.network < b.rule.network; });
    report_doubles(draft.rules, problems);
    std::array<AccessRules, 2> rules;
    for (const auto& [rule, place] : draft.rules)
        rules[rule.network.address.is_ipv4() ? 0 : 1].push_back(rule);
    for (const Family family : {Family::ipv4, Family::ipv6}) {
        AccessRules& mine = rules[family == Family::ipv4 ? 0 : 1];
        const flb_addr nothing{};
        const NetworkPrefix everybody{IpAddress::from_abi(nothing, family), 0};
        if (draft.has_allow && (mine.empty() || mine.front().network != everybody))
            mine.insert(mine.begin(), {everybody, false});
        auto& target = admission.access[family == Family::ipv4 ? 0 : 1];
        target = mine.empty() ? nullptr : std::make_shared<const AccessRules>(std::move(mine));
    }
}

} // namespace

AdmissionConfig read_admission(const Section& section, const AdmissionConfig& otherwise, Problems& problems)
{
    AdmissionConfig admission = otherwise;
    if (const Node* affinity = section.find("affinity"))
        admission.affinity = says_none(*affinity) ? AffinityConfig{} : read_affinity(*affinity, problems);
    if (const Node* limits = section.find("limits"))
        admission.limits = says_none(*limits) ? SourceLimits{} : read_limits(*limits, problems);
    if (section.has("allow") || section.has("deny"))
        read_access(section, admission, problems);
    return admission;
}

} // namespace featherlb
