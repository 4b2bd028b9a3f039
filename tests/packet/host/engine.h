// SPDX-License-Identifier: Apache-2.0
// The engine that is this machine: the packet programs, compiled for it, over maps in plain memory. Needs no
// privileges.
//
// With FEATHERLB_HOST_VARIANTS=1 each packet is also run, before it counts, in ways that the kernel cannot be asked
// for; see variants.h.
#pragma once

#include <span>

#include "featherlb/copy.h"
#include "machine.h"

namespace featherlb::packet::host {

// For the next packet of an engine alone, which then has no variants.
void set_conditions(const Conditions& conditions);

// bpf/copy.bpf.c over the maps of the engine that ran a packet last, answered in `copies`; with variants, too.
void run_copies(std::span<flb_copy> copies);

} // namespace featherlb::packet::host
