// SPDX-License-Identifier: Apache-2.0
#include "observe/status.h"

namespace featherlb {

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
    case FLB_FLOW_AWAITING:
        return "awaiting_request";
    case FLB_FLOW_MEASURING:
        return "awaiting_response";
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
    case FLB_FLOW_CLOSED_ONE_WAY:
        return "closed_one_way";
    case FLB_FLOW_RESET:
        return "reset";
    case FLB_FLOW_KILLED:
        return "killed";
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
