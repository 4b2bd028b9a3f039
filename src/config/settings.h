// SPDX-License-Identifier: Apache-2.0
// Settings: what a configuration says, setting by setting, and what differs between two of them; for `plan`. Entries of
// lists are known by their names: `services.web.backends.web1.weight`.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace featherlb {

// Path -> value as written, lists of values as one.
using Settings = std::map<std::string, std::string>;
// `text`: of a file that is valid.
[[nodiscard]] Settings settings_of(std::string_view text);

struct SettingChange {
    std::string path;
    std::string from; // empty: is not there
    std::string to;
    friend bool operator==(const SettingChange&, const SettingChange&) = default;
};
// In the order of the paths. An entry that comes or goes as a whole is one change, named by its path, with its
// settings as "address: 10.0.1.14:8080, weight: 3".
[[nodiscard]] std::vector<SettingChange> compare_settings(const Settings& before, const Settings& after);

} // namespace featherlb
