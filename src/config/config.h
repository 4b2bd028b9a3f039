// SPDX-License-Identifier: Apache-2.0
// The configuration as a value: what the file says with every default filled in and every rule checked.
// A Config never changes after `load_config` made it, so everything planned from it is a pure function.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <tl/expected.hpp>

#include "base/ip.h"
#include "base/network_prefix.h"

namespace featherlb {

// A place in the configuration file; lines and columns (characters, not bytes) count from 1. The file as a whole:
// 1:1, and line 0 is shown as that.
struct Place {
    std::size_t line = 0;
    std::size_t column = 0;
};

enum class Attach { automatic, xdp, xdp_generic, tc };
enum class Forward { snat = FLB_SNAT, dnat = FLB_DNAT };
enum class Algorithm { round_robin, weighted_round_robin, random, ip_hash, maglev };
enum class HealthType { tcp, http };
enum class AllDown { drop, refuse };
enum class BackendDown { keep, reset, rehash };

struct InterfaceConfig {
    std::string name;
    Attach attach = Attach::automatic;
    Place place;
};

// `listen: "203.0.113.10:80/tcp"`. No address: "*", every address of the interfaces.
struct ListenerConfig {
    std::optional<IpAddress> address;
    std::uint16_t port = 0;
    Protocol protocol = Protocol::tcp;
    Place place;
};

struct DnsName {
    std::string host;
    std::uint16_t port = 0;
};

struct BackendConfig {
    std::string name; // default: the address or DNS name as written
    std::variant<Endpoint, DnsName> target;
    std::uint32_t weight = 1; // 0 to 1000; 0 takes no new connections
    Place place;
};

// How a backend is asked whether it works: a TCP connection is opened, or a page is fetched over one.
struct HealthConfig {
    HealthType type = HealthType::tcp;
    std::optional<std::uint16_t> port; // nothing: the backend's own
    std::chrono::milliseconds interval{2000};
    std::chrono::milliseconds timeout{1000}; // of a whole check; at most `interval`
    std::uint32_t rise = 2;                  // good checks in a row that bring a backend up
    std::uint32_t fall = 3;                  // failed ones that take it down
    // http only
    std::string path = "/";
    std::string host; // the Host header; empty: address and port that are asked
    std::uint16_t expect_first = 200;
    std::uint16_t expect_last = 299; // inclusive
    friend bool operator==(const HealthConfig&, const HealthConfig&) = default;
};

// What a service does about backends that fail or leave. The same keys in `defaults` and in a service.
struct FailureConfig {
    std::optional<HealthConfig> health;    // nothing: backends are not checked, and up
    std::uint32_t min_healthy = 0;         // percent of the backends; with fewer up, all are used (panic). 0: never
    std::optional<AllDown> all_down;       // no backend is up; nothing: panic where min_healthy is set, else drop
    BackendDown tcp = BackendDown::keep;   // connections of a backend that went down
    BackendDown udp = BackendDown::rehash; // never `reset`
    bool syn_failover = true;
    std::chrono::seconds avoid_refused{5};             // 0: a backend that refuses is not avoided
    std::optional<std::chrono::seconds> drain_timeout; // nothing: a drain has no deadline
};

// `affinity: {timeout: 10m}`: a client stays with its backend.
struct AffinityConfig {
    std::chrono::seconds timeout{0}; // after the last use; 0: no affinity
    std::uint8_t ipv6_prefix = 128;  // bits of an IPv6 address that stand for one client
};

// `limits`: what one source (an IPv4 address, an IPv6 /64) may do; 0: any number.
struct SourceLimits {
    std::uint32_t new_a_minute = 0;
    std::uint32_t burst = 0; // at once after a pause
    std::uint32_t connections = 0;
    friend bool operator==(const SourceLimits&, const SourceLimits&) = default;
};

// `allow` and `deny`. The most specific network decides; sorted by network, each once.
struct AccessRule {
    NetworkPrefix network;
    bool allow = false;
    friend auto operator<=>(const AccessRule&, const AccessRule&) = default;
};
using AccessRules = std::vector<AccessRule>;

// Who may open connections, how many, and where a client's next one goes.
struct AdmissionConfig {
    AffinityConfig affinity;
    SourceLimits limits;
    // By IP version, IPv4 first, and shared, since there may be 100,000; null: everybody. An `allow` list is
    // also a rule for all other networks: 0.0.0.0/0 and ::/0, denied.
    std::array<std::shared_ptr<const AccessRules>, 2> access;
};

struct ServiceConfig {
    std::string name; // [A-Za-z0-9._-], 1 to FLB_NAME_MAX - 1 bytes
    std::vector<ListenerConfig> listeners;
    Algorithm algorithm = Algorithm::maglev;
    Forward forward = Forward::snat;
    std::vector<BackendConfig> backends;
    FailureConfig failure;
    AdmissionConfig admission;
    Place place;
};

// Life of a flow without packets; docs/configuration.md, "timeouts", gives the meaning.
struct Timeouts {
    std::chrono::seconds tcp_handshake{30};
    std::chrono::seconds tcp_established{7200};
    std::chrono::seconds tcp_half_closed{120};
    std::chrono::seconds tcp_closed{10};
    std::chrono::seconds tcp_reset{2};
    std::chrono::seconds udp_unreplied{30};
    std::chrono::seconds udp_stream{120};
};

struct PortRange {
    std::uint16_t first = 1024;
    std::uint16_t last = 32767; // inclusive
};

struct SnatConfig {
    std::vector<IpAddress> addresses; // empty: auto, the address that the route to the backend prefers
    PortRange ports;
    Place place;
};

struct Config {
    std::string file;
    std::optional<std::vector<InterfaceConfig>> interfaces; // nothing: auto
    std::string admin_socket = "/run/featherlb/admin.sock";
    std::uint32_t flows_max = 262144; // connections of each IP version
    SnatConfig snat;
    Timeouts timeouts;
    std::uint64_t hash_seed = 0;                       // of the pick hash; the same on every balancer of a group
    std::optional<std::chrono::seconds> drain_timeout; // of `defaults`: for services that are no longer here
    std::vector<ServiceConfig> services;
};

// One thing that is wrong with the file. `what` says what, `remedy` what would be right.
struct Problem {
    Place place;
    std::string what;
    std::string remedy;
};

// The problems of a file in the order of their places, the first 20. format(): one "file:line:column: what; remedy" a
// line, and how many more there are.
struct ConfigErrors {
    std::string file;
    std::vector<Problem> problems;
    std::size_t more = 0; // found, but not shown
    [[nodiscard]] std::string format() const;
};

// Reads and checks the file at `path`; reports every problem that it can find, not only the first.
// Does not look at the machine (interfaces, addresses): that is check_machine's part, in src/daemon.
[[nodiscard]] tl::expected<Config, ConfigErrors> load_config(const std::string& path);
// The same for a text in memory; `name` stands for the file in messages.
[[nodiscard]] tl::expected<Config, ConfigErrors> parse_config(std::string_view text, const std::string& name);

[[nodiscard]] std::string_view to_string(Attach attach);
[[nodiscard]] std::string_view to_string(Forward forward);
[[nodiscard]] std::string_view to_string(Algorithm algorithm);
[[nodiscard]] std::string_view to_string(HealthType type);

} // namespace featherlb
