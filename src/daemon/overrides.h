// SPDX-License-Identifier: Apache-2.0
// Overrides: what `featherlb drain`, `undrain` and `weight` have said of backends, over what the file says. They hold
// over reloads and restarts (a file beside the admin socket keeps them) until the file says something else of the
// backend: another weight, or that it is gone. An address of a DNS name or of a file of backends may be away for a
// while: what was said of it holds as long as the service has such a source.
#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "config/config.h"
#include "plan/tables.h"

namespace featherlb {

struct Override {
    BackendOverride what;
    std::optional<std::chrono::seconds>
        deadline;                 // of a drain; what connections are left then end. Nothing: drain_timeout
    std::uint32_t configured = 1; // weight in the file when it was said
    std::string at;               // 2026-01-31T12:00:00Z
    bool followed = false;        // of a DNS name or a file of backends, whose addresses come and go by themselves
    friend bool operator==(const Override&, const Override&) = default;
};

class Overrides {
public:
    using All = std::map<BackendKey, Override>;

    // `file`: empty: they are not kept.
    explicit Overrides(std::string file) : file_(std::move(file)) {}

    // What an earlier daemon has kept. One that cannot be understood is moved aside, to FILE.broken.
    [[nodiscard]] Result<void> read();
    // Replaces all, on disk first: where that fails nothing is changed.
    [[nodiscard]] Result<void> replace(All all);
    // Back to what was, whatever the disk says; a line where it cannot be kept.
    [[nodiscard]] std::vector<std::string> restore(All all);
    // Those that `config` contradicts go; a line for each.
    [[nodiscard]] std::vector<std::string> forget_contradicted(
        const Config& config, const std::map<std::string, std::vector<IpAddress>>& dns);

    [[nodiscard]] const All& all() const { return all_; }
    [[nodiscard]] const Override* find(const BackendKey& key) const;
    // For World: those that `config` does not contradict.
    [[nodiscard]] std::map<BackendKey, BackendOverride> known(
        const Config& config, const std::map<std::string, std::vector<IpAddress>>& dns) const;
    // For Drains.
    [[nodiscard]] std::map<BackendKey, std::chrono::seconds> deadlines() const;

private:
    std::string file_;
    All all_;
};

// "drained"; "weight 5 (the file: 1)"; "drained, weight 5 (the file: 1)".
[[nodiscard]] std::string describe(const Override& what);
// The file that belongs to an admin socket: /run/featherlb/admin.overrides.json.
[[nodiscard]] std::string overrides_file(const std::string& socket);

} // namespace featherlb
