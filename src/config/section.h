// SPDX-License-Identifier: Apache-2.0
// The strict walk over the tree: Problems collects what is wrong, Section is one mapping whose keys are checked
// (unknown, doubled, not in this version) when it is made. Reading never stops at the first problem.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "config/document.h"
#include "config/keys.h"

namespace featherlb {

class Problems {
public:
    void add(Place place, std::string what, std::string remedy);
    [[nodiscard]] bool empty() const { return problems_.empty(); }
    [[nodiscard]] std::vector<Problem> take() { return std::move(problems_); }

private:
    std::vector<Problem> problems_;
};

class Section {
public:
    // `node` must outlive it. A node that is no mapping is reported and has no keys; `example` shows the right form.
    Section(const Node& node, const Keys& keys, std::string_view example, Problems& problems);

    // The value of the key; nullptr if the key is not there, or has no value, which is reported.
    [[nodiscard]] const Node* find(std::string_view key) const;
    // The same; a key that is not there is reported with `example` as what to write.
    [[nodiscard]] const Node* require(std::string_view key, std::string_view example) const;
    // Where the key stands, or where the section begins.
    [[nodiscard]] Place place(std::string_view key) const;
    [[nodiscard]] bool has(std::string_view key) const { return entry(key) != nullptr; }
    [[nodiscard]] bool is_mapping() const { return node_.kind == Node::Kind::mapping; }

private:
    [[nodiscard]] const Entry* entry(std::string_view key) const;
    void check_keys() const;
    void report_unknown(const Node& key) const;

    const Node& node_;
    const Keys& keys_;
    Problems& problems_;
};

// "a list", "a mapping", "nothing", or the text in quotes.
[[nodiscard]] std::string describe(const Node& node);

} // namespace featherlb
