// SPDX-License-Identifier: Apache-2.0
#include "guard.h"

#include <algorithm>
#include <fstream>
#include <functional>
#include <map>
#include <vector>

#include <sys/utsname.h>

#include <nlohmann/json.hpp>

#include "die.h"

namespace featherlb::bench {
namespace {

constexpr double most = 1.1;

// Instructions that the verifier has looked at; of a million it refuses the program. Each kernel's verifier counts
// otherwise.
std::map<std::string, std::uint64_t> sizes_of(const DataPlane& plane)
{
    utsname system{};
    uname(&system);
    const std::string release = system.release;
    const std::string kernel = release.substr(0, release.find('.', release.find('.') + 1));
    std::map<std::string, std::uint64_t> sizes;
    for (const ProgramInfo& program : plane.programs())
        sizes[fmt::format("program/{}/verified/linux-{}", program.name, kernel)] = program.instructions;
    return sizes;
}

// Where many connections are, how many entries are looked at is up to the table's random seed.
bool is_counted(const Row& row)
{
    return row.what.hook == Hook::xdp && row.balancer && row.what.fill != Fill::full && row.what.flows <= 1;
}

nlohmann::ordered_json read(const std::string& file)
{
    std::ifstream in(file);
    const auto known = nlohmann::ordered_json::parse(in, nullptr, false);
    return known.is_object() ? known : nlohmann::ordered_json::object();
}

} // namespace

bool guard(Session& session, const std::string& file)
{
    std::map<std::string, std::uint64_t> counts;
    std::map<std::string, std::string> touched;
    for (Row& row : session.rows()) {
        if (!is_counted(row))
            continue;
        const Cost cost = session.count(row);
        counts[row.what.id()] = cost.instructions;
        touched[row.what.id()] = fmt::format("{} look-ups, {} lines of maps", cost.lookups, cost.lines.size());
        counts.merge(sizes_of(row.balancer->plane()));
    }
    const auto known = read(file);
    nlohmann::ordered_json now = known;
    bool good = true, changed = false;
    fmt::print("{:<64} {:>9} {:>9}\n", "instructions of a packet, and of programs as verified", "were", "are");
    for (const auto& [id, count] : counts) {
        const std::uint64_t before = known.value(id, std::uint64_t{0});
        const bool other_kernel = id.starts_with("program/") && before == 0;
        const bool grown = !other_kernel && static_cast<double>(count) > static_cast<double>(before) * most;
        const bool shrunk = static_cast<double>(count) * most < static_cast<double>(before);
        std::string_view remark;
        if (grown)
            remark = "GROWN by more than a tenth";
        else if (other_kernel)
            remark = "not known of this kernel";
        else if (shrunk)
            remark = "less by more than a tenth: give it to the file";
        fmt::print("{:<64} {:>9} {:>9}  {:<30} {}\n", id, before, count, touched[id], remark);
        if (!other_kernel)
            now[id] = count;
        good = good && !grown;
        changed = changed || grown || shrunk;
    }
    if (changed)
        std::ofstream(file + ".new") << now.dump(1) << '\n';
    return good;
}

void profile(Session& session)
{
    constexpr std::size_t most_lines = 12;
    const auto print = [](const std::map<std::string, std::uint64_t>& counts, std::uint64_t all,
                           std::size_t most_shown) {
        std::vector<std::pair<std::uint64_t, std::string>> sorted;
        for (const auto& [name, count] : counts)
            sorted.emplace_back(count, name);
        std::ranges::sort(sorted, std::greater{});
        sorted.resize(std::min(sorted.size(), most_shown));
        for (const auto& [count, name] : sorted)
            fmt::print("  {:>5}  {:>3} %  {}\n", count, count * 100 / all, name);
    };
    for (Row& row : session.rows()) {
        if (!is_counted(row))
            continue;
        const auto by_line = session.profile(row);
        std::map<std::string, std::uint64_t> by_file;
        std::uint64_t all = 0;
        for (const auto& [place, count] : by_line) {
            by_file[place.substr(0, place.find(':'))] += count;
            all += count;
        }
        fmt::print("{}: {} instructions\n", row.what.id(), all);
        print(by_file, all, by_file.size());
        fmt::print("  the lines with most:\n");
        print(by_line, all, most_lines);
    }
}

} // namespace featherlb::bench
