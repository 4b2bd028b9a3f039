// SPDX-License-Identifier: Apache-2.0
#include "observe/status.h"

#include <nlohmann/json.hpp>

namespace featherlb {

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(
    InterfaceStatus, name, ifindex, attached, hook, attach, driver, chosen, why, problem, program_id, warnings)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(CheckStatus, good, failed, discarded, last_failure)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(BackendStatus, name, address, state, reason, used, tcp_fate, udp_fate,
    checks, weight, flows, connections, refused, packets_in, packets_out, bytes_in, bytes_out)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(
    ServiceStatus, name, state, algorithm, forward, listeners, backends, health, panic, panics, refusing)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(FlowsStatus, capacity, connections, unproven, by_state,
    counted_seconds_ago, expired, evicted, evicted_last_minute, pins)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(DropStatus, reason, text, packets)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(EventStatus, event, text, count)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(ProgramStatus, name, id, tag, instructions)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(MapStatus, name, entries, bytes)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(DataPlaneStatus, pins, adopted, memory_bytes, programs, maps)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(ReloadStatus, result, at, message)

namespace {

// The macro would define to_json with nlohmann's default arguments inline; the public functions forward to it.
struct StatusFields : Status {};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(StatusFields, version, abi, pid, state, uptime_seconds, config_file,
    config_loaded_at, last_reload, problem, interfaces, services, flows, drops, events, data_plane)

} // namespace

void to_json(nlohmann::json& json, const Status& status)
{
    to_json(json, StatusFields{status});
}

void from_json(const nlohmann::json& json, Status& status)
{
    StatusFields fields;
    from_json(json, fields);
    status = std::move(fields);
}

std::string flow_state_name(std::uint32_t state)
{
    switch (state) {
    case FLB_FLOW_SYN:
        return "syn";
    case FLB_FLOW_SYN_ACK:
        return "syn_ack";
    case FLB_FLOW_MIDSTREAM:
        return "midstream";
    case FLB_FLOW_UDP_NEW:
        return "udp_new";
    case FLB_FLOW_UDP_REPLIED:
        return "udp_replied";
    case FLB_FLOW_SUPERSEDED:
        return "superseded";
    case FLB_FLOW_ESTABLISHED:
        return "established";
    case FLB_FLOW_FIN_CLIENT:
        return "fin_client";
    case FLB_FLOW_FIN_BACKEND:
        return "fin_backend";
    case FLB_FLOW_UDP_STREAM:
        return "udp_stream";
    case FLB_FLOW_CLOSED_CLIENT:
        return "closed_client";
    case FLB_FLOW_CLOSED_BACKEND:
        return "closed_backend";
    case FLB_FLOW_RESET:
        return "reset";
    default:
        return {};
    }
}

bool is_unproven(std::uint32_t state)
{
    return state >= FLB_FLOW_SYN && state < FLB_FLOW_ESTABLISHED && state != FLB_FLOW_SUPERSEDED &&
           !flow_state_name(state).empty();
}

} // namespace featherlb
