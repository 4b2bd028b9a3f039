// SPDX-License-Identifier: Apache-2.0
// FlowTables: the flow tables of a data plane in our memory, to bring connections into the state that a measurement
// needs. Nothing else may use the data plane meanwhile: what is written here follows none of the rules of bpf/flow.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernel/dataplane.h"

namespace featherlb::bench {

struct FlowTally {
    std::uint64_t owners = 0, proven = 0; // entries of the client's direction
};

class FlowTables {
public:
    explicit FlowTables(const DataPlane& plane);
    ~FlowTables();
    FlowTables(const FlowTables&) = delete;
    FlowTables& operator=(const FlowTables&) = delete;

    void establish(); // every connection, as after its handshake
    void clear(bool v6);
    [[nodiscard]] FlowTally tally() const;
    [[nodiscard]] std::uint64_t bytes(bool v6) const;

private:
    template <typename Visit>
    void each(Visit visit) const;

    std::span<flb_set4> sets4_;
    std::span<flb_set6> sets6_;
};

} // namespace featherlb::bench
