// SPDX-License-Identifier: Apache-2.0
// FlowCopy: copies the connections of a predecessor's flow table into the one that the programs are loaded with, by
// passes over it. The first one copies all; each later one what has changed since: connections that are new, that have
// moved on or that are over. Both tables may be in use meanwhile: what a packet has done to a copy is not undone.
//
// Entries are read as FlowWalk reads them, and put in by bpf/copy.bpf.c.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/result.h"
#include "featherlb/copy.h"
#include "kernel/flow_walk.h"
#include "kernel/layout.h"

namespace featherlb {

struct FlowCopyTotals {
    std::uint64_t copied = 0; // connections that are in the new table
    std::uint64_t moved = 0;  // that changed their state after they had been copied
    std::uint64_t ended = 0;  // that ended after they had been copied
    // Of the last pass, not copied: the table has that client's or that source port's already; no room.
    std::uint64_t known = 0;
    std::uint64_t no_room = 0;
};

// Entries of a flow table of any layout.
class ForeignFlows {
public:
    // All values of a map `flows4` or `flows6`. The layout must have the record: not_convertible().
    ForeignFlows(std::span<std::byte> memory, const Layout& layout, bool v6);

    [[nodiscard]] std::size_t size() const { return entries_; }
    [[nodiscard]] std::uint64_t control(std::size_t index) const;
    // An owner's or a reply's, as ours; nothing where it was being changed. T: flb_flow4 or flb_flow6.
    template <typename T>
    [[nodiscard]] bool read(std::size_t index, T& entry) const;

private:
    std::span<std::byte> memory_;
    std::size_t record_;
    std::size_t control_;
    std::size_t entries_;
    RecordMove move_;
};

class FlowCopy {
public:
    using Put = std::function<Result<void>(std::span<flb_copy>)>; // carries out up to FLB_COPIES

    // `since`: a tick; entries that were last seen before it are not put in. Nothing: all are.
    FlowCopy(ForeignFlows v4, ForeignFlows v6, Put put, std::optional<std::uint32_t> since = {});

    [[nodiscard]] Result<void> pass(const FlowClock& clock);
    [[nodiscard]] const FlowCopyTotals& totals() const { return totals_; }

private:
    struct Copied {
        std::uint32_t index = 0; // of the copy
        std::uint32_t generation = 0;
        std::uint32_t old_generation = 0;
        std::uint32_t state = FLB_FLOW_EMPTY; // of both, when they were last the same
        std::uint32_t age = 0;
    };
    struct Family {
        ForeignFlows flows;
        std::vector<bool> known; // by index: is in `copied`
        std::unordered_map<std::uint32_t, Copied> copied;
    };
    struct Asked {
        bool v6 = false;
        std::uint32_t index = 0;
        std::uint32_t old_generation = 0;
    };
    Family v4_;
    Family v6_;
    Put put_;
    std::optional<std::uint32_t> since_;
    std::vector<std::pair<flb_copy, Asked>> known_again_; // what was in their way may have gone at the end of the pass
    bool last_try_ = false;
    std::vector<flb_copy> batch_;
    std::vector<Asked> asked_;
    FlowCopyTotals totals_;

    template <typename T>
    [[nodiscard]] Result<void> pass_over(Family& family, bool v6, const FlowClock& clock);
    template <typename T>
    void look_at(Family& family, bool v6, std::uint32_t index, std::uint64_t control);
    void forget(Family& family, bool v6, std::uint32_t index);
    void ask(const flb_copy& copy, const Asked& asked);
    [[nodiscard]] Result<void> flush();
    void note(const flb_copy& copy, const Asked& asked);
};

// bpf/copy.bpf.c, loaded with the maps of a data plane.
class CopyProgram {
public:
    [[nodiscard]] static Result<CopyProgram> load(
        const std::function<int(const std::string&)>& fd_of, const flb_load& constants);
    ~CopyProgram();
    CopyProgram(CopyProgram&&) noexcept;
    CopyProgram& operator=(CopyProgram&&) noexcept;

    [[nodiscard]] Result<void> put(std::span<flb_copy> copies) const;

private:
    struct Skeleton;
    explicit CopyProgram(std::unique_ptr<Skeleton> skeleton);
    std::unique_ptr<Skeleton> skeleton_;
};

} // namespace featherlb
