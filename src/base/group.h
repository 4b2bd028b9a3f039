// SPDX-License-Identifier: Apache-2.0
// Groups of this machine's users.
#pragma once

#include <string>

#include <sys/types.h>

#include "base/result.h"

namespace featherlb {

// By name, or by a number, which need not have a name. Fails where there is none, or where nobody can tell.
[[nodiscard]] Result<gid_t> find_group(const std::string& group);

} // namespace featherlb
