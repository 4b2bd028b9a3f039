// SPDX-License-Identifier: Apache-2.0
// YAML text -> a tree of values with places. yaml-cpp reads the tokens; what it lets pass is refused here: bytes
// that are not UTF-8, control characters, tabs as indentation, quotes that are never closed, values over several
// lines, several documents, and the features that a configuration has no need of (anchors, aliases, tags, merge
// keys, block text), so nothing in the tree can be shared, endless or deep. What the values mean is not known here.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <tl/expected.hpp>

#include "config/config.h"

namespace featherlb {

struct Entry;

struct Node {
    enum class Kind { null, scalar, sequence, mapping };
    Kind kind = Kind::null;
    Place place;
    std::string text;           // of a scalar, quotes removed
    bool quoted = false;        // a scalar that was written in quotes: never a number or a boolean
    std::vector<Node> items;    // of a sequence
    std::vector<Entry> entries; // of a mapping, in the order of the file; doubled keys are all there
};

struct Entry {
    Node key; // always a scalar
    Node value;
};

// `text` is all of the file. The root is a mapping, or what else `root` says. Fails with at least one problem.
[[nodiscard]] tl::expected<Node, std::vector<Problem>> parse_document(
    std::string_view text, Node::Kind root = Node::Kind::mapping);

} // namespace featherlb
