// SPDX-License-Identifier: Apache-2.0
#include "observe/top_text.h"

#include <algorithm>
#include <array>
#include <cmath>

#include <fmt/format.h>

#include "observe/figures.h"

namespace featherlb {

namespace {

using Style = TopLine::Style;

constexpr std::size_t least_width = 60;
constexpr std::size_t all_shown = 40; // rows up to which backends are shown unasked
constexpr std::size_t state_width = 10;
constexpr std::size_t number_width = 7;

std::string number(double value, const char* unit = "")
{
    return value < 10 && value >= 0.05 ? fmt::format("{:.1f}{}{}", value, *unit == '\0' ? "" : " ", unit)
                                       : short_number(static_cast<std::uint64_t>(std::llround(value)), 1000, unit);
}

// ASCII text, cut where it is too long.
std::string fit(const std::string& text, std::size_t width)
{
    if (width == 0)
        return "";
    if (text.size() <= width)
        return fmt::format("{:<{}}", text, width);
    return text.substr(0, width - 1) + "~";
}

struct TopRow {
    const ServiceStatus* service = nullptr;
    const BackendStatus* backend = nullptr; // null: the service's own
};

// Columns of which the width depends on the screen's.
struct Layout {
    explicit Layout(std::size_t width)
    {
        const std::size_t fixed = state_width + 4 * (number_width + 1) + 1;
        const std::size_t rest = width > fixed ? width - fixed : 0;
        spark = std::min<std::size_t>(rest > 22 ? rest - 22 : 0, 60);
        name = rest - spark - (spark > 0 ? 1 : 0);
    }
    std::size_t name = 0;
    std::size_t spark = 0;
};

std::string row_text(const Layout& layout, const std::string& name, const std::string& state,
    const std::array<std::string, 4>& numbers, const std::string& spark)
{
    std::string text = fit(name, layout.name) + ' ' + fit(state, state_width);
    for (const std::string& one : numbers)
        text += fmt::format(" {:>{}}", one, number_width);
    return spark.empty() ? text : text + ' ' + spark;
}

std::array<std::string, 4> numbers_of(std::uint64_t open, const Rate& rate)
{
    return {short_number(open, 1000, ""), number(rate.connections), number(rate.packets()), number(rate.bits())};
}

std::size_t used_backends(const ServiceStatus& service)
{
    return static_cast<std::size_t>(std::ranges::count_if(service.backends, &BackendStatus::used));
}

TopLine service_line(const Rates& rates, const ServiceStatus& service, const Layout& layout, const TopView& view)
{
    const std::size_t used = used_backends(service);
    std::string state = fmt::format("{}/{} used", used, service.backends.size());
    Style style = Style::strong;
    const bool all = std::ranges::all_of(service.backends,
        [](const BackendStatus& backend) { return backend.state == "up" || backend.state == "standby"; });
    if (!all)
        style = Style::warning;
    if (service.panic || service.refusing || used == 0) {
        state = service.panic ? "PANIC" : service.refusing ? "refusing" : state;
        style = Style::bad;
    }
    if (service.state == "draining")
        state = "draining";
    return {row_text(layout, service.name, state, numbers_of(Rates::open(service), rates.of(service)),
                layout.spark > 0 ? sparkline(rates.history(service), layout.spark, view.unicode) : ""),
        style};
}

TopLine backend_line(const Rates& rates, const TopRow& row, const Layout& layout)
{
    const BackendStatus& backend = *row.backend;
    const std::string name = backend.name.empty() || backend.name == backend.address
                                 ? backend.address
                                 : fmt::format("{} {}", backend.name, backend.address);
    const Style style = backend.state == "up" || backend.state == "standby" ? Style::plain
                        : backend.state == "down"                           ? Style::bad
                                                                            : Style::warning;
    std::string words;
    if (!backend.reason.empty())
        words = backend.reason.substr(0, layout.spark);
    else if (backend.slow_start_percent < 100)
        words = fmt::format("{} % so far", backend.slow_start_percent).substr(0, layout.spark);
    return {
        row_text(layout, "  " + name, backend.state, numbers_of(backend.open, rates.of(*row.service, backend)), words),
        style};
}

double weight_of(const Rates& rates, const ServiceStatus& service, TopOrder order)
{
    switch (order) {
    case TopOrder::connections:
        return rates.of(service).connections;
    case TopOrder::open:
        return static_cast<double>(Rates::open(service));
    case TopOrder::packets:
        return rates.of(service).packets();
    default:
        return rates.of(service).bits();
    }
}

std::vector<TopRow> rows_of(const Rates& rates, const TopView& view)
{
    std::vector<const ServiceStatus*> services;
    std::size_t all = 0;
    for (const ServiceStatus& service : rates.status().services) {
        services.push_back(&service);
        all += 1 + service.backends.size();
    }
    if (view.order != TopOrder::configured)
        std::ranges::stable_sort(services, std::greater<>{},
            [&](const ServiceStatus* service) { return weight_of(rates, *service, view.order); });
    std::vector<TopRow> rows;
    for (const ServiceStatus* service : services) {
        rows.push_back({service, nullptr});
        if ((all <= all_shown) != view.turned.contains(service->name)) {
            for (const BackendStatus& backend : service->backends)
                rows.push_back({service, &backend});
        }
    }
    return rows;
}

std::vector<TopLine> head(const Rates& rates, const TopView& view)
{
    const Status& status = rates.status();
    std::vector<TopLine> lines;
    const std::string title = fmt::format("featherlb {}, up {}", status.version, short_duration(status.uptime_seconds));
    const std::string right = view.paused ? "paused" : view.clock;
    const std::size_t gap = view.width > title.size() + right.size() ? view.width - title.size() - right.size() : 1;
    lines.push_back({title + std::string(gap, ' ') + right, Style::strong});
    std::uint64_t open = 0;
    for (const ServiceStatus& service : status.services)
        open += Rates::open(service);
    const Rate& all = rates.all();
    lines.push_back(
        {fmt::format("open {}   new {}/s   packets {}/s   in {}bit/s   out {}bit/s", short_number(open, 1000, ""),
             number(all.connections), number(all.packets()), number(8 * all.bytes_in), number(8 * all.bytes_out)),
            Style::plain});
    double dropped = 0;
    std::string reasons;
    for (const DropRate& drop : rates.drops()) {
        dropped += drop.packets;
        reasons += fmt::format("{}{} {}", reasons.empty() ? ": " : ", ", drop.reason, number(drop.packets));
    }
    const FlowsStatus& flows = status.flows;
    lines.push_back(
        {fmt::format("table {} of {} for each IP version   drops {}/s{}", short_number(flows.connections, 1000, ""),
             short_number(flows.capacity, 1000, ""), number(dropped), reasons),
            dropped > 0 ? Style::warning : Style::plain});
    if (!rates.history().empty()) {
        const double peak = std::ranges::max(rates.history());
        const std::string words = fmt::format("packets/s, most {} ", number(peak));
        lines.push_back({words + sparkline(rates.history(), view.width - words.size(), view.unicode), Style::good});
    }
    for (const InterfaceStatus& interface : status.interfaces) {
        if (!interface.attached)
            lines.push_back({fmt::format("{} is not attached: {}", interface.name, interface.problem), Style::bad});
    }
    if (!status.problem.empty())
        lines.push_back({"trying again: " + status.problem, Style::bad});
    if (!view.notice.empty())
        lines.push_back({view.notice, Style::bad});
    return lines;
}

// By characters, not bytes: sparklines are UTF-8.
void cut(std::string& text, std::size_t width)
{
    std::size_t seen = 0;
    for (std::size_t at = 0; at < text.size(); ++at) {
        if ((static_cast<unsigned char>(text[at]) & 0xc0) != 0x80 && ++seen > width) {
            text.resize(at);
            return;
        }
    }
}

} // namespace

const char* to_string(TopOrder order)
{
    static constexpr std::array<const char*, 5> names{"configuration", "new/s", "open", "packets/s", "bit/s"};
    return names.at(static_cast<std::size_t>(order));
}

std::string sparkline(const std::deque<double>& values, std::size_t width, bool unicode)
{
    static constexpr std::array<const char*, 9> blocks{" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    static constexpr std::array<const char*, 9> ascii{" ", ".", ":", "-", "=", "+", "*", "%", "#"};
    const std::size_t shown = std::min(width, values.size());
    const auto begin = values.end() - static_cast<std::ptrdiff_t>(shown);
    const double most = shown == 0 ? 0 : *std::max_element(begin, values.end());
    std::string text(width - shown, ' ');
    for (auto value = begin; value != values.end(); ++value) {
        const double part = most > 0 ? std::clamp(*value / most, 0.0, 1.0) : 0;
        const auto level = *value <= 0 ? 0 : static_cast<std::size_t>(std::ceil(part * 8));
        text += (unicode ? blocks : ascii).at(level);
    }
    return text;
}

std::vector<TopLine> draw_top(const Rates& rates, TopView& view)
{
    view.width = std::max(view.width, least_width);
    std::vector<TopLine> lines = head(rates, view);
    const Layout layout(view.width);
    lines.push_back({"", Style::plain});
    lines.push_back({row_text(layout, "SERVICE", "STATE", {"OPEN", "NEW/S", "PKT/S", "BIT/S"},
                         layout.spark >= 9 ? "PACKETS/S" : ""),
        Style::heading});
    const std::vector<TopRow> rows = rows_of(rates, view);
    const std::size_t below = view.keys ? 1 : 0;
    const std::size_t taken = lines.size() + below;
    const std::size_t room = view.height == 0 ? rows.size() : view.height > taken ? view.height - taken : 1;
    view.rows = rows.size();
    view.selected = std::min(view.selected, rows.empty() ? 0 : rows.size() - 1);
    view.first = std::min({view.first, view.selected, rows.size() > room ? rows.size() - room : 0});
    view.first = std::max(view.first, view.selected >= room ? view.selected - room + 1 : 0);
    view.selected_service = rows.empty() ? "" : rows[view.selected].service->name;
    for (std::size_t i = view.first; i < rows.size() && i < view.first + room; ++i) {
        lines.push_back(rows[i].backend != nullptr ? backend_line(rates, rows[i], layout)
                                                   : service_line(rates, *rows[i].service, layout, view));
        if (view.keys && i == view.selected)
            lines.back().style = Style::selected;
    }
    if (view.keys) {
        while (view.height != 0 && lines.size() + below < view.height)
            lines.push_back({"", Style::plain});
        lines.push_back(
            {fmt::format("q quit  up/down move  enter backends  s sort: {}  p pause", to_string(view.order)),
                Style::heading});
    }
    for (TopLine& line : lines)
        cut(line.text, view.width);
    return lines;
}

} // namespace featherlb
