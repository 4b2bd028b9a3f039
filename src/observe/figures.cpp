// SPDX-License-Identifier: Apache-2.0
#include "observe/figures.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

namespace featherlb {

std::string short_number(std::uint64_t number, unsigned step, const char* unit)
{
    static constexpr std::array<const char*, 7> prefixes{"", "k", "M", "G", "T", "P", "E"};
    double value = static_cast<double>(number);
    std::size_t prefix = 0;
    while (value >= step - 0.5 && prefix + 1 < prefixes.size()) {
        value /= step;
        ++prefix;
    }
    if (prefix == 0)
        return *unit == '\0' ? fmt::format("{}", number) : fmt::format("{} {}", number, unit);
    const int decimals = value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
    return fmt::format("{:.{}f} {}{}{}", value, decimals, prefixes[prefix], step == 1024 ? "i" : "", unit);
}

std::string short_duration(double seconds)
{
    const auto whole = static_cast<std::uint64_t>(std::max(seconds, 0.0));
    if (whole < 60)
        return fmt::format("{} s", whole);
    if (whole < 3600)
        return fmt::format("{} min {} s", whole / 60, whole % 60);
    if (whole < 86400)
        return fmt::format("{} h {} min", whole / 3600, whole / 60 % 60);
    return fmt::format("{} d {} h", whole / 86400, whole / 3600 % 24);
}

} // namespace featherlb
