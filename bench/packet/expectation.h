// SPDX-License-Identifier: Apache-2.0
// Expectation: what must come out of a program for a given packet, byte by byte; of what the balancer is free to choose
// (a backend, a source address and port) that it chose one of those it may choose. Checksums must be right where they
// were right, outer headers always.
#pragma once

#include <optional>
#include <string>

#include "balancer.h"
#include "frame.h"

namespace featherlb::bench {

enum class Fate {
    untouched,       // floor and not ours
    constant_header, // the floors with an outer header
    to_backend,
    to_client
};

struct Expectation {
    Fate fate = Fate::untouched;
    Hook hook = Hook::xdp;
    bool passed = false; // the balancer leaves it to the host
    ServiceKind kind;
    const Balancer* balancer = nullptr;
    Tuple returned; // to_client: addresses and ports that it gets
};

// Nothing: `out` is what had to become of `in`. Else what is wrong.
[[nodiscard]] std::optional<std::string> what_is_wrong(const Expectation& expected, View in, const Output& out);

// The number of the output's bytes that may change without being noticed, by changing each in turn. A check that
// cannot fail says nothing.
[[nodiscard]] std::size_t blind_bytes(const Expectation& expected, View in, const Output& out);
// How many that may be: bits that nothing fixes.
[[nodiscard]] std::size_t free_bytes(const Expectation& expected);

} // namespace featherlb::bench
