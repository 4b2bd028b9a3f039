// SPDX-License-Identifier: Apache-2.0
// One run of a packet program on this machine: the packet, the context that the program sees, and the calls of helpers
// that it makes. A run can be told that one of its calls fails, or leaves less of the packet readable than before:
// what defends against that is reached in no other way. For one thread.
#pragma once

#include <cstdint>
#include <functional>
#include <random>
#include <string>

#include <linux/bpf.h>

#include "../frame.h"
#include "maps.h"

namespace featherlb::packet::host {

// What another processor may do while this one swaps a word, or between two reads of an entry.
enum class Interruption : std::uint8_t {
    none,
    touch,   // it marks the word, and takes the mark back: the swap is lost, and may be tried again
    crowd,   // the same, each time from now on
    replace, // it gives the entry to another connection
    end,     // it sees the connection reset, or the reply's backend left for another
};

// What a run is to go through. Calls are counted from 1; 0: none.
struct Conditions {
    std::uint32_t readable = ~0u; // TC: bytes that are in reach without a pull
    bool partial = false;   // TC: the transport's checksum is left to the device, where the packet has a right one
    unsigned failing = 0;   // this call fails: no entry found, no room, no permission
    unsigned shrinking = 0; // after this call no more than `kept` bytes can be read
    std::uint32_t kept = 0;
    unsigned interrupted = 0; // before this call another processor does to a flow what `by` says
    Interruption by = Interruption::none;
};

// The clock and the random numbers of all runs. They can be set back, so that a run can be had twice.
struct Chance {
    std::uint64_t nanoseconds = 0;
    std::minstd_rand random{1};
};
constexpr std::uint64_t jiffies_at_start = 1ull << 33;

struct Run {
    // The one under way.
    static Run& current();

    // Begins a call: counts it, and says whether it shall fail. `what` and `map` become part of `trace`.
    bool fails(const char* what, const Map* map = nullptr);
    // Begins a call at which another processor may come between, and says what it does.
    Interruption meets(const char* what);
    // Gives the program the packet as it is now, and forgets more of it if the call shall.
    void show();

    // Room before and behind the packet, as the kernel has it.
    static constexpr std::uint32_t headroom = 256, tailroom = 512, largest = 131072;

    // Inserts or removes `bytes` at offset `at`: what is before moves. False if there is no room.
    bool grow(std::uint32_t at, std::int32_t bytes);

    std::function<Map*(const void*)> map_at; // by the address that the program knows it by
    std::uint32_t processor = 0;
    Chance* chance = nullptr;
    Conditions conditions;

    std::uint8_t* room = nullptr; // all of the memory, below 4 GiB as contexts have 32 bits for an address
    std::uint8_t* data = nullptr;
    std::uint32_t length = 0, readable = 0;
    xdp_md* xdp = nullptr; // one of the two
    __sk_buff* skb = nullptr;
    std::uint32_t partial_at = 0, partial_field = 0; // offsets of the transport and of its unfinished checksum; 0: none

    void* flows = nullptr; // the set of the flow table that was looked up last
    bool flows_are_v6 = false;

    unsigned calls = 0;
    std::vector<unsigned> meetings; // those of them at which another processor may come between
    std::uint64_t trace = 0;        // of all calls: equal for runs that took the same way
    bool counter_failed = false;    // the failing call was to find the counters of drops
};

} // namespace featherlb::packet::host
