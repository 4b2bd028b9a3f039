// SPDX-License-Identifier: Apache-2.0
// Helpers of the walk: lists that must have entries, and values that may be there only once.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "config/section.h"

namespace featherlb {

// The items of a list that have a value; none, and a problem, if it is no list or an empty one. Items without a value
// are reported. `example` shows the right form.
[[nodiscard]] inline std::vector<const Node*> list_items(
    const Node& node, std::string_view setting, std::string_view example, Problems& problems)
{
    std::vector<const Node*> items;
    if (node.kind != Node::Kind::sequence)
        problems.add(node.place, fmt::format("{} must be a list, not {}", setting, describe(node)),
            fmt::format("write {}", example));
    else if (node.items.empty())
        problems.add(node.place, fmt::format("{} is an empty list", setting), fmt::format("write {}", example));
    for (const Node& item : node.items) {
        if (item.kind == Node::Kind::null)
            problems.add(
                item.place, fmt::format("an entry of {} has no value", setting), "write one, or remove the entry");
        else
            items.push_back(&item);
    }
    return items;
}

// Values that were seen, and where first.
template <typename Key>
class Once {
public:
    // False, and a problem, if `key` was there before. `thing`: "the name \"web\"".
    bool add(const Key& key, Place place, std::string_view thing, Problems& problems)
    {
        const auto [first, is_new] = places_.emplace(key, place);
        if (!is_new)
            problems.add(place, fmt::format("{} is there twice", thing),
                fmt::format("change or remove this one or the one in line {}", first->second.line));
        return is_new;
    }

private:
    std::map<Key, Place> places_;
};

} // namespace featherlb
