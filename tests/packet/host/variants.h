// SPDX-License-Identifier: Apache-2.0
// Each packet of every test once more, under conditions that BPF_PROG_TEST_RUN does not offer. What the maps hold is
// put back after each of these runs; a failure is a failure of the test that sent the packet.
//
// The same must come of a packet
// - of which TC can read the link header alone, until it pulls more (cards put the rest in pages);
// - whose checksum is left to the device that sends it (TC: CHECKSUM_PARTIAL), once that device has done its part.
//
// And where one of the calls that a program makes fails (a map does not answer, there is no room for a header), or
// leaves less of the packet readable, the packet is dropped and counted under one reason, or left to the stack
// unchanged, or sent. Each call in turn, for each way through the program that was not seen before: this reaches what
// is written only because the verifier asks for it.
#pragma once

#include <functional>

#include "../plane.h"
#include "machine.h"

namespace featherlb::packet::host {

[[nodiscard]] bool variants_wanted(); // FEATHERLB_HOST_VARIANTS=1

using Once = std::function<Result(const Conditions&)>;
// `drops`: how many packets have been counted as dropped. Without it nothing is said about counting, and a packet that
// is left to the stack may be what becomes of it without any fault, too.
using Drops = std::function<std::uint64_t()>;
void try_variants(Machine& machine, const Bytes& in, Hook hook, const Once& once, const Drops& drops);

// Puts the sum of the pseudo header into the checksum of an unfragmented TCP or UDP packet, if it is right.
void leave_to_device(Run& run);

// The same faults, and what other processors may do, for a run without a packet; `judge` sees each.
void try_faults(Machine& machine, const Once& once, const std::function<void()>& judge);

} // namespace featherlb::packet::host
