// SPDX-License-Identifier: Apache-2.0
// Case: what one row measures, as a value: one packet, or a rotation of them, in one situation. Its id names it for
// other programs and is stable; parts that are as usual are left out of it:
//   [tc/]floor/PROGRAM[/flows=N[/flows-max=M]]
//   [tc/]not-ours/IPVERSION/PROTOCOL
//   [tc/]established/IPVERSION/PROTOCOL/FORWARD/to-backend|to-client/flows=N[/...]
//   new/IPVERSION/PROTOCOL/FORWARD/table=empty|half|full[/...]
//   [/...]: /flows-max=M /services=S /pick=ALGORITHM /backends=B /with=affinity|limits|lists|all
#pragma once

#include <string>
#include <vector>

#include "balancer.h"

namespace featherlb::bench {

enum class Group { floor, not_ours, established, opening };
enum class Fill { empty, half, full };
[[nodiscard]] std::string_view to_string(Group group);
[[nodiscard]] std::string_view to_string(Fill fill);

struct Case {
    Group group = Group::established;
    Hook hook = Hook::xdp;
    std::string floor = "empty"; // the floor that it is, or is first of all compared with
    ServiceKind kind;
    Protocol protocol = Protocol::tcp;
    bool to_client = false;
    std::uint32_t flows = 1;     // established ones, in turn
    std::uint32_t flows_max = 0; // 0: what a user configures for them, flows.max = flows; for one: the default
    std::uint32_t services = 0;  // on consecutive addresses; 0: it shares a balancer with other cases
    bool all_services = false;   // the flows are spread over all of them
    Fill fill = Fill::empty;     // of the table that new flows find
    bool quick = false;          // also measured by --quick

    [[nodiscard]] std::string id() const;
    [[nodiscard]] std::string name() const;          // for people
    [[nodiscard]] std::uint32_t table_flows() const; // flows.max
    // Cases with the same key share a balancer.
    [[nodiscard]] std::string balancer_key() const;
    // Of the floor beside it: "memory" or "memory+header".
    [[nodiscard]] std::string memory_floor_id(const std::string& name) const;
};

// All of them, floors first.
[[nodiscard]] std::vector<Case> all_cases();

} // namespace featherlb::bench
