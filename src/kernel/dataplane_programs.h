// SPDX-License-Identifier: Apache-2.0
// Programs: the two packet programs, loaded with maps that exist already, each when it is first asked for: the verifier
// takes about a second for one. Both are compiled against the same declarations (bpf/maps.h), so both are given the
// same descriptors; the constants that the verifier folds into the code (flb_load) are filled in before loading. A load
// that fails is reported with the verifier's last lines.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "featherlb/abi.h"
#include "kernel/attach.h"
#include "kernel/map.h"

namespace featherlb {

struct ProgramInfo;
struct ProgramChoice;

class Programs {
public:
    // The maps as bpf/maps.h declares them; those sized by the daemon have max_entries 1.
    [[nodiscard]] static Result<std::vector<MapShape>> declared_maps();
    // `maps`: their descriptors by name, which stay the caller's and outlive this.
    [[nodiscard]] static Result<Programs> load(
        std::map<std::string, int> maps, const flb_load& constants, const ProgramChoice& now);
    ~Programs();
    Programs(Programs&&) noexcept;
    Programs& operator=(Programs&&) noexcept;

    // Descriptors; each loads its program if need be.
    [[nodiscard]] Result<int> xdp() const;
    [[nodiscard]] Result<int> tc() const;
    [[nodiscard]] std::vector<ProgramInfo> info() const; // of those that are loaded, XDP first

    // Of a hook, for as long as these programs live, wherever they are moved.
    [[nodiscard]] ProgramOf by_hook() const;

private:
    struct State;
    explicit Programs(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

// Sends what libbpf says to the log at level debug, and remembers the end of it for error messages. To be called
// before anything else of libbpf; harmless when called again.
void route_libbpf_messages();

} // namespace featherlb
