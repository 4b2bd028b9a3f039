// SPDX-License-Identifier: Apache-2.0
// `affinity`, `limits`, `allow` and `deny` of a service or of `defaults`.
#pragma once

#include "config/section.h"

namespace featherlb {

// What `section` says, and `otherwise` where it says nothing. `allow` and `deny` belong together: one of them replaces
// both of `otherwise`.
[[nodiscard]] AdmissionConfig read_admission(
    const Section& section, const AdmissionConfig& otherwise, Problems& problems);

} // namespace featherlb
