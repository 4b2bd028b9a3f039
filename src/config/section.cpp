// SPDX-License-Identifier: Apache-2.0
#include "config/section.h"

#include <algorithm>
#include <map>
#include <utility>

#include <fmt/format.h>

#include "base/text.h"

namespace featherlb {

namespace {

// Far more than are shown; keeps a file that is wrong in every line from filling the memory.
constexpr std::size_t most_kept = 10'000;

bool contains(std::span<const std::string_view> words, std::string_view word)
{
    return std::find(words.begin(), words.end(), word) != words.end();
}

// Another section that has this key: what was written is right, but in the wrong place.
const Keys* home_of(std::string_view key, const Keys& here)
{
    for (const Keys* keys : keys::all) {
        if (keys != &here && (contains(keys->known, key) || contains(keys->later, key)))
            return keys;
    }
    return nullptr;
}

} // namespace

void Problems::add(Place place, std::string what, std::string remedy)
{
    if (problems_.size() < most_kept)
        problems_.push_back({place, std::move(what), std::move(remedy)});
}

Section::Section(const Node& node, const Keys& keys, std::string_view example, Problems& problems)
    : node_(node), keys_(keys), problems_(problems)
{
    if (is_mapping())
        check_keys();
    else
        problems_.add(node.place, fmt::format("{} must be a mapping, not {}", keys.section, describe(node)),
            fmt::format("write {}", example));
}

const Entry* Section::entry(std::string_view key) const
{
    const auto found = std::find_if(
        node_.entries.begin(), node_.entries.end(), [&](const Entry& candidate) { return candidate.key.text == key; });
    return found == node_.entries.end() ? nullptr : &*found;
}

const Node* Section::find(std::string_view key) const
{
    const Entry* found = entry(key);
    if (found == nullptr)
        return nullptr;
    if (found->value.kind != Node::Kind::null)
        return &found->value;
    problems_.add(found->key.place, fmt::format("\"{}\" has no value", key), "write a value, or remove the key");
    return nullptr;
}

const Node* Section::require(std::string_view key, std::string_view example) const
{
    if (is_mapping() && !has(key))
        problems_.add(node_.place, fmt::format("{} has no \"{}\"", keys_.section, key), fmt::format("add {}", example));
    return find(key);
}

Place Section::place(std::string_view key) const
{
    const Entry* found = entry(key);
    return found == nullptr ? node_.place : found->key.place;
}

void Section::check_keys() const
{
    std::map<std::string_view, std::size_t> first_lines;
    for (const Entry& candidate : node_.entries) {
        const Node& key = candidate.key;
        const auto [first, is_first] = first_lines.emplace(key.text, key.place.line);
        if (!is_first)
            problems_.add(key.place, fmt::format("the key {} is there twice", quote(key.text)),
                fmt::format("keep this one or the one in line {}", first->second));
        else if (!contains(keys_.known, key.text))
            report_unknown(key);
    }
}

void Section::report_unknown(const Node& key) const
{
    const std::string name = quote(key.text);
    const std::string supported = fmt::format("{} may have: {}", keys_.section, join(keys_.known));
    if (contains(keys_.later, key.text))
        return problems_.add(
            key.place, fmt::format("this version does not support {} yet", name), "remove it; " + supported);
    if (const Keys* home = home_of(key.text, keys_))
        return problems_.add(key.place, fmt::format("{} does not belong here", name),
            fmt::format("it is a key of {}; {}", home->section, supported));
    std::string what = fmt::format("unknown key {}", name);
    const std::size_t colon = key.text.find(':');
    if (!key.quoted && colon != std::string::npos && contains(keys_.known, key.text.substr(0, colon)))
        return problems_.add(key.place, std::move(what),
            fmt::format("write a space behind the colon: {}: ...", key.text.substr(0, colon)));
    if (const auto meant = closest(key.text, keys_.known))
        return problems_.add(key.place, std::move(what), fmt::format("did you mean \"{}\"?", *meant));
    if (const auto meant = closest(key.text, keys_.later))
        return problems_.add(key.place, std::move(what),
            fmt::format("did you mean \"{}\"? this version does not support it yet; {}", *meant, supported));
    problems_.add(key.place, std::move(what), supported);
}

std::string describe(const Node& node)
{
    switch (node.kind) {
    case Node::Kind::null:
        return "nothing";
    case Node::Kind::sequence:
        return "a list";
    case Node::Kind::mapping:
        return "a mapping";
    case Node::Kind::scalar:
        break;
    }
    return quote(node.text);
}

} // namespace featherlb
