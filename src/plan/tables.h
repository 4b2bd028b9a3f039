// SPDX-License-Identifier: Apache-2.0
// Tables: the whole contents of the kernel's maps as a value, compiled from the configuration and what is known
// of the machine by pure functions. The same Tables are read back from pinned maps by a daemon that adopts them;
// the difference of two Tables is what `reload` applies.
//
// Identifiers (indexes of services and backends) are stable: a service keeps its id by (name, family), a backend
// by (service, address, port, and whether its answers come by here), over reloads and restarts. An id is given away
// again only once no flow refers to it.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "base/ip.h"
#include "base/result.h"
#include "config/config.h"
#include "featherlb/abi.h"
#include "plan/slot_table.h"

namespace featherlb {

using ServiceId = std::uint32_t;

// A row of the map `services`: one for each (service, family) of the configuration that has listeners.
struct ServiceRow {
    std::string name;
    Family family = Family::ipv4;
    Forward forward = Forward::snat;
    flb_pick pick = FLB_PICK_HASH_5TUPLE;
    Measure measure = Measure::none;
    std::uint64_t pick_seed = 0;
    std::chrono::seconds affinity{0};  // after a pin's last use; 0: none
    std::uint8_t affinity_prefix = 32; // bits of an address that one pin stands for
    SourceLimits limits;
    bool lists = false;  // Tables::access has rules for it
    SlotTable slots;     // empty: no backend takes connections
    bool refuse = false; // and clients are told
    bool syn_failover = true;
    std::chrono::seconds avoid_refused{0}; // 0: a backend that refuses is not avoided
    friend bool operator==(const ServiceRow&, const ServiceRow&) = default;
};

// A row of the map `backends`. `service` is the row that it belongs to. A backend that left the configuration
// stays as a row with `draining` until the flow table has no flow of it. One whose health check failed is `down`, and
// then not `up`, unless too few of the service are left and all are used.
struct BackendRow {
    ServiceId service = 0;
    Endpoint endpoint;
    bool up = true;
    bool draining = false;
    bool down = false;
    // What becomes of its connections.
    bool reset = false;
    bool rehash_tcp = false;
    bool rehash_udp = false;
    // In hundredths: what it weighs now, slow start and its agent included; 0: no new connections while others have a
    // share. Not in the maps for algorithms whose slots say it, and not compared.
    std::uint32_t weight = 100;
    bool any_side = false;                 // what it sends may come by another interface than `hop`
    std::optional<Forward> one_way;        // dsr or ipip; nothing: what it answers comes by here
    flb_hop hop{};                         // all zero: not resolved
    std::uint16_t mtu = 0;                 // 0: not resolved
    std::vector<IpAddress> snat_addresses; // sources of connections to it, ipip: of outer headers; empty for dnat and
                                           // dsr, and while unresolved
    std::uint8_t source_bits = 0;          // ipip: so many of the source's are fixed; 0: all
    std::uint32_t load_weight = 100;       // hundredths, for picks that compare backends by their load
    friend bool operator==(const BackendRow& a, const BackendRow& b);
};

struct ListenerKey {
    IpAddress address;
    std::uint16_t port = 0;
    Protocol protocol = Protocol::tcp;
    friend auto operator<=>(const ListenerKey&, const ListenerKey&) = default;
};

// A dnat backend's own address and port, and the service that its packets leave as when their flow is not known.
struct SourceRow {
    Endpoint service;
    BackendId backend = 0;
    friend bool operator==(const SourceRow&, const SourceRow&) = default;
};

struct Tables {
    std::map<ServiceId, ServiceRow> services;
    std::map<BackendId, BackendRow> backends;
    std::map<ListenerKey, ServiceId> listeners;
    std::map<ListenerKey, SourceRow> sources; // keyed by the backend's address, port and the protocol
    // Rows of the map `prefixes`, by service; never null. Shared with the configuration that they come from, so that a
    // plan that changes nothing of them costs nothing.
    std::map<ServiceId, std::shared_ptr<const AccessRules>> access;
    Timeouts timeouts;
    PortRange snat_ports;
    friend bool operator==(const Tables& a, const Tables& b);
};

// A backend as people know it: the service's name, address and port.
struct BackendKey {
    std::string service;
    Endpoint endpoint;
    friend auto operator<=>(const BackendKey&, const BackendKey&) = default;
};

// What is known of the machine and the network when a plan is made.
struct NextHop {
    flb_hop hop{}; // all zero: the neighbour is not resolved yet
    std::uint16_t mtu = 0;
    std::optional<IpAddress> source; // the address that the kernel's route prefers
    bool gateway = false;            // the hop is a router's, not the backend's own
};
// What an operator has said of a backend, over the configuration.
struct BackendOverride {
    std::optional<std::uint32_t> weight;
    bool drained = false;
    friend bool operator==(const BackendOverride&, const BackendOverride&) = default;
};
struct World {
    std::set<IpAddress> local_addresses;               // of the attached interfaces: what "*" means
    std::map<IpAddress, std::uint32_t> homes;          // the machine's own addresses -> interface index
    std::map<std::string, std::vector<IpAddress>> dns; // host -> addresses, sorted
    std::map<IpAddress, NextHop> next_hops;            // by backend address
    std::set<BackendKey> down;                         // by their checks or agents; all others are up
    std::set<BackendKey> drained;                      // by their agents
    std::map<BackendKey, std::uint32_t> percents;      // of their weight, by their agents; not named: 100
    std::map<BackendKey, std::uint32_t> ramps;         // of that, in percent: slow start; not named: 100
    std::map<BackendKey, BackendOverride> overrides;
    std::set<BackendId> overdue; // have drained for longer than they may
};

// Config + World + what is there -> what should be. `have` gives the ids in use; rows of backends that the
// configuration no longer names stay, draining, until a plan finds them draining in `have` and in `unreferenced`
// (one that was not draining may have got a connection since the flows were counted). Their service stays with
// them, without slots and listeners. Ids that a plan frees are given away from the next plan on.
// A backend of weight 0 drains, too. One that has no resolved next hop or no address to come from (snat) gets no
// slots while another one of the service has both. A next hop that World does not name stays as in `have`.
// In dsr a next hop that is a gateway counts as none. One whose service changes to or from dsr or ipip becomes another
// backend, and what it was drains.
// One that is down gets no slots and `on_backend_down` takes its connections; but where fewer are up than min_healthy
// (of those with a weight, in each IP version), all of the service are used as if none were down. A drain that is
// overdue ends what connections are left.
// Backups take connections only while no other backend of the service, in its IP version, can: is up, not drained, has
// a next hop and more than 0 percent. Panic is judged without them, and does not come while a backup is up and no other
// is. Where all are backups, none is.
// Fails where a limit is exceeded (`limits`), naming it.
struct Limits {
    std::uint32_t services = 0; // entries of the map; the first is not used, nor that of backends
    std::uint32_t backends = 0;
    std::uint32_t slots = 0;    // backend numbers that fit in the map `slots`
    std::uint32_t prefixes = 0; // entries of the map
    std::uint32_t listeners = FLB_MAX_LISTENERS;
    std::uint32_t sources = FLB_MAX_SOURCES;
};
[[nodiscard]] Result<Tables> make_tables(const Config& config, const World& world, const Tables& have,
    const std::set<BackendId>& unreferenced, const Limits& limits);

// Services whose health is ignored because too few of their backends are up.
[[nodiscard]] std::set<ServiceId> panicking(const Tables& tables);

// The slot table of one service, in backend ids; empty if no backend is up with a weight. docs/algorithms.md.
[[nodiscard]] std::vector<BackendId> make_slots(Algorithm algorithm, const std::vector<WeightedBackend>& backends);
// How many slots that will be, at most; without making them. `varying`: whatever the shares are.
[[nodiscard]] std::size_t count_slots(
    Algorithm algorithm, const std::vector<WeightedBackend>& backends, bool varying = false);

// The prefilter that belongs to the tables. Addresses of listeners and sources that have left the tables are not in
// it, though flows of them may still live: who applies it decides when a bit may be cleared.
[[nodiscard]] std::array<std::uint8_t, FLB_PREFILTER_SIZE> make_prefilter(const Tables& tables);

// The addresses and protocols that certainly are ours, as keys with port 0: something listens there, or connections
// to backends come from there.
[[nodiscard]] std::set<ListenerKey> make_own_addresses(const Tables& tables);

// What must be done to come from `have` to `want`, in an order that is safe under traffic: backends before the
// services and listeners that lead to them, removals in reverse. After each change no listener leads to a service
// that is not there, and no slot or source to a backend that is not there.
struct Change {
    enum class Kind {
        put_backend,
        put_slots,
        put_service,
        put_prefix,
        put_source,
        put_listener,
        remove_listener,
        remove_source,
        remove_prefix,
        remove_service,
        remove_backend,
        put_settings
    };
    Kind kind{};
    std::uint32_t id = 0; // of the service or backend
    ListenerKey key;      // of the listener or source
    AccessRule rule;      // of the prefix; `id` is its service
    friend bool operator==(const Change&, const Change&) = default;
};
[[nodiscard]] std::vector<Change> diff(const Tables& have, const Tables& want);

} // namespace featherlb
