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
enum class Forward { snat = FLB_SNAT, dnat = FLB_DNAT, dsr = FLB_DSR, ipip = FLB_IPIP };
enum class Algorithm {
    round_robin,
    weighted_round_robin,
    random,
    ip_hash,
    maglev,
    least_connections,
    weighted_least_connections,
    power_of_two,
    weighted_response_time,
    resource_based
};
// How response times are measured.
enum class Measure { none, first_byte, handshake };
enum class HealthType { tcp, http, https, udp, dns };
enum class DnsRecord { a, aaaa };
// What an answer must be to be good: NOERROR with a record of the kind, "no such name", or an answer at all.
enum class DnsExpect { answer, nxdomain, any };
enum class AllDown { drop, refuse };
enum class BackendDown { keep, reset, rehash };

struct InterfaceConfig {
    std::string name;
    Attach attach = Attach::automatic;
    Place place;
};

// `listen: "203.0.113.10:80/tcp"`, or a range: "203.0.113.10:8000-8099/tcp". No address: "*", every address of the
// interfaces.
struct ListenerConfig {
    std::optional<IpAddress> address;
    std::uint16_t port = 0;       // the first
    std::uint16_t more_ports = 0; // of a range: how many follow it
    Protocol protocol = Protocol::tcp;
    Place place;
    [[nodiscard]] std::uint16_t last_port() const { return static_cast<std::uint16_t>(port + more_ports); }
    [[nodiscard]] std::uint32_t count() const { return more_ports + 1u; }
};

struct DnsName {
    std::string host;
    std::uint16_t port = 0;            // 0: the one that the client used
    std::chrono::seconds interval{10}; // from one look-up to the next
    [[nodiscard]] std::string to_string() const;
};

inline constexpr std::uint32_t largest_weight = 1000;
inline constexpr std::chrono::seconds longest_duration{std::int64_t{30} * 86400}; // drain_timeout, timeouts

struct BackendConfig {
    std::string name;                          // default: the address or DNS name as written
    std::variant<Endpoint, DnsName> target;    // port 0: a connection keeps the port that its client used
    std::uint32_t weight = 1;                  // 0 to 1000; 0 takes no new connections
    bool backup = false;                       // takes connections only while no other can
    std::optional<std::uint16_t> agent_port{}; // nothing: the service's
    Place place;
    bool from_file = false; // it stands in one of the service's files
};

// `file: /etc/featherlb/web.yaml`: backends that stand in a file of their own, which is followed as it changes.
struct BackendFile {
    std::string path;         // absolute
    std::uint32_t weight = 1; // of those that name none
    bool backup = false;
    Place place;
    std::size_t fingerprint = 0; // of its text when it was read
};

// Text that many share; equal if it reads the same.
struct SharedText {
    std::shared_ptr<const std::string> text; // null: none
    friend bool operator==(const SharedText& a, const SharedText& b)
    {
        return a.text == b.text || (a.text && b.text && *a.text == *b.text);
    }
};

// How a backend is asked whether it works: a TCP connection is opened, a page is fetched over one, bytes or a question
// of DNS are sent by UDP.
struct HealthConfig {
    HealthType type = HealthType::tcp;
    std::optional<std::uint16_t> port; // nothing: the backend's own
    std::chrono::milliseconds interval{2000};
    std::chrono::milliseconds fast_interval{0}; // from a failed check until it is up again; 0: `interval`
    std::uint32_t jitter = 0;                   // percent of the interval by which a check begins later, at random
    std::chrono::milliseconds timeout{1000};    // of a whole check; at most `interval`
    std::uint32_t rise = 2;                     // good checks in a row that bring a backend up
    std::uint32_t fall = 3;                     // failed ones that take it down
    // http, https
    std::string path = "/";
    std::string host; // the Host header and the server's name in TLS; empty: address and port that are asked
    std::uint16_t expect_first = 200;
    std::uint16_t expect_last = 299; // inclusive
    std::string body;                // what the answer's body must contain
    // https
    bool verify = true; // the certificate: who signed it, until when it is good, for which name
    SharedText ca;      // PEM; null: the certificates that the system trusts
    // udp
    std::string send;
    std::string expect_bytes; // what the answer must contain; empty: an answer is not needed
    // dns
    std::string name;
    DnsRecord record = DnsRecord::a;
    DnsExpect expect_dns = DnsExpect::answer;
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

// Who on the backend tells how much it can take, in the protocol of HAProxy's agent checks.
struct AgentConfig {
    std::uint16_t port = 0; // at the backend's address
    std::chrono::milliseconds interval{2000};
    std::chrono::milliseconds timeout{1000}; // of a whole question; at most `interval`
    std::chrono::milliseconds hold{30'000};  // a percentage counts for so long after the last report
    std::string send;                        // first of all; empty: nothing
    friend bool operator==(const AgentConfig&, const AgentConfig&) = default;
};

// How much of its weight a backend has at the moment.
struct SharingConfig {
    std::chrono::seconds slow_start{0}; // a backend that comes up has its full weight after that; 0: at once
    std::optional<AgentConfig> agent;
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
    std::vector<BackendConfig> backends; // those of `files` are among them
    std::vector<BackendFile> files;
    FailureConfig failure;
    SharingConfig sharing{};
    AdmissionConfig admission;
    Measure measure = Measure::none;
    Place place;
};

// The port that all listeners of the service have; nothing if there are several. Where backends without a port of
// their own are asked whether they work.
[[nodiscard]] std::optional<std::uint16_t> only_port(const ServiceConfig& service);

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

// `ipip: {source: 10.127.0.0/16}`: where the outer headers come from, IPv4 first; nothing: the address that the route
// to the backend prefers. Bits behind the prefix vary with the flow.
struct IpipConfig {
    std::array<std::optional<NetworkPrefix>, 2> source;
};

// `metrics: {listen: "127.0.0.1:9420"}`
struct MetricsConfig {
    Endpoint listen; // 0.0.0.0, [::]: every address of this IP version
    Place place;
};

// Who may use the admin socket, with `admin_socket` set when the daemon starts.
struct AdminAccess {
    std::string group;         // name or number; empty: the daemon's own
    std::uint32_t mode = 0660; // 0600, 0660 or 0666
    friend bool operator==(const AdminAccess&, const AdminAccess&) = default;
};

struct Config {
    std::string file;
    std::shared_ptr<const std::string> text;                // what stands in it
    std::optional<std::vector<InterfaceConfig>> interfaces; // nothing: auto
    std::string admin_socket = "/run/featherlb/admin.sock";
    AdminAccess admin_access;
    Place admin_group_place;
    std::optional<MetricsConfig> metrics; // nothing: no port is opened
    std::uint32_t flows_max = 262144;     // connections of each IP version
    SnatConfig snat;
    IpipConfig ipip;
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

// "203.0.113.10:80/tcp", "[2001:db8::10]:8000-8099/udp", "*:80/tcp"
[[nodiscard]] std::string to_string(const ListenerConfig& listener);
// Backends answer clients directly, so their answers are not seen.
[[nodiscard]] constexpr bool is_one_way(Forward forward)
{
    return forward == Forward::dsr || forward == Forward::ipip;
}
// Whether the kernel compares the backends' loads for each new connection.
// round-robin and least-connections know only whether a backend has a weight.
[[nodiscard]] constexpr bool uses_weights(Algorithm algorithm)
{
    return algorithm != Algorithm::round_robin && algorithm != Algorithm::least_connections;
}
[[nodiscard]] constexpr bool picks_by_load(Algorithm algorithm)
{
    return algorithm >= Algorithm::least_connections && algorithm <= Algorithm::weighted_response_time;
}

[[nodiscard]] std::string_view to_string(Attach attach);
[[nodiscard]] std::string_view to_string(Forward forward);
[[nodiscard]] std::string_view to_string(Algorithm algorithm);
[[nodiscard]] std::string_view to_string(HealthType type);
[[nodiscard]] std::string_view to_string(Measure measure);

} // namespace featherlb
