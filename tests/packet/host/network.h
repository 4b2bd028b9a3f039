// SPDX-License-Identifier: Apache-2.0
// What the host engine has in place of the namespace of surroundings.cpp: the same interfaces, addresses, neighbours
// and routes as facts, so that no privileges are needed.
#pragma once

#include <linux/bpf.h>

#include "../surroundings.h"

namespace featherlb::packet::host {

// The interface of this number; null: there is none.
[[nodiscard]] const Interface* interface_at(unsigned index);

// As bpf_fib_lookup without flags answers.
[[nodiscard]] long look_up_route(bpf_fib_lookup& parameters);

} // namespace featherlb::packet::host
