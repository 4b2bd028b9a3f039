// SPDX-License-Identifier: Apache-2.0
// Model: what the programs have to do with a packet, written a second time, plainly and slowly, from design.md: flows
// are two std::maps without bounds, time is a number, nothing runs at once with anything else. It predicts verdict,
// drop reason and every byte that leaves; model_test.cpp compares.
//
// A new step of the data plane grows the model by a rule here: `unknown` for packets of no flow, `from_client` and
// `from_backend` for the life of one, `leave` for what happens on the way out. What the daemon writes into maps stands
// in World; a test changes both at once.
//
// Where the table would be full, or two processors meet, the model says nothing: tests keep away from that.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <tuple>
#include <vector>

#include "base/network_prefix.h"
#include "featherlb/abi.h"
#include "frame.h"
#include "plane.h"

namespace featherlb::packet {

// How a frame gets to a station: MAC, interface, tags.
struct Hop {
    Mac mac{};
    unsigned ifindex = 0;
    std::vector<Tag> tags;
    friend bool operator==(const Hop&, const Hop&) = default;
};

struct ModelInterface {
    Mac mac{};
    unsigned mtu = 1500;
};

struct ModelService {
    flb_forward forward = FLB_SNAT;
    flb_pick pick = FLB_PICK_TURN;
    std::uint64_t seed = 0;
    std::vector<unsigned> slots; // backends
    std::uint64_t turn = 0;
    std::map<NetworkPrefix, bool> lists;  // whether clients of a network may connect; the longest one decides
    std::uint32_t source_connections = 0; // open at the same time, of one source; 0: any number
    std::uint32_t affinity_ticks = 0;     // 0: none
    std::uint8_t affinity_prefix = 0;
};

struct ModelBackend {
    IpAddress address;
    std::uint16_t port = 0;
    unsigned service = 0;
    std::optional<Hop> hop; // none: not resolved
    unsigned mtu = 1500;
    bool valid = true;
    std::uint32_t down = 0;      // FLB_BACKEND_RESET and REHASH_*: it is down, and what becomes of its connections
    std::vector<IpAddress> pool; // addresses that connections to it come from
    std::uint64_t cursor = 0;    // of the rotation through the pool's (address, port) pairs
    bool crowded = false;        // the last connection took a port from one that was not proven
    // what it must have been counted for
    std::uint64_t packets[2] = {}, bytes[2] = {}, connections = 0;
};

// An address and port, of a listener or of a backend.
using Place = std::tuple<IpAddress, std::uint16_t, std::uint8_t>;

struct World {
    std::map<unsigned, ModelInterface> interfaces;
    std::map<unsigned, ModelService> services;
    std::map<unsigned, ModelBackend> backends;
    std::map<Place, unsigned> listeners; // -> service
    struct Source {
        IpAddress address; // of the service
        std::uint16_t port = 0;
        unsigned backend = 0;
    };
    std::map<Place, Source> sources; // `dnat` backends
    // The kernel's routes: where it knows a neighbour, and whom it would look for.
    std::map<IpAddress, Hop> neighbours;
    std::set<IpAddress> on_link;
    unsigned route_mtu = 1500;

    std::map<unsigned, std::uint32_t> timeout; // ticks, by flb_flow_state
    std::uint16_t first_port = 0, ports = 0;
    std::uint32_t stride = 1;
    std::uint32_t now = 0;   // ticks
    std::uint32_t clock = 0; // what the programs take for now
};

struct Expected {
    enum Kind { pass, drop, send } kind = pass;
    flb_drop_reason reason = FLB_DROP_none; // counted; of `drop`, and of a RST that is sent
    Frame out;                              // of `send`
    unsigned ifindex = 0;
};

// Addresses and ports of a packet as they arrive.
struct Key {
    IpAddress source, destination;
    std::uint16_t sport = 0, dport = 0;
    std::uint8_t protocol = 0;
    friend auto operator<=>(const Key&, const Key&) = default;
};
[[nodiscard]] Key key_of(const Frame& frame);

struct Owner { // the client's direction
    std::uint64_t id = 0;
    unsigned state = FLB_FLOW_EMPTY;
    std::uint32_t seen = 0; // ticks
    unsigned backend = 0;
    IpAddress new_source, new_destination;
    std::uint16_t new_sport = 0, new_dport = 0;
    std::uint32_t proof = 0; // the ACK number that proves the client
    Key reply;
    bool counted = false; // as an open connection of its source
};
struct Reply { // the backend's direction; holds the source port
    std::uint64_t owner_id = 0;
    Key owner;
    Hop client;
    std::uint32_t seen = 0;  // ticks
    bool superseded = false; // its connection has gone to another backend: what still comes is dropped
};

// A source's count of open connections, or a pin: {service, network}.
using SourceKey = std::pair<unsigned, NetworkPrefix>;
struct Pin {
    unsigned backend = 0;
    std::uint32_t seen = 0; // ticks
};

class Model {
public:
    World world;

    // What must become of this frame that comes by the interface.
    Expected answer(const Frame& in, unsigned ifindex);

    // The connection that a client's packet belongs to; null if there is none, or it has expired.
    [[nodiscard]] const Owner* find(const Key& key) const;
    // The connection of a backend's packet.
    [[nodiscard]] const Owner* find_by_reply(const Key& key) const;
    [[nodiscard]] const std::map<Key, Owner>& owners() const { return owners_; }
    [[nodiscard]] const std::map<SourceKey, unsigned>& counts() const { return counts_; }
    [[nodiscard]] const std::map<SourceKey, Pin>& pins() const { return pins_; }
    // What the daemon's sweeper does.
    void sweep();

    [[nodiscard]] static bool is_proven(unsigned state) { return state >= FLB_FLOW_ESTABLISHED; }
    [[nodiscard]] static bool is_closed(unsigned state)
    {
        return state == FLB_FLOW_CLOSED_CLIENT || state == FLB_FLOW_CLOSED_BACKEND;
    }
    // It may count as an open connection.
    [[nodiscard]] static bool is_open(unsigned state)
    {
        return state >= FLB_FLOW_ESTABLISHED && state <= FLB_FLOW_UDP_STREAM;
    }
    [[nodiscard]] static bool is_closing(unsigned state)
    {
        return state == FLB_FLOW_FIN_CLIENT || state == FLB_FLOW_FIN_BACKEND || state == FLB_FLOW_RESET ||
               is_closed(state);
    }

private:
    // Where a packet is to go, once a rule has decided.
    struct Path {
        IpAddress source, destination;
        std::uint16_t sport = 0, dport = 0;
        unsigned backend = 0;
        enum { to_backend, to_client, by_routes } direction = to_backend;
        Hop client;                              // of to_client
        flb_drop_reason refused = FLB_DROP_none; // it goes nowhere
    };

    [[nodiscard]] bool may_be_ours(const Frame& in) const;
    [[nodiscard]] bool has_expired(const Owner& owner) const;
    [[nodiscard]] Owner* owner_of(const Reply& reply);
    [[nodiscard]] Reply* reply_of(const Key& key, const Owner& owner);

    // None: the packet belongs to no connection; go on with `unknown`.
    std::optional<Path> from_client(const Frame& in, const Hop& from);
    std::optional<Path> from_backend(const Frame& in, const Hop& from);
    // `admitted`: it is no new connection, but one that goes to another backend.
    Expected unknown(const Frame& in, const Hop& from, bool admitted = false);
    // The packet's connection is known, and its backend is down.
    Expected reconsider(const Frame& in, const Hop& from, std::uint32_t down);
    void end(const Key& key); // both directions
    Expected leave(const Frame& in, const Path& path);

    Expected begin(
        const Frame& in, const Hop& from, ModelService& service, unsigned number, unsigned state, bool store);
    enum class Take { free, resting, closing, unproven, taken };
    [[nodiscard]] Take reply_key(const Key& key);
    // A free pair of the backend's rotation; none: all that were tried are taken.
    std::optional<Key> take_port(const Frame& in, ModelBackend& backend);
    unsigned pick(const Frame& in, ModelService& service);

    // ---- admission and affinity: model_admission.cpp
    [[nodiscard]] ModelService& service_of(const Owner& owner);
    [[nodiscard]] unsigned& count_of(unsigned service, const IpAddress& client);
    [[nodiscard]] flb_drop_reason lists_say(const ModelService& service, const IpAddress& client) const;
    [[nodiscard]] unsigned pinned(unsigned number, const IpAddress& client) const; // a backend; 0: none
    void use_pin(const Key& key, const Owner& owner, bool proven);
    // Its age is no longer what it was: an open connection uses its pin, when 16 ticks begin.
    void touch(const Key& key, Owner& owner);
    // Another state; false: the source has as many connections as it may.
    bool move(const Key& key, Owner& owner, unsigned next, bool by_client);
    void forget(const Key& key);
    [[nodiscard]] Expected reset(const Frame& in, unsigned ifindex, flb_drop_reason reason) const;

    std::map<Key, Owner> owners_;
    std::map<Key, Reply> replies_;
    std::map<SourceKey, unsigned> counts_;
    std::map<SourceKey, Pin> pins_;
    std::uint64_t next_id_ = 1;
};

} // namespace featherlb::packet
