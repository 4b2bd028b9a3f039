// SPDX-License-Identifier: Apache-2.0
// Certificates as text in PEM form.
#pragma once

#include <cstddef>
#include <string_view>

#include "base/result.h"

namespace featherlb {

// How many there are; none, or one that is broken, is an error.
[[nodiscard]] Result<std::size_t> count_certificates(std::string_view pem);

} // namespace featherlb
