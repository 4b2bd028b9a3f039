// SPDX-License-Identifier: Apache-2.0
// The configuration file as text. Reads regular files of a sane size only, and never waits (a FIFO, a device).
#pragma once

#include <string>

#include <tl/expected.hpp>

#include "config/config.h"

namespace featherlb {

inline constexpr std::size_t largest_file = 8u << 20;

[[nodiscard]] tl::expected<std::string, Problem> read_config_file(const std::string& path);

// The problem of a file of `size` bytes, if known that exactly.
[[nodiscard]] Problem too_large(std::size_t size);

} // namespace featherlb
