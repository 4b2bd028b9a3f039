// SPDX-License-Identifier: Apache-2.0
#include "kernel/dataplane.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <utility>

#include <fmt/format.h>

#include "kernel/clock.h"
#include "kernel/dataplane_hooks.h"
#include "kernel/dataplane_load.h"
#include "kernel/dataplane_pins.h"
#include "kernel/dataplane_tables.h"
#include "kernel/pin_sweeper.h"
#include "kernel/responses.h"
#include "kernel/source_limits.h"

namespace featherlb {

// The order of the members is the order of making; links go before programs, programs before maps, the lock last.
struct DataPlane::State {
    PinPaths paths; // root empty: ephemeral
    Fd lock;
    std::vector<std::string> warnings;
    Clock clock;
    MapSet maps;
    Programs programs;
    TableStore tables;
    Attachments attachments;
    Sweeper sweeper;
    FlowWalk flows;
    Samples samples;
    std::unique_ptr<Copying> copying = {};
    PinSweeper pins = {};

    [[nodiscard]] flb_iface& interface(std::uint32_t ifindex) const
    {
        return maps.values<flb_iface>("ifaces")[ifindex % FLB_IFACE_SLOTS];
    }
    // By which flows age.
    [[nodiscard]] Result<std::uint32_t> now() const
    {
        const auto jiffies = clock.jiffies();
        if (!jiffies)
            return fail(jiffies.error());
        return static_cast<std::uint32_t>(*jiffies >> maps.settings().tick_shift);
    }
    // How it is attached; what kind of device it is stays as it was.
    void set_flags(std::uint32_t ifindex, std::uint32_t flags) const
    {
        auto& record = interface(ifindex);
        if (record.ifindex == ifindex)
            publish(record.flags, (record.flags & FLB_IFACE_PEER) | flags);
    }
};

namespace {

// As the programs' bpf_ktime_get_ns().
std::uint64_t monotonic_ns()
{
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(now.tv_nsec);
}

// Pins serve one network namespace: interface numbers of another one mean other interfaces.
Result<void> check_namespace(const PinPaths& paths)
{
    const auto current = current_namespace();
    if (!current)
        return fail(current.error());
    const std::string mark = fmt::format("namespace-{}", *current);
    for (const auto& name : names_in(paths.root)) {
        if (!name.starts_with("namespace-") || name == mark)
            continue;
        for (const auto& link : names_in(paths.links())) {
            const auto info = hooks::link_info(hooks::open_pinned_link(paths.links() + "/" + link));
            if (info && info->ifindex != 0)
                return fail(fmt::format("what is pinned in {} serves another network namespace", paths.root),
                    "use another pins directory here, or run `featherlb detach` there");
        }
        remove_directory(paths.root + "/" + name);
    }
    return make_directory(paths.root + "/" + mark);
}

Result<Fd> prepare_pins(const DataPlaneOptions& options, const PinPaths& paths)
{
    if (auto checked = check_bpf_filesystem(paths.root); !checked)
        return fail(checked.error());
    auto lock = lock_pins(paths.root, options.runtime_directory);
    if (!lock)
        return lock;
    if (auto made = make_directories(paths); !made)
        return fail(made.error());
    if (auto checked = check_namespace(paths); !checked)
        return fail(checked.error());
    return lock;
}

} // namespace

Result<DataPlane> DataPlane::open(const DataPlaneOptions& options)
{
    route_libbpf_messages();
    std::vector<std::string> warnings;
    if (auto checked = check_privileges(warnings); !checked)
        return fail(checked.error());
    const PinPaths paths{options.pins};
    Fd lock;
    if (!paths.root.empty()) {
        auto prepared = prepare_pins(options, paths);
        if (!prepared)
            return fail(prepared.error());
        lock = std::move(*prepared);
    }
    auto clock = Clock::open();
    if (!clock)
        return fail(clock.error());
    auto loaded = load_data_plane(options, paths, *clock, warnings);
    if (!loaded)
        return fail(loaded.error());
    MapSet* const maps = &loaded->maps;
    Programs* const programs = &loaded->programs;
    auto tables = TableStore::open(*maps);
    if (!tables)
        return fail(tables.error());
    Attachments attachments(paths.root.empty() ? "" : paths.links(), programs->by_hook());
    auto samples = Samples::open(*maps);
    if (!samples)
        return fail(samples.error());
    const auto backends = maps->values<flb_backend>("backends");
    const SourceCounts counts{.sets = maps->values<flb_limit_set>("limit_counts"),
        .seed = {maps->settings().flow_seed[0], maps->settings().flow_seed[1]}};
    const auto uncount = [backends, counts](std::uint32_t backend, std::uint64_t client) {
        if (backend < backends.size())
            counts.give_back(backends[backend].service, client);
    };
    FlowWalk flows(maps->values<flb_set4>("flows4"), maps->values<flb_set6>("flows6"), uncount,
        maps->values<flb_backend_load>("backend_loads"), maps->bounds());
    if (auto& timeout = maps->settings().timeout; timeout[FLB_FLOW_KILLED] == 0) // an earlier version's
        publish(timeout[FLB_FLOW_KILLED], timeout[FLB_FLOW_CLOSED_CLIENT]);
    Sweeper sweeper(maps->values<flb_set4>("flows4"), maps->values<flb_set6>("flows6"), maps->sizes().backends, uncount,
        SweptLoads{.loads = maps->values<flb_backend_load>("backend_loads"),
            .begun = [cells = maps->values<flb_backend_counters>("backend_counters"), stride = maps->sizes().backends](
                         std::uint32_t backend) { return sum_backend(cells, stride, backend).connections; },
            .bounds = maps->bounds()});
    auto state = std::make_unique<State>(State{.paths = paths,
        .lock = std::move(lock),
        .warnings = std::move(warnings),
        .clock = std::move(*clock),
        .maps = std::move(*maps),
        .programs = std::move(*programs),
        .tables = std::move(*tables),
        .attachments = std::move(attachments),
        .sweeper = std::move(sweeper),
        .flows = std::move(flows),
        .samples = std::move(*samples),
        .copying = std::move(loaded->copying)});
    state->tables.use(state->maps);
    for (auto& record : state->maps.values<flb_iface>("ifaces")) // an earlier version left MTUs of what is gone
        if (record.ifindex == 0 && record.mtu != 0)
            publish_word<std::uint64_t>(&record, 0);
    return DataPlane(std::move(state));
}

DataPlane::DataPlane(std::unique_ptr<State> state) : state_(std::move(state))
{
}
DataPlane::~DataPlane() = default;
DataPlane::DataPlane(DataPlane&&) noexcept = default;
DataPlane& DataPlane::operator=(DataPlane&&) noexcept = default;

bool DataPlane::adopted() const
{
    return state_->maps.adopted;
}

const std::vector<std::string>& DataPlane::warnings() const
{
    return state_->warnings;
}

DataPlaneSizes DataPlane::sizes() const
{
    return state_->maps.sizes();
}

Limits DataPlane::limits() const
{
    // A slot table is replaced by a new one beside it: half of the room may be in use at rest.
    const DataPlaneSizes sizes = state_->maps.sizes();
    return {.services = sizes.services,
        .backends = sizes.backends,
        .slots = sizes.slots / 2,
        .prefixes = state_->maps.at("prefixes").shape().max_entries};
}

std::vector<ProgramInfo> DataPlane::programs() const
{
    return state_->programs.info();
}

Result<Tables> DataPlane::read() const
{
    return state_->tables.read();
}

Result<void> DataPlane::apply(const Tables& want, const std::vector<Change>& changes)
{
    return state_->tables.apply(want, changes);
}

Result<void> DataPlane::apply_rows(const Tables& want, const std::vector<Change>& changes)
{
    return state_->tables.apply_rows(want, changes);
}

// ---- interfaces -------------------------------------------------------------------------------------------

Result<void> DataPlane::set_interface(const InterfaceRecord& interface)
{
    auto& record = state_->interface(interface.ifindex);
    if (record.ifindex != 0 && record.ifindex != interface.ifindex)
        return fail(fmt::format("the interface {} (number {}) cannot be used beside number {}: both have number {} "
                                "modulo {}",
                        interface.name, interface.ifindex, record.ifindex, interface.ifindex % FLB_IFACE_SLOTS,
                        FLB_IFACE_SLOTS),
            "make one of them anew, so that it gets another number (`ip link`), or use only one");
    flb_iface wanted{};
    std::ranges::copy(interface.mac, wanted.mac);
    wanted.mtu = static_cast<std::uint16_t>(std::min<std::uint32_t>(interface.mtu, 65535));
    std::uint64_t head = 0;
    std::memcpy(&head, &wanted, sizeof(head));
    publish_word<std::uint64_t>(&record, head);
    const std::uint32_t attached = record.ifindex == 0 ? 0 : record.flags & ~FLB_IFACE_PEER;
    publish(record.flags, attached | (interface.hands_over ? FLB_IFACE_PEER : 0u));
    publish(record.ifindex, interface.ifindex);
    return {};
}

Result<void> DataPlane::remove_interface(std::uint32_t ifindex)
{
    auto done = state_->attachments.detach(ifindex);
    auto& record = state_->interface(ifindex);
    if (record.ifindex == ifindex) {
        publish(record.ifindex, 0u);
        publish(record.flags, 0u);
        publish_word<std::uint64_t>(&record, 0); // with the MTU, which is what bpf/express.h asks
    }
    return done;
}

std::vector<std::uint32_t> DataPlane::interfaces() const
{
    std::vector<std::uint32_t> result;
    for (const auto& record : state_->maps.values<flb_iface>("ifaces"))
        if (record.ifindex != 0)
            result.push_back(record.ifindex);
    return result;
}

Result<AttachOutcome> DataPlane::attach(const AttachRequest& request)
{
    if (state_->copying)
        if (auto over = state_->copying->change_over(state_->maps, state_->clock); !over)
            return fail(over.error());
    // The flag stands before the first packet comes.
    const bool native_veth = request.mode == Attach::xdp && driver_of(request.name) == "veth";
    const std::uint32_t before = state_->interface(request.ifindex).flags & ~FLB_IFACE_PEER;
    state_->set_flags(request.ifindex, FLB_IFACE_ATTACHED | (native_veth ? FLB_IFACE_REDIRECT : 0u));
    auto outcome = state_->attachments.attach(request);
    if (!outcome)
        state_->set_flags(request.ifindex, before);
    state_->tables.place_slots(); // what ran there until now may be of a version without bounds
    if (state_->copying)
        state_->copying->attached(outcome.has_value());
    return outcome;
}

std::optional<CopyReport> DataPlane::copying() const
{
    return state_->copying ? std::optional(state_->copying->report()) : std::nullopt;
}

Result<CopyReport> DataPlane::finish_copy()
{
    if (!state_->copying)
        return CopyReport{};
    if (auto done = state_->copying->finish(state_->maps, state_->clock); !done)
        return fail(done.error());
    CopyReport report = state_->copying->report();
    state_->copying.reset();
    return report;
}

Result<std::vector<std::string>> DataPlane::detach_others(const std::set<std::uint32_t>& keep)
{
    for (const std::uint32_t ifindex : interfaces())
        if (!keep.contains(ifindex))
            state_->set_flags(ifindex, 0);
    return state_->attachments.detach_others(keep);
}

std::vector<Attachment> DataPlane::attachments() const
{
    return state_->attachments.list();
}

// ---- flows and counters -----------------------------------------------------------------------------------

Result<bool> DataPlane::sweep(std::uint32_t sets)
{
    const auto now = state_->now();
    if (!now)
        return fail(now.error());
    const MapSet& maps = state_->maps;
    const bool whole = state_->sweeper.step(sets, *now, std::span(maps.settings().timeout));
    if (auto done = state_->pins.step(
            maps.at("pins"), maps.values<flb_service>("services"), maps.values<flb_backend>("backends"), *now);
        !done)
        return fail(done.error());
    return whole;
}

Result<bool> DataPlane::list_flows(std::size_t& position, std::uint32_t sets, std::size_t most,
    const FlowFilter& filter, std::vector<Flow>& found) const
{
    const auto now = state_->now();
    if (!now)
        return fail(now.error());
    return state_->flows.list(position, sets, most, {*now, state_->maps.settings().timeout}, filter, found);
}

Result<bool> DataPlane::kill_flows(
    std::size_t& position, std::uint32_t sets, const FlowFilter& filter, std::size_t& killed)
{
    const auto now = state_->now();
    if (!now)
        return fail(now.error());
    return state_->flows.kill(position, sets, {*now, state_->maps.settings().timeout}, filter, killed);
}

double DataPlane::tick_seconds() const
{
    const auto& settings = state_->maps.settings();
    return static_cast<double>(1u << settings.tick_shift) / settings.hz;
}

std::uint64_t DataPlane::pins() const
{
    return state_->pins.pins();
}

const FlowCounts& DataPlane::flow_counts() const
{
    return state_->sweeper.counts();
}

bool DataPlane::idle() const
{
    return state_->sweeper.idle();
}

const SweepTotals& DataPlane::sweep_totals() const
{
    return state_->sweeper.totals();
}

std::set<BackendId> DataPlane::resetting() const
{
    constexpr std::uint32_t wanted = FLB_BACKEND_VALID | FLB_BACKEND_RESET;
    std::set<BackendId> found;
    const auto records = state_->maps.values<flb_backend>("backends");
    for (BackendId id = 1; id < records.size(); id++)
        if ((records[id].flags & wanted) == wanted)
            found.insert(id);
    return found;
}

std::optional<LinkOut> DataPlane::link_out(const flb_hop& hop) const
{
    const flb_iface& record = state_->interface(hop.link & FLB_LINK_SLOT);
    if (record.ifindex == 0)
        return std::nullopt;
    LinkOut out{.ifindex = record.ifindex, .mac = {}};
    std::ranges::copy(record.mac, out.mac.begin());
    return out;
}

std::uint64_t DataPlane::refused(BackendId backend) const
{
    const auto marks = state_->maps.values<flb_backend_mark>("backend_marks");
    return backend < marks.size() ? std::atomic_ref(marks[backend].refused).load(std::memory_order_relaxed) : 0;
}

BackendCounts DataPlane::backend_counts(BackendId backend) const
{
    BackendCounts counts =
        sum_backend(state_->maps.values<flb_backend_counters>("backend_counters"), sizes().backends, backend);
    counts.refused = refused(backend);
    if (const auto loads = state_->maps.values<flb_backend_load>("backend_loads"); backend < loads.size())
        counts.open = std::atomic_ref(loads[backend].open).load(std::memory_order_relaxed);
    const auto backends = state_->maps.values<flb_backend>("backends");
    const auto services = state_->maps.values<flb_response_histogram>("service_responses");
    if (backend < backends.size() && backends[backend].service < services.size())
        counts.responses = read_responses(state_->maps.values<flb_response_histogram>("backend_responses")[backend],
            state_->maps.values<flb_backend_load>("backend_loads")[backend].response,
            services[backends[backend].service].smoothed, monotonic_ns());
    return counts;
}

ResponseCounts DataPlane::service_responses(ServiceId service) const
{
    const auto services = state_->maps.values<flb_response_histogram>("service_responses");
    if (service >= services.size())
        return {};
    return read_responses(services[service], services[service].smoothed, services[service].smoothed, monotonic_ns());
}

DropCounts DataPlane::drop_counts() const
{
    return sum_drops(state_->maps.values<flb_drop_counters>("drop_counters"));
}

EventCounts DataPlane::event_counts() const
{
    return sum_events(state_->maps.values<flb_drop_counters>("drop_counters"));
}

Result<void> DataPlane::ask_samples(std::uint64_t which)
{
    constexpr std::uint32_t asked_ticks = 3; // longer than callers wait before they ask again
    const auto jiffies = state_->clock.jiffies();
    if (!jiffies)
        return fail(jiffies.error());
    state_->samples.ask(
        which, static_cast<std::uint32_t>(*jiffies >> state_->maps.settings().tick_shift) + asked_ticks);
    return {};
}

void DataPlane::read_samples(std::vector<flb_sample>& into)
{
    state_->samples.read(into);
}

SampleCounts DataPlane::samples_left_out() const
{
    return state_->samples.left_out();
}

int DataPlane::map_fd(std::string_view name) const
{
    const auto found = state_->maps.maps.find(std::string(name));
    return found == state_->maps.maps.end() ? -1 : found->second.fd();
}

int DataPlane::xdp_program_fd() const
{
    return state_->programs.xdp().value_or(-1);
}

int DataPlane::tc_program_fd() const
{
    return state_->programs.tc().value_or(-1);
}

} // namespace featherlb
