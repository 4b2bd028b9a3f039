// SPDX-License-Identifier: Apache-2.0
#include "config/values.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdlib>

#include <fmt/format.h>

#include "base/text.h"
#include "config/words.h"

namespace featherlb {

namespace {

constexpr std::string_view digits = "0123456789";
constexpr std::string_view range_example = "write a range of ports such as 1024-32767";
constexpr DurationLimits usual_limits{std::chrono::seconds(1), longest_duration};

bool all_digits(std::string_view text)
{
    return !text.empty() && text.find_first_not_of(digits) == std::string_view::npos;
}

std::string lower(std::string_view text)
{
    std::string result(text);
    std::transform(result.begin(), result.end(), result.begin(),
        [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c; });
    return result;
}

// What at least one common YAML reader takes for a boolean.
bool is_boolean(std::string_view text)
{
    static constexpr auto words = std::to_array<std::string_view>({"true", "false", "yes", "no", "on", "off"});
    return std::find(words.begin(), words.end(), lower(text)) != words.end();
}

// strtod reads what YAML readers read and a little more (inf, nan, hexadecimal floats): all of that is a number here.
std::optional<double> as_float(std::string_view text)
{
    if (text.empty() || text.size() > 40 || text.front() == ' ')
        return std::nullopt;
    const std::string terminated(text);
    char* end = nullptr;
    const double value = std::strtod(terminated.c_str(), &end);
    return end == terminated.c_str() + terminated.size() ? std::optional(value) : std::nullopt;
}

bool is_number(std::string_view text)
{
    if (text.starts_with("0o") && text.size() > 2)
        return text.find_first_not_of("01234567", 2) == std::string_view::npos;
    return as_float(text).has_value() && text.find_first_of(digits) != std::string_view::npos;
}

// The whole number that `text` was meant to be, if there can be no doubt.
std::optional<std::uint64_t> meant_number(std::string_view text)
{
    if (all_digits(text)) {
        const std::size_t first = text.find_first_not_of('0');
        return parse_decimal(first == std::string_view::npos ? "0" : text.substr(first));
    }
    const auto value = as_float(text);
    if (!value || !(*value >= 0) || *value > 9e15 || *value != std::floor(*value))
        return std::nullopt;
    return static_cast<std::uint64_t>(*value);
}

std::string number_remedy(std::string_view text, Limits64 limits)
{
    const auto meant = meant_number(text);
    if (meant && *meant >= limits.least && *meant <= limits.most)
        return fmt::format("write {}", *meant);
    return fmt::format("write a decimal number from {} to {}", limits.least, limits.most);
}

struct Unit {
    std::string_view name;
    std::uint64_t milliseconds;
};
constexpr auto units =
    std::to_array<Unit>({{"ms", 1}, {"s", 1000}, {"m", 60'000}, {"h", 3'600'000}, {"d", 86'400'000}});

struct Spelling {
    std::string_view wrong;
    std::string_view right;
};
constexpr auto spellings = std::to_array<Spelling>({{"sec", "s"}, {"secs", "s"}, {"second", "s"}, {"seconds", "s"},
    {"min", "m"}, {"mins", "m"}, {"minute", "m"}, {"minutes", "m"}, {"hour", "h"}, {"hours", "h"}, {"hr", "h"},
    {"day", "d"}, {"days", "d"}, {"msec", "ms"}, {"millis", "ms"}, {"", "s"}});

std::string duration_remedy(std::string_view number, std::string_view unit)
{
    std::string word = lower(unit);
    word.erase(0, word.find_first_not_of(' ') == std::string::npos ? word.size() : word.find_first_not_of(' '));
    const auto* known = std::find_if(units.begin(), units.end(), [&](const Unit& u) { return u.name == word; });
    const auto* wrong =
        std::find_if(spellings.begin(), spellings.end(), [&](const Spelling& s) { return s.wrong == word; });
    const auto value = meant_number(number);
    if (value && all_digits(number) && known != units.end())
        return fmt::format("write {}{}", *value, known->name);
    if (value && all_digits(number) && wrong != spellings.end())
        return fmt::format("write {}{}", *value, wrong->right);
    return "write a whole number with ms, s, m, h or d, such as 30s, 10m or 2h";
}

} // namespace

std::optional<std::uint64_t> parse_decimal(std::string_view text)
{
    if (!all_digits(text) || (text.size() > 1 && text.front() == '0'))
        return std::nullopt;
    std::uint64_t value = 0;
    const auto read = std::from_chars(text.data(), text.data() + text.size(), value);
    return read.ec == std::errc{} ? std::optional(value) : std::nullopt;
}

std::optional<std::string> read_text(const Node& node, std::string_view setting, Problems& problems)
{
    const auto refuse = [&](std::string_view instead, std::string remedy) {
        problems.add(node.place, fmt::format("{} must be text, not {}", setting, instead), std::move(remedy));
        return std::nullopt;
    };
    if (node.kind != Node::Kind::scalar)
        return refuse(describe(node), "write one value");
    if (!node.quoted && is_boolean(node.text))
        return refuse(fmt::format("the boolean {}", node.text), fmt::format("put it in quotes: {}", quote(node.text)));
    if (!node.quoted && is_number(node.text))
        return refuse(fmt::format("the number {}", node.text), fmt::format("put it in quotes: {}", quote(node.text)));
    if (node.text.empty())
        return refuse("an empty text", "write a value, or remove the key");
    return node.text;
}

bool says_none(const Node& node)
{
    return node.kind == Node::Kind::scalar && node.text == "none";
}

std::optional<std::uint64_t> read_number(
    const Node& node, std::string_view setting, Limits64 limits, Quotes quotes, Problems& problems)
{
    if (node.kind != Node::Kind::scalar) {
        problems.add(node.place, fmt::format("{} must be a whole number, not {}", setting, describe(node)),
            number_remedy("", limits));
        return std::nullopt;
    }
    if (node.quoted && quotes == Quotes::refused) {
        problems.add(node.place, fmt::format("{} must be a number, not the text {}", setting, quote(node.text)),
            number_remedy(node.text, limits) + " without quotes");
        return std::nullopt;
    }
    const auto value = parse_decimal(node.text);
    if (!value && !(all_digits(node.text) && node.text.front() != '0')) {
        problems.add(node.place,
            fmt::format("{} must be a whole number in decimal digits, not {}", setting, quote(node.text)),
            number_remedy(node.text, limits));
        return std::nullopt;
    }
    if (!value || *value < limits.least || *value > limits.most) {
        problems.add(node.place,
            fmt::format("{} must be from {} to {}, not {}", setting, limits.least, limits.most, quote(node.text)),
            number_remedy("", limits));
        return std::nullopt;
    }
    return value;
}

std::string write_duration(std::chrono::milliseconds duration)
{
    const auto count = static_cast<std::uint64_t>(duration.count());
    if (count == 0)
        return "0s";
    const auto* unit = std::find_if(units.rbegin(), units.rend(), [count](const Unit& u) {
        return count % u.milliseconds == 0;
    }).base() - 1;
    return fmt::format("{}{}", count / unit->milliseconds, unit->name);
}

std::optional<std::chrono::milliseconds> read_milliseconds(
    const Node& node, std::string_view setting, DurationLimits limits, Problems& problems)
{
    const auto refuse = [&](std::string what, std::string remedy) {
        problems.add(node.place, fmt::format("{} {}", setting, what), std::move(remedy));
        return std::nullopt;
    };
    if (node.kind != Node::Kind::scalar)
        return refuse(fmt::format("must be a duration, not {}", describe(node)), "write a duration such as 30s");
    const std::string_view text = node.text;
    const std::size_t end = std::min(text.find_first_not_of(digits), text.size());
    const std::string_view number = text.substr(0, end);
    const std::string_view unit_name = text.substr(end);
    if (!number.empty() && unit_name.empty())
        return refuse(fmt::format("has no unit: {}", quote(text)), duration_remedy(number, unit_name));
    const auto* unit = std::find_if(units.begin(), units.end(), [&](const Unit& u) { return u.name == unit_name; });
    const bool leading_zero = number.size() > 1 && number.front() == '0';
    if (number.empty() || leading_zero || unit == units.end())
        return refuse(fmt::format("is not a duration: {}", quote(text)), duration_remedy(number, unit_name));
    const auto value = parse_decimal(number);
    const auto least = static_cast<std::uint64_t>(limits.least.count());
    const auto most = static_cast<std::uint64_t>(limits.most.count());
    if (!value || *value > most / unit->milliseconds || *value * unit->milliseconds < least)
        return refuse(fmt::format("must be from {} to {}, not {}", write_duration(limits.least),
                          write_duration(limits.most), quote(text)),
            fmt::format("write a duration such as {}", most < 30'000 ? write_duration(limits.most) : "30s"));
    return std::chrono::milliseconds(*value * unit->milliseconds);
}

std::optional<std::chrono::seconds> read_seconds(
    const Node& node, std::string_view setting, DurationLimits limits, Problems& problems)
{
    const auto duration = read_milliseconds(node, setting, limits, problems);
    if (!duration)
        return std::nullopt;
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(*duration);
    if (seconds == *duration)
        return seconds;
    problems.add(node.place, fmt::format("{} must be whole seconds, not {}", setting, quote(node.text)),
        fmt::format("write {}s or {}s", seconds.count(), seconds.count() + 1));
    return std::nullopt;
}

std::optional<std::chrono::seconds> read_duration(const Node& node, std::string_view setting, Problems& problems)
{
    return read_seconds(node, setting, usual_limits, problems);
}

std::optional<std::uint32_t> read_percent(const Node& node, std::string_view setting, Problems& problems)
{
    const auto refuse = [&](std::string what, std::string remedy) {
        problems.add(node.place, fmt::format("{} {}", setting, what), std::move(remedy));
        return std::nullopt;
    };
    static constexpr std::string_view example = "write a whole number from 0 to 100 with %, such as 30%";
    if (node.kind != Node::Kind::scalar)
        return refuse(fmt::format("must be a percentage, not {}", describe(node)), std::string(example));
    const std::string_view text = node.text;
    const auto bare = parse_decimal(text);
    if (bare && *bare <= 100)
        return refuse(fmt::format("has no %: {}", quote(text)), fmt::format("write {}%", *bare));
    const auto value = text.ends_with('%') ? parse_decimal(text.substr(0, text.size() - 1)) : std::nullopt;
    if (!value)
        return refuse(fmt::format("is not a percentage: {}", quote(text)), std::string(example));
    if (*value > 100)
        return refuse(fmt::format("must be from 0% to 100%, not {}", quote(text)), std::string(example));
    return static_cast<std::uint32_t>(*value);
}

std::optional<bool> read_boolean(const Node& node, std::string_view setting, Problems& problems)
{
    const auto index = read_word(node, setting, words::boolean, {}, problems);
    return index ? std::optional(*index == 1) : std::nullopt;
}

std::optional<PortRange> read_port_range(const Node& node, std::string_view setting, Problems& problems)
{
    const auto refuse = [&](std::string what, std::string instead = std::string(range_example)) {
        problems.add(node.place, fmt::format("{} {}", setting, what), std::move(instead));
        return std::nullopt;
    };
    if (node.kind != Node::Kind::scalar)
        return refuse(fmt::format("must be a range of ports, not {}", describe(node)));
    const std::string_view text = node.text;
    const std::size_t dash = text.find('-');
    if (dash == std::string_view::npos)
        return refuse(fmt::format("must be a range FIRST-LAST, not {}", quote(text)));
    const std::string_view ends[] = {text.substr(0, dash), text.substr(dash + 1)};
    std::uint16_t ports[2] = {};
    for (std::size_t i = 0; i < 2; ++i) {
        const auto port = parse_decimal(ends[i]);
        if (!port && !(all_digits(ends[i]) && ends[i].front() != '0'))
            return refuse(fmt::format("must be a range FIRST-LAST of decimal numbers, not {}", quote(text)));
        if (!port || *port < 1 || *port > 65535)
            return refuse(fmt::format("must lie within 1 and 65535, not {}", quote(text)));
        ports[i] = static_cast<std::uint16_t>(*port);
    }
    if (ports[0] > ports[1])
        return refuse(
            fmt::format("begins behind its end: {}", quote(text)), fmt::format("write {}-{}", ports[1], ports[0]));
    return PortRange{ports[0], ports[1]};
}

std::optional<std::size_t> read_word(const Node& node, std::string_view setting,
    std::span<const std::string_view> known, std::span<const std::string_view> later, Problems& problems)
{
    const std::string supported = fmt::format("supported: {}", join(known));
    if (node.kind != Node::Kind::scalar) {
        problems.add(node.place, fmt::format("{} must be one word, not {}", setting, describe(node)), supported);
        return std::nullopt;
    }
    const auto found = std::find(known.begin(), known.end(), node.text);
    if (found != known.end())
        return static_cast<std::size_t>(found - known.begin());
    const std::string name = quote(node.text);
    if (std::find(later.begin(), later.end(), node.text) != later.end()) {
        problems.add(node.place, fmt::format("this version does not support {} {} yet", setting, name), supported);
        return std::nullopt;
    }
    std::string remedy = supported;
    if (const auto meant = closest(node.text, known))
        remedy = fmt::format("did you mean \"{}\"? {}", *meant, supported);
    else if (const auto later_meant = closest(node.text, later))
        remedy = fmt::format("did you mean \"{}\"? this version does not support it yet; {}", *later_meant, supported);
    problems.add(node.place, fmt::format("unknown {} {}", setting, name), std::move(remedy));
    return std::nullopt;
}

std::optional<std::string> read_name(const Node& node, std::string_view setting, Problems& problems)
{
    static constexpr std::string_view allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    auto text = read_text(node, setting, problems);
    if (!text)
        return std::nullopt;
    if (text->size() > FLB_NAME_MAX - 1) {
        problems.add(node.place, fmt::format("{} is {} bytes long: {}", setting, text->size(), quote(*text)),
            fmt::format("use at most {}", FLB_NAME_MAX - 1));
        return std::nullopt;
    }
    const std::size_t bad = text->find_first_not_of(allowed);
    if (bad != std::string::npos) {
        problems.add(node.place, fmt::format("{} has a character that is not allowed: {}", setting, quote(*text)),
            "use letters, digits, '.', '_' and '-'");
        return std::nullopt;
    }
    return text;
}

} // namespace featherlb
