// SPDX-License-Identifier: Apache-2.0
#include "report.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <optional>

#include <nlohmann/json.hpp>

#include "die.h"

namespace featherlb::bench {
namespace {

double median(std::vector<double> values)
{
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

std::optional<double> ratio(const Row& row, const std::string& floor)
{
    const auto found = row.ratios.find(floor);
    if (found == row.ratios.end())
        return {};
    return median(found->second);
}

constexpr const char* floor_names[] = {"empty", "header", "memory", "memory+header"};

} // namespace

void print_table(const std::vector<Row>& rows)
{
    fmt::print("{:<78} {:>6} {:>6} {:>6} {:>8} {:>8} {:>8} {:>8} {:>9}\n",
        "ns a packet (medians of interleaved rounds)", "ns", "least", "most", "x empty", "x header", "x memory",
        "x both", "table");
    std::optional<Group> group;
    for (const Row& row : rows) {
        if (group && group != row.what.group)
            fmt::print("\n");
        group = row.what.group;
        const auto [least, most] = std::minmax_element(row.rounds.begin(), row.rounds.end());
        fmt::print("{:<78} {:>6.1f} {:>6.1f} {:>6.1f}", row.what.id(), median(row.rounds), *least, *most);
        for (const std::string floor : floor_names) {
            const auto times = ratio(row, floor);
            fmt::print(" {:>8}", times ? fmt::format("{:.2f}{}", *times, row.what.floor == floor ? "*" : " ") : "");
        }
        fmt::print(" {:>9}\n", row.table_bytes ? fmt::format("{:.1f} MiB", double(row.table_bytes) / (1 << 20)) : "");
    }
    fmt::print("\n* the floor that the row is first of all compared with\n");
}

void write_json(const std::vector<Row>& rows, const std::string& file)
{
    nlohmann::json list = nlohmann::json::array();
    for (const Row& row : rows) {
        nlohmann::json ratios;
        for (const auto& [base, times] : row.ratios)
            ratios[base] = median(times);
        const std::string main = row.what.group == Group::floor ? "empty" : row.what.floor;
        const auto [low, high] = std::minmax_element(row.rounds.begin(), row.rounds.end());
        list.push_back({{"id", row.what.id()}, {"name", row.what.name()}, {"group", to_string(row.what.group)},
            {"hook", row.what.hook == Hook::xdp ? "xdp" : "tc"}, {"floor", main}, {"ns", median(row.rounds)},
            {"low", *low}, {"high", *high}, {"ratio", ratios.value(main, nlohmann::json())}, {"ratios", ratios},
            {"rounds", row.rounds}, {"flows", row.what.flows}, {"table_bytes", row.table_bytes},
            {"packets", row.packets}});
    }
    std::FILE* out = std::fopen(file.c_str(), "w");
    if (!out)
        die("cannot write " + file);
    fmt::print(out, "{}\n", nlohmann::json({{"part", "packet"}, {"rows", list}}).dump(2));
    std::fclose(out);
}

} // namespace featherlb::bench
