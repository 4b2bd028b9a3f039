// SPDX-License-Identifier: Apache-2.0
#include "daemon/plane.h"

#include <fstream>
#include <utility>

#include <fmt/format.h>

namespace featherlb {

namespace {

constexpr const char* map_names[] = {"settings", "prefilter", "ifaces", "listeners", "sources", "services", "slots",
    "backends", "snat_addresses", "service_turns", "backend_ports", "backend_marks", "backend_loads",
    "service_responses", "backend_responses", "flows4", "flows6", "backend_counters", "drop_counters", "prefixes",
    "pins", "limit_counts", "limit_rates", "names", "samples", "sample_budgets", "layout", "slot_bounds",
    "backend_chunks"};

// The kernel tells entries and memory of a map in the fdinfo of its descriptor.
MapFacts map_facts(const char* name, int fd)
{
    MapFacts facts{.name = name};
    std::ifstream info(fmt::format("/proc/self/fdinfo/{}", fd));
    std::string key;
    std::uint64_t value = 0;
    for (std::string line; std::getline(info, line);) {
        const std::size_t colon = line.find(':');
        if (colon == std::string::npos)
            continue;
        key = line.substr(0, colon);
        if (key != "max_entries" && key != "memlock")
            continue;
        value = std::strtoull(line.c_str() + colon + 1, nullptr, 10);
        (key == "memlock" ? facts.bytes : facts.entries) = value;
    }
    return facts;
}

class RealPlane : public Plane {
public:
    explicit RealPlane(DataPlane plane) : plane_(std::move(plane)) {}

    bool adopted() const override { return plane_.adopted(); }
    std::vector<std::string> warnings() const override { return plane_.warnings(); }
    DataPlaneSizes sizes() const override { return plane_.sizes(); }
    Limits limits() const override { return plane_.limits(); }
    std::vector<ProgramInfo> programs() const override { return plane_.programs(); }
    std::vector<MapFacts> maps() const override
    {
        std::vector<MapFacts> all;
        for (const char* name : map_names) {
            if (const int fd = plane_.map_fd(name); fd >= 0)
                all.push_back(map_facts(name, fd));
        }
        return all;
    }

    Result<Tables> read() const override { return plane_.read(); }
    Result<void> apply(const Tables& want, const std::vector<Change>& changes) override
    {
        return plane_.apply(want, changes);
    }
    Result<void> apply_rows(const Tables& want, const std::vector<Change>& changes) override
    {
        return plane_.apply_rows(want, changes);
    }

    Result<void> set_interface(const InterfaceRecord& interface) override { return plane_.set_interface(interface); }
    Result<void> remove_interface(std::uint32_t ifindex) override { return plane_.remove_interface(ifindex); }
    std::vector<std::uint32_t> interfaces() const override { return plane_.interfaces(); }
    Result<AttachOutcome> attach(const AttachRequest& request) override { return plane_.attach(request); }
    Result<std::vector<std::string>> detach_others(const std::set<std::uint32_t>& keep) override
    {
        return plane_.detach_others(keep);
    }
    std::vector<Attachment> attachments() const override { return plane_.attachments(); }
    std::optional<CopyReport> copying() const override { return plane_.copying(); }
    Result<CopyReport> finish_copy() override { return plane_.finish_copy(); }

    Result<bool> sweep(std::uint32_t sets) override { return plane_.sweep(sets); }
    const FlowCounts& flow_counts() const override { return plane_.flow_counts(); }
    SweepTotals sweep_totals() const override { return plane_.sweep_totals(); }
    bool idle() const override { return plane_.idle(); }
    Result<bool> list_flows(std::size_t& position, std::uint32_t sets, std::size_t most, const FlowFilter& filter,
        std::vector<Flow>& found) const override
    {
        return plane_.list_flows(position, sets, most, filter, found);
    }
    Result<bool> kill_flows(
        std::size_t& position, std::uint32_t sets, const FlowFilter& filter, std::size_t& killed) override
    {
        return plane_.kill_flows(position, sets, filter, killed);
    }
    double tick_seconds() const override { return plane_.tick_seconds(); }
    std::set<BackendId> resetting() const override { return plane_.resetting(); }
    std::optional<LinkOut> link_out(const flb_hop& hop) const override { return plane_.link_out(hop); }
    BackendCounts backend_counts(BackendId backend) const override { return plane_.backend_counts(backend); }
    std::uint64_t refused(BackendId backend) const override { return plane_.refused(backend); }
    ResponseCounts service_responses(ServiceId service) const override { return plane_.service_responses(service); }
    DropCounts drop_counts() const override { return plane_.drop_counts(); }
    EventCounts event_counts() const override { return plane_.event_counts(); }
    std::uint64_t pins() const override { return plane_.pins(); }
    Result<void> ask_samples(std::uint64_t which) override { return plane_.ask_samples(which); }
    void read_samples(std::vector<flb_sample>& into) override { plane_.read_samples(into); }
    SampleCounts samples_left_out() const override { return plane_.samples_left_out(); }

private:
    DataPlane plane_;
};

} // namespace

Result<std::unique_ptr<Plane>> open_plane(const DataPlaneOptions& options)
{
    Result<DataPlane> plane = DataPlane::open(options);
    if (!plane)
        return fail(std::move(plane.error()));
    return std::make_unique<RealPlane>(std::move(*plane));
}

} // namespace featherlb
