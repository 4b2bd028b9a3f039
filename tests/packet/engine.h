// SPDX-License-Identifier: Apache-2.0
// Engine: what Plane stands on: the maps of the packet programs, and something that runs the programs on one packet.
// There are two, and which one a test binary has is decided when it is linked: kernel_engine.cpp (packet_tests: real
// maps, BPF_PROG_TEST_RUN) and host/engine.cpp (packet_tests_host: the same sources compiled for this machine, over
// plain memory, for branch coverage and injected faults).
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "featherlb/samples.h"
#include "frame.h"

// Not <linux/bpf.h>: a struct of libpcap, which libtins includes, has the name of one in it.
struct __sk_buff; // NOLINT(bugprone-reserved-identifier)
struct xdp_md;

namespace featherlb::packet {

enum class Verdict { pass, drop, transmit, redirect, other };

struct Outcome {
    Verdict verdict = Verdict::other;
    int code = 0; // as the program returned it
    Bytes bytes;
    std::uint32_t gso_size = 0; // TC, afterwards; BPF_PROG_TEST_RUN does not tell
};

// Entries of maps whose size the daemon decides, by name.
using MapSizes = std::map<std::string, std::uint32_t>;

class Engine {
public:
    virtual ~Engine() = default;

    // The array maps that are memory, by name.
    [[nodiscard]] virtual std::map<std::string, std::span<std::uint8_t>> memory() = 0;

    // The other maps: 0, or a negative number. `key` of next_key: null for the first one.
    virtual int update(const char* map, const void* key, const void* value) = 0;
    virtual int lookup(const char* map, const void* key, void* value) = 0;
    virtual int next_key(const char* map, const void* key, void* next) = 0;
    virtual int erase(const char* map, const void* key) = 0;

    // What the programs have told since the last call (samples.h).
    virtual std::vector<flb_sample> take_samples() = 0;

    // One packet. Both throw if it is refused before a program sees it. Of the contexts the interface and, for TC,
    // gso_* and cb[0] are read: cb[0], where not 0, is a tag for the packet's metadata (protocol << 16 | TCI), and
    // cb[0..2] become vlan_present, vlan_tci and vlan_proto as they are afterwards. `tags_in_packet`: no tag goes into
    // metadata.
    virtual Outcome run_xdp(const Bytes& in, xdp_md& context) = 0;
    virtual Outcome run_skb(const Bytes& in, __sk_buff& context, bool tags_in_packet) = 0;
};

// Throws if it cannot be made.
[[nodiscard]] std::unique_ptr<Engine> make_engine(const MapSizes& sizes, const flb_load& constants);

} // namespace featherlb::packet
