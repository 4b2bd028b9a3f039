// SPDX-License-Identifier: Apache-2.0
// What a data plane needs before there is one: privileges, a BPF file system, a directory in it, and the certainty
// that no other daemon uses the same one. The lock lies in the runtime directory, since files on a BPF file system
// cannot be locked; the kernel drops it with the process, however that ends.
//
// Layout below the pins directory: maps/NAME (maps-next and maps-old for a moment, see dataplane_successor.h),
// links/HOOK-IFINDEX, links/clsact-IFINDEX (an empty directory: we made the clsact qdisc of this interface).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/result.h"

namespace featherlb {

struct PinPaths {
    std::string root;
    [[nodiscard]] std::string maps() const { return root + "/maps"; }
    [[nodiscard]] std::string next() const { return root + "/maps-next"; } // see dataplane_successor.h
    [[nodiscard]] std::string old() const { return root + "/maps-old"; }
    [[nodiscard]] std::string in_use() const { return root + "/maps-in-use"; } // a directory: programs use `maps`
    [[nodiscard]] std::string map(const std::string& name) const { return maps() + "/" + name; }
    [[nodiscard]] std::string links() const { return root + "/links"; }
};

// Effective capabilities of this process. `warnings`: what works, but not as well as it could.
[[nodiscard]] Result<void> check_privileges(std::vector<std::string>& warnings);
// That `root` is, or would be, on a BPF file system.
[[nodiscard]] Result<void> check_bpf_filesystem(const std::string& root);
[[nodiscard]] Result<void> make_directories(const PinPaths& paths);
[[nodiscard]] Result<void> make_directory(const std::string& path);

bool remove_directory(const std::string& path); // false where it is not there, or not empty
void remove_pins(const std::string& directory); // with what is pinned in it; nothing there is no error
[[nodiscard]] Result<void> rename_directory(const std::string& from, const std::string& to);

// Names in a directory, sorted; empty where it does not exist.
[[nodiscard]] std::vector<std::string> names_in(const std::string& directory);
[[nodiscard]] bool exists(const std::string& path);

// Held as long as the descriptor is open.
[[nodiscard]] Result<Fd> lock_pins(const std::string& root, const std::string& runtime_directory);

// The kernel's number of this process's network namespace; not reused within a boot.
[[nodiscard]] Result<std::uint64_t> current_namespace();

// Lowest 32 bits of the kernel's boot id.
[[nodiscard]] std::uint32_t boot_id();

} // namespace featherlb
