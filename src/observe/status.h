// SPDX-License-Identifier: Apache-2.0
// Status: what a running daemon tells of itself, as a value. The daemon fills it, the admin socket sends it as JSON
// with the names of the fields here (docs/api.md), and the command line prints it; metrics are made from it, too.
// Fields may be added; a reader ignores what it does not know and takes defaults for what is missing. Counters of
// packets are totals since the maps were made, what the daemon counts itself since it started.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "featherlb/abi.h"

namespace featherlb {

struct InterfaceStatus {
    std::string name;
    std::uint32_t ifindex = 0;
    bool attached = false;
    std::string hook;   // "xdp", "xdp-generic", "tcx", "clsact"
    std::string attach; // as configured: "auto", "xdp", ...
    std::string driver;
    std::string chosen;  // why this interface
    std::string why;     // why this hook
    std::string problem; // why it is not attached
    std::uint32_t program_id = 0;
    std::vector<std::string> warnings;
};

// Health checks of a backend since the daemon started.
struct CheckStatus {
    std::uint64_t good = 0;
    std::uint64_t failed = 0;
    std::uint64_t discarded = 0; // said nothing: the daemon was late, or could not ask
    std::string last_failure;    // empty: none has failed
    double seconds = 0;          // that the good and the failed ones took, together
    bool flapping = false;       // it went down again and again, so it needs more good checks in a row than `rise`
    std::uint32_t needed = 0;    // so many, while it is down; 0: it is not checked
};

// What a backend's agent says.
struct AgentStatus {
    std::string state;         // "reporting"; "silent": not for too long; "waiting": not yet; empty: there is none
    std::int64_t percent = -1; // as it counts; negative: it has said none
    std::string word;          // "down", "stopped", "drain", "maint", ...; empty: the backend may take connections
    std::string reason;        // as it gave it
    std::uint64_t good = 0;    // reports
    std::uint64_t failed = 0;  // no connection, no answer in time, or not understood
    std::uint64_t discarded = 0;
    std::string last_failure;
};

// Response times, where they are measured.
struct ResponseStatus {
    std::uint64_t count = 0;
    double sum_seconds = 0;
    double smoothed_seconds = 0;        // as picks see it at this moment; 0: nothing is known
    std::vector<std::uint64_t> buckets; // below 1 us, 2 us, 4 us, ..., each without the ones before; empty: none
};

// What `featherlb drain`, `undrain` and `weight` have said of a backend, over the file.
struct OverrideStatus {
    bool drained = false;
    std::int64_t weight = -1;           // negative: as the file says
    std::int64_t deadline_seconds = -1; // of the drain; negative: drain_timeout
    std::string at;                     // when it was last said; empty: nothing has been said
};

struct TrafficStatus {
    std::uint64_t connections = 0;
    std::uint64_t packets_in = 0; // from clients
    std::uint64_t packets_out = 0;
    std::uint64_t bytes_in = 0;
    std::uint64_t bytes_out = 0;
};

struct BackendStatus {
    std::string name;
    bool configured = true; // false: it left the file, and keeps its connections
    bool by_name = false;   // one of the addresses of a DNS name
    std::string address;    // "10.0.1.11:8080"; "10.0.1.11": the port is the client's
    std::string state;      // "up", "standby" (a backup that is not needed), "down", "draining", "unresolved"
    std::string reason;     // why it is not up
    bool used = false;      // takes new connections: also one that is down, in panic
    std::string tcp_fate;   // what becomes of its connections: "reset", "rehash"; empty: they go on
    std::string udp_fate;
    CheckStatus checks;
    std::uint32_t weight = 0; // as configured
    double weight_now = 0;    // slow start and the agent included
    bool backup = false;
    std::uint32_t slow_start_percent = 100; // of its share, so far
    double slow_start_seconds_left = 0;
    AgentStatus agent;
    OverrideStatus override;
    std::uint64_t open = 0;        // connections at this moment, those that are closed not included
    std::uint64_t flows = 0;       // entries of the flow table, as last counted, closed ones included
    std::uint64_t connections = 0; // all since it is known
    std::uint64_t refused = 0;     // of them, that it answered with RST
    std::uint64_t packets_in = 0;  // from clients
    std::uint64_t packets_out = 0; // from the backend
    std::uint64_t bytes_in = 0;
    std::uint64_t bytes_out = 0;
    ResponseStatus responses;
};

struct ServiceStatus {
    std::string name;
    std::string state; // "active"; "draining": no longer configured, keeps its connections
    std::string algorithm;
    std::string forward;
    std::vector<std::string> listeners; // "203.0.113.10:80/tcp", "203.0.113.10:8000-8099/udp"; "*" spelled out
    std::vector<BackendStatus> backends;
    std::string health;       // how backends are checked: "tcp every 2s"; "none"
    bool panic = false;       // too few are up, in an IP version: health is ignored there
    std::uint64_t panics = 0; // times that it came to that since the daemon started
    bool refusing = false;    // none is up, in an IP version, and clients are told
    std::string measure;      // of response times: "none", "first-byte", "handshake"
    ResponseStatus responses; // of all backends
    TrafficStatus traffic;    // since the daemon started, backends that are gone included
};

// Whether its backends are.
[[nodiscard]] inline bool is_checked(const ServiceStatus& service)
{
    return !service.health.empty() && service.health != "none";
}

struct FlowsStatus {
    std::uint64_t capacity = 0;    // connections of each IP version
    std::uint64_t connections = 0; // now, as last counted
    std::uint64_t unproven = 0;    // of them
    std::map<std::string, std::uint64_t> by_state;
    double counted_seconds_ago = -1; // negative: not yet
    std::uint64_t expired = 0;       // freed because of their age
    std::uint64_t evicted = 0;       // unproven entries that gave way before a handshake's round trip: too little room
    std::uint64_t evicted_last_minute = 0;
    std::uint64_t corrected = 0; // counts of open connections that were found wrong and put right
    std::uint64_t pins = 0;      // clients that stay with a backend (affinity), as last counted
};

struct EventStatus {
    std::string event; // as the metric label
    std::string text;
    std::uint64_t count = 0;
};

struct DropStatus {
    std::string reason; // as the metric label
    std::string text;
    std::uint64_t packets = 0;
};

struct ProgramStatus {
    std::string name;
    std::uint32_t id = 0;
    std::string tag;
    std::uint32_t instructions = 0;
};

struct MapStatus {
    std::string name;
    std::uint64_t entries = 0;
    std::uint64_t bytes = 0;
};

struct DataPlaneStatus {
    std::string pins; // directory; empty: ephemeral
    bool adopted = false;
    std::uint64_t memory_bytes = 0;
    std::vector<ProgramStatus> programs;
    std::vector<MapStatus> maps;
};

struct ReloadStatus {
    std::string result; // "ok", "invalid", "failed"; empty: none yet
    std::string at;     // 2026-01-31T12:00:00Z
    std::string message;
};

// Reloads since the daemon started, by result.
struct ReloadCounts {
    std::uint64_t ok = 0;
    std::uint64_t invalid = 0;
    std::uint64_t failed = 0;
};

struct Status {
    std::string version;
    std::uint32_t abi = FLB_ABI;
    std::int64_t pid = 0;
    std::string state; // "starting", "running"
    double uptime_seconds = 0;
    std::string config_file;
    std::string config_loaded_at;
    double config_loaded_unix = 0; // the same in seconds since 1970; 0: none holds yet
    ReloadStatus last_reload;
    ReloadCounts reloads;
    std::string problem; // what is being tried again at the moment; empty: nothing
    std::vector<InterfaceStatus> interfaces;
    std::vector<ServiceStatus> services;
    FlowsStatus flows;
    std::vector<DropStatus> drops;   // reasons with packets
    std::vector<EventStatus> events; // that occurred
    DataPlaneStatus data_plane;
};

// Names of the states of a connection (the client's direction), by enum flb_flow_state, and of a reply that the
// client's SYN has left for another backend; empty for what is none.
[[nodiscard]] std::string flow_state_name(std::uint32_t state);
// Not yet proven to have a real client: may be replaced where room is needed.
[[nodiscard]] bool is_unproven(std::uint32_t state);

// Without spaces; bytes that are not UTF-8 are replaced.
[[nodiscard]] std::string write_json(const Status& status);
void from_json(const nlohmann::json& json, Status& status); // throws nlohmann::json::exception on wrong types

// For people: aligned columns that fit in 100, sections one after another.
[[nodiscard]] std::string format_status(const Status& status);

} // namespace featherlb
