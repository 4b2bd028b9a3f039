// SPDX-License-Identifier: Apache-2.0
// Plane: both packet programs over one set of maps, the maps as memory, and runs (engine.h says by what). Frames go in
// and come out as they are on the wire, tags included: for TC a small program in front puts the outer tag where a card
// or the kernel puts it before TC, in the packet's metadata, and reads it from there afterwards.
//
// Loading takes a moment, so a plane is kept for each size of the flow table; clear() empties it. One tick of the
// flows' ages is 2^32 jiffies, more than a month: time stands still unless a test writes ages.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/fd.h"
#include "engine.h"
#include "featherlb/abi.h"
#include "frame.h"
#include "kernel/slot_bounds.h"
#include "kernel/source_limits.h"

namespace featherlb::packet {

enum class Hook { xdp, tc };

struct Sets {
    std::uint32_t ipv4 = 1024, ipv6 = 1024;
    friend auto operator<=>(const Sets&, const Sets&) = default;
};

// How a frame gets to the program.
struct Arrival {
    unsigned ifindex = 0;
    std::uint32_t gso_size = 0; // TC alone: payload bytes of the segments that this packet stands for
};

class Plane {
public:
    static constexpr std::uint32_t max_services = 16, max_backends = 2048, max_chunks = 128, max_snat_addresses = 32;
    static constexpr std::uint32_t tick_shift = 32;
    static constexpr std::uint32_t hz = 1u << 20; // as far as the programs know: a quarter of a second is long, too
    static constexpr std::uint32_t limit_sets = 64, rate_sets = 64, most_pins = 128;

    // The plane with flow tables of this size; loaded at the first call. Not for several threads.
    static Plane& of(Sets sets);

    // Everything as after loading, with settings for which the programs are loaded.
    void clear();
    // May be called from several threads at once. Throws if the kernel refuses the run.
    [[nodiscard]] Outcome run(Hook hook, const Bytes& wire, const Arrival& arrival) const;

    // TC alone, without the program in front: the packet's tags stay in the packet.
    [[nodiscard]] Outcome run_untouched(const Bytes& wire, unsigned ifindex) const;

    [[nodiscard]] flb_settings& settings() const { return table<flb_settings>("settings")[0]; }
    [[nodiscard]] std::span<flb_iface> ifaces() const { return table<flb_iface>("ifaces"); }
    [[nodiscard]] std::span<flb_service> services() const { return table<flb_service>("services"); }
    [[nodiscard]] std::span<flb_slot_chunk> slots() const { return table<flb_slot_chunk>("slots"); }
    [[nodiscard]] std::span<flb_backend> backends() const { return table<flb_backend>("backends"); }
    [[nodiscard]] std::span<flb_snat_address> snat_addresses() const
    {
        return table<flb_snat_address>("snat_addresses");
    }
    [[nodiscard]] std::span<flb_backend_mark> marks() const { return table<flb_backend_mark>("backend_marks"); }
    [[nodiscard]] std::span<flb_backend_load> loads() const { return table<flb_backend_load>("backend_loads"); }
    [[nodiscard]] std::span<flb_slot_bounds> slot_bounds() const { return table<flb_slot_bounds>("slot_bounds"); }
    [[nodiscard]] std::span<std::uint64_t> backend_chunks() const { return table<std::uint64_t>("backend_chunks"); }
    [[nodiscard]] SlotBounds bounds() const { return {slot_bounds(), backend_chunks()}; }
    [[nodiscard]] std::span<std::uint64_t> turns() const { return table<std::uint64_t>("service_turns"); }
    [[nodiscard]] std::span<flb_response_histogram> responses() const
    {
        return table<flb_response_histogram>("backend_responses");
    }
    [[nodiscard]] std::span<flb_response_histogram> service_responses() const
    {
        return table<flb_response_histogram>("service_responses");
    }
    [[nodiscard]] std::span<std::uint64_t> port_cursors() const { return table<std::uint64_t>("backend_ports"); }
    [[nodiscard]] std::span<flb_flow4> flows4() const { return table<flb_flow4>("flows4"); }
    [[nodiscard]] std::span<flb_flow6> flows6() const { return table<flb_flow6>("flows6"); }
    [[nodiscard]] flb_prefilter& prefilter() const { return table<flb_prefilter>("prefilter")[0]; }

    void put_listener(const flb_listener_key& key, const flb_listener& value) const;
    void put_source(const flb_listener_key& key, const flb_source& value) const;

    // What the first fragments of datagrams left.
    [[nodiscard]] std::vector<std::pair<flb_fragment_key, flb_fragment>> fragments() const;
    void put_fragment(const flb_fragment_key& key, const flb_fragment& value) const;
    [[nodiscard]] std::span<flb_icmp_budget> icmp_budgets() const { return table<flb_icmp_budget>("icmp_budgets"); }
    void put_prefix(const flb_prefix_key& key, bool allow) const;
    [[nodiscard]] std::span<flb_limit_count> limit_counts() const { return table<flb_limit_count>("limit_counts"); }
    [[nodiscard]] std::span<std::uint64_t> limit_rates() const { return table<std::uint64_t>("limit_rates"); }
    // Open connections of a client that its service's limit counts.
    [[nodiscard]] std::uint32_t counted(unsigned service, const IpAddress& client) const;
    [[nodiscard]] SourceCounts source_counts() const;
    [[nodiscard]] std::map<std::string, std::uint64_t> pins() const; // by the key's bytes
    void put_pin(const flb_pin_key& key, std::uint64_t value) const;

    // From now on the programs tell of what has its bit (samples.h); forgets what they have told, and their budgets.
    void ask_samples(std::uint64_t which);
    [[nodiscard]] std::vector<flb_sample> take_samples() { return engine_->take_samples(); }
    [[nodiscard]] std::span<flb_sample_budget> sample_budgets() const
    {
        return table<flb_sample_budget>("sample_budgets");
    }

    // Sums over the processors.
    [[nodiscard]] std::uint64_t events(std::uint32_t event) const;
    [[nodiscard]] std::uint64_t drops(std::uint32_t reason) const;
    [[nodiscard]] flb_backend_counters counters(std::uint32_t backend) const;

private:
    explicit Plane(Sets sets);
    // An array map's memory, in steps of T.
    template <typename T>
    [[nodiscard]] std::span<T> table(const char* name) const
    {
        const std::span<std::uint8_t> memory = memory_.at(name);
        return {reinterpret_cast<T*>(memory.data()), memory.size() / sizeof(T)};
    }
    [[nodiscard]] Outcome run_xdp(const Bytes& wire, const Arrival& arrival) const;
    [[nodiscard]] Outcome run_tc(const Bytes& wire, const Arrival& arrival) const;

    std::unique_ptr<Engine> engine_;
    std::map<std::string, std::span<std::uint8_t>> memory_;
    std::uint32_t processors_ = 0;
};

// The program that stands in front of the one for TC; see tc_front.cpp. `program`: file descriptor of ours.
struct TcFront {
    Fd map;     // the array with the program to call
    Fd program; // what to run
};
[[nodiscard]] TcFront make_tc_front(int program);

} // namespace featherlb::packet
