// SPDX-License-Identifier: Apache-2.0
// Copying: the course of a change from a predecessor's maps to its successor's (dataplane_successor.h), of which the
// data plane is made. Most connections are copied when it begins, while the old programs run; then the pins change
// over, the new programs take their places one by one, and what has changed meanwhile is copied. Between these two,
// packets of unknown connections are held back (bpf/copying.h), for a few ticks at most, should this process die.
#pragma once

#include <cstdint>
#include <memory>

#include "base/result.h"
#include "kernel/clock.h"
#include "kernel/dataplane.h"
#include "kernel/dataplane_maps.h"
#include "kernel/dataplane_pins.h"
#include "kernel/dataplane_successor.h"
#include "kernel/flow_copy.h"

namespace featherlb {

class Copying {
public:
    // Copies for the first time. `constants`: of the programs that use `maps`.
    [[nodiscard]] static Result<std::unique_ptr<Copying>> begin(std::unique_ptr<Predecessor> old, const MapSet& maps,
        const flb_load& constants, const PinPaths& paths, const Clock& clock);
    ~Copying(); // before the change-over: the successor is not pinned any more
    Copying(const Copying&) = delete;
    Copying& operator=(const Copying&) = delete;

    // Before the first of the new programs takes its place; again: nothing happens. Whoever could not attach it says
    // so: then all is as it was.
    [[nodiscard]] Result<void> change_over(const MapSet& maps, const Clock& clock);
    void attached(bool done);
    // When all have. Afterwards the predecessor is gone.
    [[nodiscard]] Result<void> finish(const MapSet& maps, const Clock& clock);
    [[nodiscard]] CopyReport report() const;

private:
    Copying(std::unique_ptr<Predecessor> old, CopyProgram program, PinPaths paths, std::optional<std::uint32_t> since);
    std::unique_ptr<Predecessor> old_;
    CopyProgram program_;
    FlowCopy flows_;
    PinPaths paths_;
    std::string why_;
    std::chrono::steady_clock::duration took_{};
    bool changed_over_ = false;
    bool in_use_ = false; // a new program runs

    [[nodiscard]] Result<void> pass(const MapSet& maps, std::uint32_t now);
    void hold_until(const MapSet& maps, std::uint32_t tick) const;
    void change_back();
};

} // namespace featherlb
