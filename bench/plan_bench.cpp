// SPDX-License-Identifier: Apache-2.0
// What a change of the configuration costs with many services: reading the file, planning, comparing, and with --apply
// (needs root) writing to maps. Processor time, medians of several rounds, in milliseconds, each step
// by itself:
//   load     text -> Config              plan     Config -> Tables, with nothing there
//   replan   the same once more          change   with one backend down, and with one less in the file
#include <algorithm>
#include <ctime>
#include <map>
#include <set>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "base/log.h"
#include "daemon/room.h"
#include "kernel/dataplane.h"
#include "plan/partial.h"

namespace {

using namespace featherlb;

// Of this process: on a machine with other work that says more than the clock on the wall.
double milliseconds()
{
    timespec now{};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) * 1e3 + static_cast<double>(now.tv_nsec) / 1e6;
}

struct Shape {
    std::uint32_t services = 10'000;
    std::uint32_t backends = 2; // of each
    std::string algorithm = "maglev";
};

IpAddress address_of(std::uint32_t number)
{
    flb_addr bytes{};
    bytes.bytes[0] = 10;
    for (unsigned i = 1; i < 4; i++)
        bytes.bytes[i] = static_cast<std::uint8_t>(number >> (24 - 8 * i));
    return IpAddress::from_abi(bytes, Family::ipv4);
}

// Every service has a port of its own on one of 16 addresses; backends share 4,096 addresses.
std::string text_of(const Shape& shape, bool without_last)
{
    std::string text = fmt::format("defaults: {{algorithm: {}}}\nservices:\n", shape.algorithm);
    for (std::uint32_t i = 0; i < shape.services; i++) {
        text += fmt::format("  - name: service-{}\n    listen: \"198.51.100.{}:{}/tcp\"\n    backends:\n", i,
            1 + i % 16, 1000 + i / 16);
        const bool last = without_last && i + 1 == shape.services;
        for (std::uint32_t k = 0; k < shape.backends - (last ? 1 : 0); k++) {
            const std::uint32_t number = i * shape.backends + k;
            text += fmt::format("      - {{address: \"{}:{}\"}}\n", address_of(0x10000 + number % 4096).to_string(),
                8000 + number / 4096);
        }
    }
    return text;
}

Config read(const std::string& text)
{
    auto config = parse_config(text, "bench.yaml");
    if (!config) {
        fmt::print(stderr, "{}", config.error().format());
        std::exit(1);
    }
    return std::move(*config);
}

World world_of()
{
    World world;
    const IpAddress own = address_of(1);
    world.local_addresses = {own};
    world.homes[own] = 3;
    for (std::uint32_t i = 0; i < 4096; i++)
        world.next_hops[address_of(0x10000 + i)] =
            NextHop{.hop = {.mac = {2, 0, 0, 0, 0, 1}, .link = 3, .vlan = {}}, .mtu = 1500, .source = own};
    return world;
}

template <typename T>
T checked(Result<T> result)
{
    if (result)
        return std::move(*result);
    fmt::print(stderr, "{}\n", describe(result.error()));
    std::exit(1);
}

class Times {
public:
    template <typename F>
    auto measure(const std::string& what, F step)
    {
        const double begun = milliseconds();
        auto result = step();
        const double took = milliseconds() - begun;
        const auto [times, is_new] = times_.try_emplace(what);
        if (is_new)
            order_.push_back(what);
        times->second.push_back(took);
        return result;
    }
    void print()
    {
        for (const std::string& what : order_) {
            std::vector<double>& times = times_.at(what);
            std::ranges::sort(times);
            fmt::print("{:<34}{:>10.2f} ms\n", what, times[times.size() / 2]);
        }
    }

private:
    std::map<std::string, std::vector<double>> times_;
    std::vector<std::string> order_;
};

struct Bench {
    Shape shape;
    Times times;
    std::optional<DataPlane> plane;
    Limits limits;

    Tables plan(const std::string& name, const Config& config, const World& world, const Tables& have)
    {
        Tables want =
            times.measure("plan: " + name, [&] { return checked(make_tables(config, world, have, {}, limits)); });
        const auto changes = times.measure("diff: " + name, [&] { return diff(have, want); });
        if (plane)
            times.measure("apply: " + name, [&] {
                if (auto done = plane->apply(want, changes); !done)
                    fmt::print(stderr, "{}\n", describe(done.error()));
                return changes.size();
            });
        return want;
    }

    void round()
    {
        const std::string text = text_of(shape, false);
        const Config config = times.measure("load", [&] { return read(text); });
        const Config less = read(text_of(shape, true));
        World world = world_of();
        const Tables all = plan("all new", config, world, plane ? checked(plane->read()) : Tables{});
        Tables same = plan("nothing changed", config, world, all);
        world.down = {{"service-7", all.backends.at(id_of(all, "service-7")).endpoint}};
        const Tables down = plan("one backend down", config, world, same);
        down_alone(config, world, same);
        const Tables removed = plan("one backend less in the file", less, world, down);
        if (plane)
            (void)times.measure("read back", [&] { return checked(plane->read()); });
    }

    // As the controller does when a health check has failed.
    void down_alone(const Config& config, const World& world, Tables have)
    {
        const ServiceNames names{"service-7"};
        World near = world; // the controller asks for these alone
        std::set<IpAddress> asked;
        for (const auto& [id, row] : part_of(have, names).backends)
            asked.insert(row.endpoint.address);
        std::erase_if(near.next_hops, [&](const auto& entry) { return !asked.contains(entry.first); });
        const auto plan = times.measure("plan of one service: one backend down", [&]() -> PartialPlan {
            const Tables part = part_of(have, names);
            return checked(make_partial_plan(config, near, part, {}, limits, names)).value();
        });
        if (plane)
            times.measure("apply of one service", [&] {
                if (auto done = plane->apply_rows(plan.want, plan.changes); !done)
                    fmt::print(stderr, "{}\n", describe(done.error()));
                return plan.changes.size();
            });
        times.measure("carry over", [&] {
            carry_over(plan, have);
            return 0;
        });
    }

    static BackendId id_of(const Tables& tables, std::string_view service)
    {
        for (const auto& [id, row] : tables.backends)
            if (tables.services.at(row.service).name == service)
                return id;
        return 0;
    }
};

} // namespace

int main(int argc, char** argv)
{
    CLI::App app("What a change of the configuration costs with many services.");
    Bench bench;
    int rounds = 3;
    bool apply = false;
    app.add_option("--services", bench.shape.services, "services, at least 8");
    app.add_option("--backends", bench.shape.backends, "backends of each");
    app.add_option("--algorithm", bench.shape.algorithm, "of all");
    app.add_option("--rounds", rounds, "the median is reported");
    app.add_flag("--apply", apply, "writes to maps, too; needs root");
    CLI11_PARSE(app, argc, argv);

    const DataPlaneSizes sizes = sizes_for(read(text_of(bench.shape, false)));
    bench.limits = {.services = sizes.services, .backends = sizes.backends, .slots = sizes.slots, .prefixes = 0};
    for (int i = 0; i < rounds; i++) {
        if (apply) {
            bench.plane.reset();
            DataPlaneOptions options;
            options.pins = "";
            options.sizes = sizes;
            options.sizes.flows_max = 1024;
            bench.plane.emplace(checked(DataPlane::open(options)));
        }
        bench.round();
    }
    fmt::print("{} services of {} backends, {}\n", bench.shape.services, bench.shape.backends, bench.shape.algorithm);
    bench.times.print();
    return 0;
}
