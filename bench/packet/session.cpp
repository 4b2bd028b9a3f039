// SPDX-License-Identifier: Apache-2.0
#include "session.h"

#include <algorithm>
#include <set>

#include "die.h"

namespace featherlb::bench {
namespace {

// A flood comes from ever new clients; these come again after as many packets.
constexpr std::uint32_t flood_clients = 1u << 22;
// Clients of connections that are there already when new ones are measured.
constexpr std::uint32_t standing_client = 1u << 21;

// Flow 0 of this client; each has 2^16 addresses to itself.
Tuple client(const Endpoint& service, std::size_t number)
{
    const bool v6 = !service.address.is_ipv4();
    const std::size_t net = 64 + number % 128; // 10.64.0.0 to 10.191.255.255
    const std::string from = v6 ? fmt::format("fd00:4::{:x}:0", 0x0a00 + net) : fmt::format("10.{}.0.0", net);
    return {{address(from), 1024}, service};
}

// A table at its rated load has no room for some in a thousand connections; of `snat`, these are answered with RST.
bool is_missing(const Row& row, const Output& out)
{
    return row.what.group == Group::established && row.what.flows > 1 && out.bytes.size() < frame_bytes;
}

// Rows that differ in one thing from that of this case, by the name of the comparison.
std::map<std::string, std::string> base_ids(const Case& what)
{
    struct Comparison {
        std::string base, part, by;
    };
    static const std::vector<Comparison> comparisons = {{"ipv4", "/ipv6/", "/ipv4/"},
        {"10 backends", "/backends=1000", ""}, {"1 service", "/services=10000", "/services=1"}};
    std::map<std::string, std::string> result;
    if (what.group != Group::established)
        return result;
    for (const auto& [base, part, by] : comparisons) {
        std::string id = what.id();
        if (const std::size_t at = id.find(part); at != std::string::npos)
            result[base] = id.replace(at, part.size(), by);
    }
    return result;
}

bool keeps_state(const Case& what)
{
    return what.group == Group::opening && what.fill == Fill::empty;
}

} // namespace

Session::Session(const std::vector<Case>& cases, const Effort& effort) : effort_(effort), runner_(effort.drained)
{
    make_balancers(cases);
    for (std::size_t i = 0; i < cases.size(); i++)
        rows_.push_back(make_row(cases[i], i));
    establish_all();
    for (Row& row : rows_)
        find_bases(row);
}

void Session::find_bases(Row& row)
{
    const Hook hook = row.what.hook;
    std::map<std::string, std::string> ids;
    for (const std::string floor : {"empty", "header"})
        ids[floor] = Case{.group = Group::floor, .hook = hook, .floor = floor}.id();
    if (hook == Hook::xdp) {
        ids["memory"] = row.what.memory_floor_id("memory");
        if (row.what.flows > 1) // of one flow it says nothing that the others do not
            ids["memory+header"] = row.what.memory_floor_id("memory+header");
    }
    ids.merge(base_ids(row.what));
    for (const auto& [base, id] : ids)
        for (std::size_t i = 0; i < rows_.size(); i++)
            if (rows_[i].what.id() == id)
                row.bases[base] = i;
}

void Session::make_balancers(const std::vector<Case>& cases)
{
    std::map<std::string, Shape> shapes;
    for (const Case& what : cases) {
        if (what.group == Group::floor)
            continue;
        Shape& shape = shapes[what.balancer_key()];
        shape.kinds.insert(what.kind);
        shape.flows_max = what.table_flows();
        shape.copies = std::max(what.services, 1u);
    }
    for (const auto& [key, shape] : shapes)
        balancers_[key] = std::make_unique<Balancer>(shape);
}

Row Session::make_row(const Case& what, std::size_t number)
{
    Row row{.what = what, .packets = std::max(effort_.packets, what.flows)};
    row.expected.hook = what.hook;
    row.expected.kind = what.kind;
    if (what.group == Group::floor) {
        make_floor(row);
        return row;
    }
    row.balancer = balancers_.at(what.balancer_key()).get();
    row.expected.balancer = row.balancer;
    row.program = row.balancer->program(what.hook);
    row.table_bytes = row.balancer->flows().bytes(what.kind.v6);
    if (what.group == Group::not_ours)
        make_not_ours(row);
    else if (what.group == Group::established)
        make_established(row, number);
    else
        make_opening(row);
    return row;
}

void Session::make_floor(Row& row)
{
    const Case& what = row.what;
    const bool grows = what.floor.ends_with("header"), reads = what.floor.starts_with("memory");
    row.program = what.floor == "empty" ? runner_.empty(what.hook) : runner_.floor(what.floor, what.table_flows());
    row.frame = make_frame(client({address("10.1.0.0"), 80}, 0), Protocol::tcp, tcp_ack);
    row.rotation.flows = what.flows;
    row.expected.fate = grows ? Fate::constant_header : Fate::untouched;
    row.table_bytes = reads ? std::uint64_t(what.table_flows()) * sizeof(flb_set4) : 0;
}

void Session::make_not_ours(Row& row) const
{
    const bool v6 = row.what.kind.v6;
    row.frame =
        make_frame({{address(v6 ? "fd00:9::1" : "10.9.0.1"), 1000}, {address(v6 ? "fd00:9::2" : "10.9.0.2"), 80}},
            row.what.protocol, tcp_ack);
    row.expected.passed = true;
}

// Its connections are opened by their first packets, and established later, with all others of this balancer.
void Session::make_established(Row& row, std::size_t number)
{
    const Case& what = row.what;
    const Tuple tuple = client(row.balancer->service(what.kind), number);
    row.rotation = {.flows = what.flows, .destinations = what.all_services ? what.services : 1};
    const Output first = runner_.run(Hook::xdp, row.balancer->program(Hook::xdp),
        make_frame(tuple, what.protocol, tcp_syn), row.rotation, what.flows);
    opened_[row.balancer] += what.flows;
    row.frame = make_frame(tuple, what.protocol, tcp_ack);
    row.expected.fate = Fate::to_backend;
    if (!what.to_client)
        return;
    const Tuple sent = tuple_of(first.bytes);
    row.frame = make_frame({sent.destination, sent.source}, what.protocol, tcp_ack);
    row.expected.fate = Fate::to_client;
    row.expected.returned = {tuple.destination, tuple.source};
}

void Session::make_opening(Row& row) const
{
    const bool flood = row.what.fill == Fill::full;
    row.frame = make_frame(client(row.balancer->service(row.what.kind), 0), row.what.protocol, tcp_syn);
    row.rotation.flows = flood_clients;
    row.packets = flood ? 5 * effort_.opened : effort_.opened;
    row.expected.fate = Fate::to_backend;
}

void Session::establish_all()
{
    for (const auto& [key, balancer] : balancers_) {
        balancer->flows().establish();
        const FlowTally tally = balancer->flows().tally();
        const std::uint64_t wanted = opened_[balancer.get()];
        if (tally.proven != tally.owners || tally.owners > wanted || tally.owners < wanted - wanted / 100)
            die(fmt::format(
                "{}: {} connections, {} of them established, instead of {}", key, tally.owners, tally.proven, wanted));
    }
    for (Row& row :
        rows_) { // a flood needs to be there before it is measured: as many as the table has entries, and half
        if (row.what.fill != Fill::full)
            continue;
        const std::uint32_t packets = row.what.table_flows() * FLB_WAYS * 3 / 2;
        (void)runner_.run(row.what.hook, row.program, row.frame, row.rotation, packets);
        row.rotation.first = packets % row.rotation.flows;
    }
}

void Session::before(const Row& row)
{
    if (row.what.group != Group::opening)
        return;
    if (row.what.fill != Fill::full)
        row.balancer->flows().clear(row.what.kind.v6);
    if (row.what.fill == Fill::half) {
        (void)runner_.run(row.what.hook, row.program, row.frame, {.flows = flood_clients, .first = standing_client},
            row.what.table_flows() / 2);
        row.balancer->flows().establish();
    }
    if (row.what.kind.algorithm == Algorithm::weighted_response_time)
        row.balancer->answer_times();
}

Frame Session::packet(const Row& row, std::uint32_t flow, bool right_checksums)
{
    Frame frame = row.frame;
    if (row.rotation.flows > 1)
        rotate(frame, flow);
    if (row.rotation.destinations > 1)
        rotate_destination(frame, flow % row.rotation.destinations);
    if (!right_checksums)
        return frame;
    return make_frame(tuple_of(frame), row.what.protocol, row.what.group == Group::opening ? tcp_syn : tcp_ack);
}

void Session::must_be_right(const Row& row, View in, const Output& out) const
{
    if (const auto wrong = what_is_wrong(row.expected, in, out))
        die(fmt::format("{}: the output is wrong: {}", row.what.id(), *wrong));
}

void Session::verify()
{
    for (Row& row : rows_)
        verify(row);
}

// Packets of some of the flows.
void Session::verify(Row& row)
{
    const std::uint64_t flows = row.rotation.flows;
    std::set<std::uint32_t> some;
    for (std::uint64_t i = 0; i < 8; i++)
        some.insert(static_cast<std::uint32_t>((i * flows / 7 + i * i * 31) % flows));
    before(row);
    for (const std::uint32_t flow : some)
        verify_flow(row, flow);
    if (keeps_state(row.what) && row.balancer->flows().tally().owners != some.size())
        die(row.what.id() + ": new flows were not kept");
    // Where a hypervisor shadows page tables, the kernel's first touch of a page of the table costs 13 microseconds.
    if (row.what.group == Group::opening)
        (void)measure(row, row.packets);
}

// With right checksums; the flow itself, or the first after it that is there.
void Session::verify_flow(Row& row, std::uint32_t flow)
{
    Frame in = packet(row, flow, true);
    Output out = runner_.run(row.what.hook, row.program, in, {}, 1);
    for (int tries = 0; is_missing(row, out) && tries < 8; tries++) {
        flow = (flow + 1) % row.rotation.flows;
        in = packet(row, flow, true);
        out = runner_.run(row.what.hook, row.program, in, {}, 1);
    }
    if (transport_error(in))
        die("a packet to send has a wrong checksum");
    must_be_right(row, in, out);
    if (const std::size_t blind = blind_bytes(row.expected, in, out); blind != free_bytes(row.expected))
        die(fmt::format("{}: {} bytes of the output could be wrong unnoticed", row.what.id(), blind));
    row.last = flow;
}

// A processor that is shared changes its speed within a round: a row and its bases take turns in parts of it.
void Session::round()
{
    constexpr std::uint32_t most_turns = 4;
    for (Row& row : rows_) {
        const bool whole = row.what.group == Group::opening || row.what.flows > row.packets / most_turns;
        const std::uint32_t turns = whole ? 1 : most_turns;
        std::map<std::string, double> bases;
        double ns = 0;
        for (std::uint32_t i = 0; i < turns; i++) {
            for (const auto& [base, number] : row.bases)
                bases[base] += measure(rows_[number], rows_[number].packets / turns) / turns;
            ns += measure(row, row.packets / turns) / turns;
        }
        row.rounds.push_back(ns);
        for (const auto& [base, base_ns] : bases)
            row.ratios[base].push_back(ns / base_ns);
    }
}

double Session::measure(Row& row, std::uint32_t packets)
{
    before(row);
    const std::uint32_t flows = row.rotation.flows;
    if (row.what.fill != Fill::full) // a flood goes on where it was
        row.rotation.first = (row.last + flows - (packets - 1) % flows) % flows;
    const Output out = runner_.run(row.what.hook, row.program, row.frame, row.rotation, packets);
    const std::uint32_t last = (row.rotation.first + packets - 1) % flows;
    must_be_right(row, packet(row, last, false), out);
    row.rotation.first = (last + 1) % flows;
    return out.ns;
}

} // namespace featherlb::bench
