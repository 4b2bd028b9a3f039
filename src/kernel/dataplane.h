// SPDX-License-Identifier: Apache-2.0
// DataPlane: the maps and the two packet programs as one object, and the only seam to libbpf. It makes everything,
// or adopts what an earlier daemon left pinned; from then on the maps are what is true: read() gives them as Tables,
// apply() carries out a difference. Whatever is pinned keeps forwarding when this object, or the process, is gone.
//
// Thread rule: one thread. Order at start: open, read, set_interface for each interface, apply, attach, and
// detach_others; then sweep() now and then. The process's network namespace is the one that is served.
//
// Memory, unless the sizes say otherwise: 788 bytes for each connection of flows_max (both families), 16 MiB of slot
// tables, 5.6 MiB of backends and 6.1 MiB of services (with their response times and names), 1.5 MiB of source
// addresses, and 1 MiB for each possible processor for counters.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "kernel/attach.h"
#include "kernel/counters.h"
#include "kernel/flow_walk.h"
#include "kernel/samples.h"
#include "kernel/sweeper.h"
#include "plan/tables.h"

namespace featherlb {

struct DataPlaneSizes {
    std::uint32_t flows_max = 262144; // connections of each family = sets of each table: half load when full
    std::uint32_t services = 16384;   // rows, one for each service and family
    std::uint32_t backends = 16384;   // rows, those that drain included; row 0 is never used
    std::uint32_t slots = 4u << 20;   // backend numbers of all slot tables together
    std::uint32_t snat_addresses = 65536;
    friend bool operator==(const DataPlaneSizes&, const DataPlaneSizes&) = default;
};

inline constexpr const char* default_pins = "/sys/fs/bpf/featherlb";
inline constexpr const char* default_runtime_directory = "/run/featherlb";

// Which packet programs are loaded at once; another one is when an interface first needs it.
struct ProgramChoice {
    bool xdp = true;
    bool tc = true;
};

struct DataPlaneOptions {
    std::string pins = default_pins; // directory on a BPF file system; empty: ephemeral, nothing outlives the process
    std::string runtime_directory = default_runtime_directory; // of the lock file; made where it is missing
    DataPlaneSizes sizes;
    ProgramChoice programs;
};

struct InterfaceRecord {
    std::uint32_t ifindex = 0;
    std::string name; // for messages
    std::array<std::uint8_t, 6> mac{};
    std::uint32_t mtu = 0;
    bool hands_over = false; // as of Interface: FLB_IFACE_PEER
};

struct ProgramInfo {
    std::string name; // "flb_xdp", "flb_tc"
    std::uint32_t id = 0;
    std::string tag;                // 16 hexadecimal digits: the same code has the same tag
    std::uint32_t instructions = 0; // as verified (0: the kernel does not say)
};

struct CopyReport {
    std::string why;               // "flows.max is 65536 instead of 16384"
    std::uint64_t connections = 0; // in the new table
    std::uint64_t lost = 0;        // for which it had no room
    std::chrono::milliseconds took{0};
};

// An interface that frames leave by.
struct LinkOut {
    std::uint32_t ifindex = 0;
    std::array<std::uint8_t, 6> mac{}; // ours
};

class DataPlane {
public:
    // Fails with a remedy where privileges, the BPF file system, memory or the kernel do not suffice, where another
    // daemon holds the same pins, and where what is pinned is of another layout.
    [[nodiscard]] static Result<DataPlane> open(const DataPlaneOptions& options);
    // Removes everything that a pinned data plane left: links, clsact filters of this network namespace, pins.
    // Works with no daemon and on half a set of pins. Returns a line for each thing removed; empty: nothing there.
    [[nodiscard]] static Result<std::vector<std::string>> detach(
        const std::string& pins, const std::string& runtime_directory = default_runtime_directory);

    ~DataPlane();
    DataPlane(DataPlane&&) noexcept;
    DataPlane& operator=(DataPlane&&) noexcept;

    [[nodiscard]] bool adopted() const; // the maps were there already
    // Connections are being copied from another flow table (dataplane_successor.h): nothing, if none are. The second
    // half happens in finish_copy(), after attach() has put the programs in their places; until then, for a few seconds
    // at most, packets of connections that are not known are held back.
    [[nodiscard]] std::optional<CopyReport> copying() const;
    [[nodiscard]] Result<CopyReport> finish_copy();
    [[nodiscard]] const std::vector<std::string>& warnings() const; // of open(), worth a line in the log each
    [[nodiscard]] DataPlaneSizes sizes() const;                     // as they are; an adopted map keeps its size
    [[nodiscard]] Limits limits() const;                            // for make_tables
    [[nodiscard]] std::vector<ProgramInfo> programs() const;        // those that are loaded, XDP first

    // What is in the maps. Timeouts are kept in ticks, so one read back may be a second longer than it was set.
    [[nodiscard]] Result<Tables> read() const;
    // Carries out `changes` = diff(read(), want). After a failure in the middle the maps are consistent, and
    // diff(read(), want) is what remains to be done.
    [[nodiscard]] Result<void> apply(const Tables& want, const std::vector<Change>& changes);
    // The same with the changes of a PartialPlan, and the rows that change.
    [[nodiscard]] Result<void> apply_rows(const Tables& want, const std::vector<Change>& changes);

    // Records an interface that frames may come in by or go out of. Fails where two interfaces share a slot.
    // The slot, for flb_hop.link, is ifindex % FLB_IFACE_SLOTS. Call it again when MAC or MTU changes.
    [[nodiscard]] Result<void> set_interface(const InterfaceRecord& interface);
    // Forgets the record and detaches. Also for an interface that has vanished.
    [[nodiscard]] Result<void> remove_interface(std::uint32_t ifindex);
    [[nodiscard]] std::vector<std::uint32_t> interfaces() const; // the ifindexes recorded

    // After set_interface. See attach.h; the record's flags are kept in step.
    [[nodiscard]] Result<AttachOutcome> attach(const AttachRequest& request);
    // Detaches all interfaces but these, and forgets what vanished. Returns a line for each thing removed.
    [[nodiscard]] Result<std::vector<std::string>> detach_others(const std::set<std::uint32_t>& keep);
    [[nodiscard]] std::vector<Attachment> attachments() const;

    // Sweeps the next `sets` sets of the flow table, and some pins; true when a pass over the flows ended. 4,096 sets
    // take well below a millisecond.
    [[nodiscard]] Result<bool> sweep(std::uint32_t sets);
    [[nodiscard]] const FlowCounts& flow_counts() const; // of the last whole pass
    [[nodiscard]] const SweepTotals& sweep_totals() const;
    [[nodiscard]] bool idle() const;          // no flow is known or open: sweep() is in no hurry
    [[nodiscard]] std::uint64_t pins() const; // of clients to backends, as last counted

    // Lists and ends connections; see flow_walk.h. `position`: 0 at first.
    [[nodiscard]] Result<bool> list_flows(std::size_t& position, std::uint32_t sets, std::size_t most,
        const FlowFilter& filter, std::vector<Flow>& found) const;
    [[nodiscard]] Result<bool> kill_flows(
        std::size_t& position, std::uint32_t sets, const FlowFilter& filter, std::size_t& killed);
    [[nodiscard]] double tick_seconds() const; // in which their idle times are

    // Backends whose clients are to be reset (FLB_BACKEND_RESET).
    [[nodiscard]] std::set<BackendId> resetting() const;
    // Nothing: the interface is not recorded any more.
    [[nodiscard]] std::optional<LinkOut> link_out(const flb_hop& hop) const;

    [[nodiscard]] BackendCounts backend_counts(BackendId backend) const;
    [[nodiscard]] std::uint64_t refused(BackendId backend) const; // backend_counts().refused, at less cost
    [[nodiscard]] ResponseCounts service_responses(ServiceId service) const;
    [[nodiscard]] DropCounts drop_counts() const;
    [[nodiscard]] EventCounts event_counts() const;

    // Asks the programs to tell of single packets, for the next seconds; 0: no more. samples.h.
    [[nodiscard]] Result<void> ask_samples(std::uint64_t which);
    void read_samples(std::vector<flb_sample>& into);
    [[nodiscard]] SampleCounts samples_left_out() const;

    // For tests and tools: descriptors that stay ours. -1: no such map.
    [[nodiscard]] int map_fd(std::string_view name) const;
    [[nodiscard]] int xdp_program_fd() const;
    [[nodiscard]] int tc_program_fd() const;

private:
    struct State;
    explicit DataPlane(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

} // namespace featherlb
