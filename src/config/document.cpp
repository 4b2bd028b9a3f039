// SPDX-License-Identifier: Apache-2.0
#include "config/document.h"

#include <algorithm>
#include <optional>
#include <sstream>

#include <fmt/format.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include "base/text.h"
#include "config/source.h"
#include "config/yaml_error.h"

namespace featherlb {

namespace {

// The deepest sound file has six levels; more only serves to exhaust the stack.
constexpr std::size_t deepest = 16;

constexpr std::string_view one_document = "keep everything in one document";
constexpr std::string_view no_tags = "YAML tags (!name) are not used here";
constexpr std::string_view remove_or_quote = "remove it, or put the text in quotes";
constexpr std::string_view quote_address = R"(put addresses in quotes: "[2001:db8::1]:80/tcp", "*:80/tcp")";

// Ends the parse: what follows cannot be understood or should not be read.
struct Stop {
    Problem problem;
};

// Where a quoted scalar that begins at `start` ends (behind its closing quote); nothing if it does not end.
std::optional<std::size_t> end_of_quotes(std::string_view text, std::size_t start)
{
    const char mark = text[start];
    for (std::size_t at = start + 1; at < text.size(); ++at) {
        const bool escapes = mark == '"' ? text[at] == '\\' : text.substr(at, 2) == "''";
        if (escapes)
            ++at;
        else if (text[at] == mark)
            return at + 1;
    }
    return std::nullopt;
}

// Receives yaml-cpp's events and builds the tree. Features that a configuration does not need are problems, but
// the parse goes on, so that all of them are reported.
class Builder : public YAML::EventHandler {
public:
    explicit Builder(const Source& source) : source_(source) {}

    void OnDocumentStart(const YAML::Mark& mark) override
    {
        if (documents_++ > 0)
            throw Stop{{place(mark), "a second document begins here", std::string(one_document)}};
    }
    void OnDocumentEnd() override {}

    void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override
    {
        check_anchor(mark, anchor);
        Node node;
        node.place = place(mark);
        add(std::move(node));
    }

    void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override
    {
        problem(mark, "YAML aliases (*name) are not used here", "write the value out, or put the text in quotes");
        OnNull(mark, YAML::NullAnchor);
    }

    void OnScalar(
        const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, const std::string& value) override
    {
        const bool plain_start = check_anchor(mark, anchor) && check_tag(mark, tag);
        Node node;
        node.kind = Node::Kind::scalar;
        node.place = place(mark);
        node.text = value;
        node.quoted = tag == "!";
        if (plain_start)
            check_extent(mark, node);
        add(std::move(node));
    }

    void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
        YAML::EmitterStyle::value /*style*/) override
    {
        open(mark, tag, anchor, Node::Kind::sequence);
    }
    void OnSequenceEnd() override { close(); }
    void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
        YAML::EmitterStyle::value /*style*/) override
    {
        open(mark, tag, anchor, Node::Kind::mapping);
    }
    void OnMapEnd() override { close(); }

    [[nodiscard]] Node take_root() { return std::move(root_); }
    [[nodiscard]] std::vector<Problem> take_problems() { return std::move(problems_); }

private:
    // A collection that is being filled; of a mapping, the key that waits for its value.
    struct Open {
        Node node;
        std::optional<Node> key;
    };

    [[nodiscard]] static std::size_t offset(const YAML::Mark& mark)
    {
        return mark.pos < 0 ? 0 : static_cast<std::size_t>(mark.pos);
    }
    [[nodiscard]] Place place(const YAML::Mark& mark) const { return source_.place(offset(mark)); }

    void problem(const YAML::Mark& mark, std::string what, std::string remedy)
    {
        problems_.push_back({place(mark), std::move(what), std::move(remedy)});
    }

    bool check_anchor(const YAML::Mark& mark, YAML::anchor_t anchor)
    {
        if (anchor == YAML::NullAnchor)
            return true;
        problem(mark, "YAML anchors (&name) are not used here", std::string(remove_or_quote));
        return false;
    }

    // yaml-cpp's own: "" and "?" for none, "!" for quoted text.
    bool check_tag(const YAML::Mark& mark, const std::string& tag)
    {
        if (tag.empty() || tag == "?" || tag == "!")
            return true;
        problem(mark, std::string(no_tags), std::string(remove_or_quote));
        return false;
    }

    // A value stands on one line. This also finds the quote that is never closed, which yaml-cpp forgives.
    void check_extent(const YAML::Mark& mark, const Node& node)
    {
        const std::string_view text = source_.text();
        const std::size_t start = std::min(offset(mark), text.size());
        const char first = start < text.size() ? text[start] : '\0';
        if (!node.quoted) {
            if (text.substr(start, node.text.size()) != node.text)
                problem(mark, fmt::format("{} goes over several lines", quote(node.text)),
                    "keep a value on one line; check the indentation, and that no comma or colon is missing");
        } else if (first == '!') {
            problem(mark, std::string(no_tags), std::string(remove_or_quote));
        } else if (first == '"' || first == '\'') {
            const auto end = end_of_quotes(text, start);
            if (!end)
                problem(mark, "a quote is opened here and never closed", fmt::format("close it with {}", first));
            else if (text.substr(start, *end - start).find('\n') != std::string_view::npos)
                problem(mark, "a text in quotes goes over several lines",
                    fmt::format("close it with {} on the same line", first));
        } else {
            problem(mark, "block text (| and >) is not used here", "write the value on one line");
        }
    }

    void open(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, Node::Kind kind)
    {
        check_anchor(mark, anchor);
        check_tag(mark, tag);
        if (stack_.size() >= deepest)
            throw Stop{{place(mark), fmt::format("nested more than {} levels deep", deepest),
                "nothing in this file needs so many; check brackets and indentation"}};
        Open collection;
        collection.node.kind = kind;
        collection.node.place = place(mark);
        stack_.push_back(std::move(collection));
    }

    void close()
    {
        // yaml-cpp closes a mapping that it read "? [a]: b" as once too often; it then names no key.
        Node node = std::move(stack_.back().node);
        stack_.pop_back();
        add(std::move(node));
    }

    void add(Node node)
    {
        if (++values_ > most_values)
            throw Stop{too_many_values(node.place)};
        if (stack_.empty()) {
            root_ = std::move(node);
            return;
        }
        Open& parent = stack_.back();
        if (parent.node.kind == Node::Kind::sequence) {
            parent.node.items.push_back(std::move(node));
        } else if (!parent.key) {
            parent.key = std::move(node);
        } else {
            add_entry(parent, std::move(node));
        }
    }

    void add_entry(Open& parent, Node value)
    {
        Node key = std::move(*parent.key);
        parent.key.reset();
        if (key.kind == Node::Kind::null) {
            problems_.push_back({key.place, "a key is missing here", "write key: value; check commas and colons"});
        } else if (key.kind != Node::Kind::scalar) {
            problems_.push_back({key.place, "a list or mapping where a key should be", std::string(quote_address)});
        } else if (key.text == "<<" && !key.quoted) {
            problems_.push_back({key.place, "YAML merge keys (<<) are not used here", "write the keys out"});
        } else {
            parent.node.entries.push_back({std::move(key), std::move(value)});
        }
    }

    const Source& source_;
    std::vector<Open> stack_;
    Node root_;
    std::vector<Problem> problems_;
    std::size_t documents_ = 0;
    std::size_t values_ = 0;
};

Problem empty_file()
{
    return {{1, 1}, "the file is empty",
        R"(write at least one service: services: [{name: web, listen: "*:80/tcp", backends: [{address: "10.0.0.1:80"}]}])"};
}

} // namespace

tl::expected<Node, std::vector<Problem>> parse_document(std::string_view text, Node::Kind kind)
{
    const Source source(text);
    if (auto problem = source.check())
        return tl::unexpected(std::vector<Problem>{std::move(*problem)});
    Builder builder(source);
    std::vector<Problem> problems;
    try {
        std::istringstream input{std::string(source.text())};
        YAML::Parser parser(input);
        while (parser.HandleNextDocument(builder)) {
        }
        problems = builder.take_problems();
    } catch (const Stop& stop) {
        problems = builder.take_problems();
        problems.push_back(stop.problem);
    } catch (const YAML::Exception& error) {
        problems = builder.take_problems();
        problems.push_back(explain_yaml_error(source, error.mark.pos, error.msg));
    }
    if (!problems.empty())
        return tl::unexpected(std::move(problems));
    Node root = builder.take_root();
    if (root.kind == Node::Kind::null && kind == Node::Kind::mapping)
        return tl::unexpected(std::vector<Problem>{empty_file()});
    if (root.kind != kind && kind == Node::Kind::sequence)
        return tl::unexpected(std::vector<Problem>{
            {root.place, "the file must consist of a list", R"(write [{targets: ["10.0.1.11:8080"]}], or [])"}});
    if (root.kind != kind)
        return tl::unexpected(std::vector<Problem>{{root.place, "the file must consist of settings (key: value)",
            "begin with services:, interfaces: or the like"}});
    return root;
}

} // namespace featherlb
