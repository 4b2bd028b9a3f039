// SPDX-License-Identifier: Apache-2.0
// Plane: what the daemon needs of the data plane, as a seam that unit tests fake. kernel/dataplane.h describes each
// call; the real one forwards to a DataPlane.
#pragma once

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/result.h"
#include "kernel/dataplane.h"

namespace featherlb {

// A kernel map as `status` shows it.
struct MapFacts {
    std::string name;
    std::uint64_t entries = 0;
    std::uint64_t bytes = 0; // as the kernel accounts for it
};

class Plane {
public:
    virtual ~Plane() = default;

    [[nodiscard]] virtual bool adopted() const = 0;
    [[nodiscard]] virtual std::vector<std::string> warnings() const = 0;
    [[nodiscard]] virtual DataPlaneSizes sizes() const = 0;
    [[nodiscard]] virtual Limits limits() const = 0;
    [[nodiscard]] virtual std::vector<ProgramInfo> programs() const = 0;
    [[nodiscard]] virtual std::vector<MapFacts> maps() const = 0;

    [[nodiscard]] virtual Result<Tables> read() const = 0;
    [[nodiscard]] virtual Result<void> apply(const Tables& want, const std::vector<Change>& changes) = 0;
    [[nodiscard]] virtual Result<void> apply_rows(const Tables& want, const std::vector<Change>& changes) = 0;

    [[nodiscard]] virtual Result<void> set_interface(const InterfaceRecord& interface) = 0;
    [[nodiscard]] virtual Result<void> remove_interface(std::uint32_t ifindex) = 0;
    [[nodiscard]] virtual std::vector<std::uint32_t> interfaces() const = 0;
    [[nodiscard]] virtual Result<AttachOutcome> attach(const AttachRequest& request) = 0;
    [[nodiscard]] virtual Result<std::vector<std::string>> detach_others(const std::set<std::uint32_t>& keep) = 0;
    [[nodiscard]] virtual std::vector<Attachment> attachments() const = 0;
    [[nodiscard]] virtual std::optional<CopyReport> copying() const = 0;
    [[nodiscard]] virtual Result<CopyReport> finish_copy() = 0;

    [[nodiscard]] virtual Result<bool> sweep(std::uint32_t sets) = 0;
    [[nodiscard]] virtual const FlowCounts& flow_counts() const = 0;
    [[nodiscard]] virtual SweepTotals sweep_totals() const = 0;
    [[nodiscard]] virtual bool idle() const = 0;
    [[nodiscard]] virtual Result<bool> list_flows(std::size_t& position, std::uint32_t sets, std::size_t most,
        const FlowFilter& filter, std::vector<Flow>& found) const = 0;
    [[nodiscard]] virtual Result<bool> kill_flows(
        std::size_t& position, std::uint32_t sets, const FlowFilter& filter, std::size_t& killed) = 0;
    [[nodiscard]] virtual double tick_seconds() const = 0;
    [[nodiscard]] virtual std::set<BackendId> resetting() const = 0;
    [[nodiscard]] virtual std::optional<LinkOut> link_out(const flb_hop& hop) const = 0;
    [[nodiscard]] virtual BackendCounts backend_counts(BackendId backend) const = 0;
    [[nodiscard]] virtual std::uint64_t refused(BackendId backend) const = 0; // backend_counts().refused, at less cost
    [[nodiscard]] virtual ResponseCounts service_responses(ServiceId service) const = 0;
    [[nodiscard]] virtual DropCounts drop_counts() const = 0;
    [[nodiscard]] virtual EventCounts event_counts() const = 0;
    [[nodiscard]] virtual std::uint64_t pins() const = 0;
    [[nodiscard]] virtual Result<void> ask_samples(std::uint64_t which) = 0;
    virtual void read_samples(std::vector<flb_sample>& into) = 0;
    [[nodiscard]] virtual SampleCounts samples_left_out() const = 0;
};

[[nodiscard]] Result<std::unique_ptr<Plane>> open_plane(const DataPlaneOptions& options);

} // namespace featherlb
