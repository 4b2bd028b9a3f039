// SPDX-License-Identifier: Apache-2.0
// Backends that stand in a file of their own, YAML or JSON, in the form of Prometheus' file_sd:
// [{targets: ["10.0.1.11:8080"], labels: {weight: "3"}}]. Of the labels `weight` and `backup` say something here;
// others are somebody else's.
#pragma once

#include "config/section.h"

namespace featherlb {

// Reads `file.path` now, and sets its fingerprint. What is wrong in it is reported at `file.place`, with its own place
// in the text.
[[nodiscard]] std::vector<BackendConfig> read_backend_file(BackendFile& file, Problems& problems);

// Of the text that a file has now; 0: it cannot be read.
[[nodiscard]] std::size_t fingerprint_of(const std::string& path);

} // namespace featherlb
