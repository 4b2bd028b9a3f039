// SPDX-License-Identifier: Apache-2.0
// How a benchmark ends where it cannot go on: a figure that is not what it says is worse than none.
#pragma once

#include <cstdlib>
#include <string>
#include <type_traits>
#include <utility>

#include <fmt/format.h>

#include "base/log.h"
#include "base/result.h"

namespace featherlb::bench {

[[noreturn]] inline void die(const std::string& what)
{
    fmt::print(stderr, "packet_bench: {}\n", what);
    std::exit(1);
}

template <typename T>
T need(Result<T> result)
{
    if (!result)
        die(describe(result.error()));
    if constexpr (!std::is_void_v<T>)
        return std::move(*result);
}

} // namespace featherlb::bench
