// SPDX-License-Identifier: Apache-2.0
// yaml-cpp's complaints, which speak of its grammar, as problems that speak of the file: what was probably meant
// and what to write instead.
#pragma once

#include <string>

#include "config/source.h"

namespace featherlb {

// `position`: byte offset in source.text(), negative if unknown; `message`: as yaml-cpp gives it.
[[nodiscard]] Problem explain_yaml_error(const Source& source, int position, const std::string& message);

} // namespace featherlb
