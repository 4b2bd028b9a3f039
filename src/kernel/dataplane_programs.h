// SPDX-License-Identifier: Apache-2.0
// Programs: the two packet programs, loaded with maps that exist already. Both are compiled against the same
// declarations (bpf/maps.h), so both are given the same descriptors; the constants that the verifier folds into
// the code (flb_load) are filled in before loading. A load that fails is reported with the verifier's last lines.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "featherlb/abi.h"
#include "kernel/map.h"

namespace featherlb {

struct ProgramInfo;

class Programs {
public:
    // The maps as bpf/maps.h declares them; those sized by the daemon have max_entries 1.
    [[nodiscard]] static Result<std::vector<MapShape>> declared_maps();
    // `fd_of` gives the descriptor of the map with a name, -1 where it is missing.
    [[nodiscard]] static Result<Programs> load(
        const std::function<int(const std::string&)>& fd_of, const flb_load& constants);
    ~Programs();
    Programs(Programs&&) noexcept;
    Programs& operator=(Programs&&) noexcept;

    [[nodiscard]] int xdp_fd() const;
    [[nodiscard]] int tc_fd() const;
    [[nodiscard]] std::vector<ProgramInfo> info() const;

private:
    struct Skeletons;
    explicit Programs(std::unique_ptr<Skeletons> skeletons);
    std::unique_ptr<Skeletons> skeletons_;
};

// Sends what libbpf says to the log at level debug, and remembers the end of it for error messages. To be called
// before anything else of libbpf; harmless when called again.
void route_libbpf_messages();

} // namespace featherlb
