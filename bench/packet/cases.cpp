// SPDX-License-Identifier: Apache-2.0
// The rows of issue 6, "Packet cost", in the order in which they are measured and shown.
#include "case.h"

namespace featherlb::bench {
namespace {

constexpr Protocol both_protocols[] = {Protocol::tcp, Protocol::udp};
constexpr Forward every_forward[] = {Forward::snat, Forward::dnat, Forward::dsr, Forward::ipip};
constexpr Forward two_forwards[] = {Forward::snat, Forward::ipip}; // two entries a flow and one; no new size and one
constexpr std::uint32_t many_flows[] = {4'000, 64'000, 1'000'000};
constexpr Algorithm every_algorithm[] = {Algorithm::maglev, Algorithm::ip_hash, Algorithm::round_robin,
    Algorithm::weighted_round_robin, Algorithm::random, Algorithm::resource_based, Algorithm::least_connections,
    Algorithm::weighted_least_connections, Algorithm::power_of_two, Algorithm::weighted_response_time};

// Whoever gets an outer header is compared with one who only makes one.
std::string floor_of(Forward forward, std::uint32_t flows)
{
    if (flows >= 64'000)
        return "memory";
    return forward == Forward::ipip ? "header" : "empty";
}

class Cases {
public:
    std::vector<Case> list;

    void floors()
    {
        list.push_back({.group = Group::floor, .floor = "empty", .quick = true});
        list.push_back({.group = Group::floor, .floor = "header", .quick = true});
        for (const std::string floor : {"memory", "memory+header"}) {
            list.push_back({.group = Group::floor, .floor = floor, .quick = true});
            for (const std::uint32_t flows : many_flows)
                list.push_back({.group = Group::floor, .floor = floor, .flows = flows, .quick = flows < 1'000'000});
            // The table of who leaves flows.max as it is.
            for (const std::uint32_t flows : {4'000u, 10'000u, 64'000u})
                list.push_back({.group = Group::floor, .floor = floor, .flows = flows, .flows_max = default_flows_max});
        }
        list.push_back({.group = Group::floor, .hook = Hook::tc, .floor = "empty", .quick = true});
    }

    void not_ours(Hook hook)
    {
        for (const bool v6 : {false, true})
            list.push_back({.group = Group::not_ours, .hook = hook, .kind = {.v6 = v6}, .quick = true});
    }

    // One flow: IP versions, protocols, ways of forwarding, directions.
    void kinds(Hook hook)
    {
        for (const bool v6 : {false, true})
            for (const Protocol protocol : both_protocols)
                for (const Forward forward : every_forward)
                    for (const bool to_client : {false, true}) {
                        if (to_client && is_one_way(forward))
                            continue; // the balancer does not see it
                        if (hook == Hook::tc && is_one_way(forward))
                            continue; // its harness cannot undo another size
                        list.push_back({.hook = hook,
                            .floor = floor_of(forward, 1),
                            .kind = {.v6 = v6, .forward = forward},
                            .protocol = protocol,
                            .to_client = to_client,
                            .quick = protocol == Protocol::tcp && (hook == Hook::xdp || !v6)});
                    }
    }

    void flows()
    {
        for (const Forward forward : two_forwards)
            for (const std::uint32_t flows : many_flows)
                list.push_back({.floor = floor_of(forward, flows),
                    .kind = {.forward = forward},
                    .flows = flows,
                    .quick = flows == 64'000 || (flows == 4'000 && forward == Forward::ipip)});
        for (const Forward forward : two_forwards)
            for (const std::uint32_t flows : {4'000u, 64'000u})
                list.push_back({.floor = floor_of(forward, flows),
                    .kind = {.forward = forward},
                    .flows = flows,
                    .flows_max = default_flows_max});
    }

    // Against those of ten above.
    void backends()
    {
        for (const std::uint32_t flows : {1u, 4'000u})
            list.push_back({.kind = {.backends = 1'000}, .flows = flows});
    }

    // One backend each; one flow, or 10,000 of which each belongs to the next service.
    void services()
    {
        for (const bool in_turn : {false, true})
            for (const std::uint32_t services : {1u, 100u, 10'000u})
                list.push_back({.kind = {.backends = 1},
                    .flows = in_turn ? 10'000u : 1u,
                    .services = services,
                    .all_services = in_turn && services > 1});
    }

    void admission()
    {
        for (const With with : {With::affinity, With::limits, With::lists, With::all})
            list.push_back({.kind = {.with = with}});
        for (const Forward forward : two_forwards)
            for (const With with : {With::affinity, With::limits, With::lists, With::all})
                list.push_back({.group = Group::opening,
                    .floor = floor_of(forward, 1),
                    .kind = {.forward = forward, .with = with},
                    .quick = forward == Forward::snat && with == With::all});
    }

    void fills()
    {
        for (const Forward forward : two_forwards)
            for (const Fill fill : {Fill::empty, Fill::half, Fill::full})
                list.push_back({.group = Group::opening,
                    .floor = floor_of(forward, 1),
                    .kind = {.forward = forward},
                    .fill = fill,
                    .quick = fill == Fill::empty || (fill == Fill::full && forward == Forward::ipip)});
    }

    // `dnat`: all algorithms can be had there, and no search for a source port is added to the pick.
    void picks()
    {
        for (const Algorithm algorithm : every_algorithm)
            for (const BackendId backends : {10u, 100u, 1'000u}) {
                if (backends != 10 && !picks_by_load(algorithm) && algorithm != Algorithm::maglev)
                    continue; // one look-up, whatever the length
                list.push_back({.group = Group::opening,
                    .kind = {.forward = Forward::dnat, .algorithm = algorithm, .backends = backends},
                    .quick = algorithm == Algorithm::least_connections});
            }
    }
};

} // namespace

std::vector<Case> all_cases()
{
    Cases cases;
    cases.floors();
    cases.not_ours(Hook::xdp);
    cases.kinds(Hook::xdp);
    cases.flows();
    cases.backends();
    cases.services();
    cases.fills();
    cases.picks();
    cases.admission();
    cases.not_ours(Hook::tc);
    cases.kinds(Hook::tc);
    return cases.list;
}

} // namespace featherlb::bench
