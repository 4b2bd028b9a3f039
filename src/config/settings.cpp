// SPDX-License-Identifier: Apache-2.0
#include "config/settings.h"

#include <algorithm>
#include <array>
#include <set>

#include <fmt/format.h>

#include "config/document.h"

namespace featherlb {

namespace {

// What an entry of a list is known by, the first that it has.
constexpr std::array<std::string_view, 4> identities{"name", "address", "dns", "file"};

// Below an entry of a list, so that it can be told from the rest of the path: names may contain dots.
constexpr char entry_mark = '\x1f';

std::string identity(const Node& node, std::size_t position)
{
    if (node.kind == Node::Kind::scalar)
        return node.text;
    for (const std::string_view key : identities) {
        const auto found = std::ranges::find(node.entries, key, [](const Entry& entry) { return entry.key.text; });
        if (found != node.entries.end())
            return found->value.text;
    }
    return fmt::format("{}", position + 1);
}

bool has_only_values(const Node& list)
{
    return std::ranges::all_of(list.items, [](const Node& item) { return item.kind != Node::Kind::mapping; });
}

std::string inline_value(const Node& node)
{
    if (node.kind != Node::Kind::sequence)
        return node.text;
    std::string text;
    for (const Node& item : node.items)
        text += (text.empty() ? "" : ", ") + inline_value(item);
    return "[" + text + "]";
}

void collect(const Node& node, const std::string& path, Settings& settings)
{
    const auto below = [&path](const std::string& key) { return path.empty() ? key : path + "." + key; };
    if (node.kind == Node::Kind::mapping) {
        for (const Entry& entry : node.entries)
            collect(entry.value, below(entry.key.text), settings);
        return;
    }
    if (node.kind == Node::Kind::scalar || has_only_values(node)) {
        settings[path] = inline_value(node);
        return;
    }
    for (std::size_t i = 0; i < node.items.size(); ++i) {
        const std::string entry = below(identity(node.items[i], i)) + entry_mark;
        if (node.items[i].kind == Node::Kind::mapping)
            collect(node.items[i], entry, settings);
        else
            settings[entry] = node.items[i].text;
    }
}

// The entries of lists that a path lies in: "services.web\x1f", "services.web\x1f.backends.web1\x1f".
std::vector<std::string> entries_of(const std::string& path)
{
    std::vector<std::string> entries;
    for (std::size_t at = path.find(entry_mark); at != std::string::npos; at = path.find(entry_mark, at + 1))
        entries.push_back(path.substr(0, at + 1));
    return entries;
}

std::set<std::string> all_entries(const Settings& settings)
{
    std::set<std::string> entries;
    for (const auto& [path, value] : settings) {
        for (std::string& entry : entries_of(path))
            entries.insert(std::move(entry));
    }
    return entries;
}

std::string shown(std::string path)
{
    std::erase(path, entry_mark);
    return path;
}

// "address: 10.0.1.14:8080, weight: 3"
std::string whole(const Settings& settings, const std::string& entry)
{
    std::string text;
    for (auto at = settings.lower_bound(entry); at != settings.end() && at->first.starts_with(entry); ++at) {
        const std::string below = shown(at->first.substr(entry.size()));
        text +=
            fmt::format("{}{}{}", text.empty() ? "" : ", ", below.empty() ? "" : below.substr(1) + ": ", at->second);
    }
    return text;
}

// The outermost entry of `path` that the other side has not; empty: it has all.
std::string missing_entry(const std::string& path, const std::set<std::string>& other)
{
    for (const std::string& entry : entries_of(path)) {
        if (!other.contains(entry))
            return entry;
    }
    return {};
}

} // namespace

Settings settings_of(std::string_view text)
{
    Settings settings;
    if (const auto root = parse_document(text))
        collect(*root, "", settings);
    return settings;
}

std::vector<SettingChange> compare_settings(const Settings& before, const Settings& after)
{
    const std::set<std::string> old_entries = all_entries(before);
    const std::set<std::string> new_entries = all_entries(after);
    std::map<std::string, SettingChange> changes; // by path, which sorts and joins them
    for (const auto& [path, value] : before) {
        const auto now = after.find(path);
        if (now != after.end() && now->second == value)
            continue;
        const std::string gone = missing_entry(path, new_entries);
        if (gone.empty())
            changes[path] = {shown(path), value, now == after.end() ? "" : now->second};
        else if (!changes.contains(gone))
            changes[gone] = {shown(gone), whole(before, gone), ""};
    }
    for (const auto& [path, value] : after) {
        if (before.contains(path))
            continue;
        const std::string fresh = missing_entry(path, old_entries);
        if (fresh.empty())
            changes[path] = {shown(path), "", value};
        else if (!changes.contains(fresh))
            changes[fresh] = {shown(fresh), "", whole(after, fresh)};
    }
    std::vector<SettingChange> all;
    for (auto& [path, change] : changes)
        all.push_back(std::move(change));
    return all;
}

} // namespace featherlb
