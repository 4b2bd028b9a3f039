// SPDX-License-Identifier: Apache-2.0
// Session: makes the balancers that the chosen cases need, opens their connections, checks what comes out, and
// measures, round by round in turn. Ends the program where an output is not what it must be.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "instructions/counted.h"
#include "instructions/machine.h"
#include "row.h"
#include "runner.h"

namespace featherlb::bench {

struct Effort {
    std::uint32_t packets = 1'000'000; // a row and round, of established flows
    std::uint32_t opened = 20'000;     // new flows a row and round
    bool drained = true;               // see Runner
};

class Session {
public:
    Session(const std::vector<Case>& cases, const Effort& effort);

    void verify(); // each row once, before anything is measured
    void round();
    // A packet of the row, executed instruction by instruction; of several tries the least, as ages are renewed once a
    // second. XDP alone.
    [[nodiscard]] Cost count(Row& row);
    // The same by the lines of bpf/ that the instructions come from: "flow.h:81".
    [[nodiscard]] std::map<std::string, std::uint64_t> profile(Row& row);
    // What the express way (bpf/express.h) has taken, in ns, when each of its steps is done: cut off behind the step,
    // in turn with an empty program, which comes first; a lower quartile. XDP alone, and packets of clients: those of
    // backends need the long way once a tick.
    [[nodiscard]] std::vector<std::pair<std::string, double>> steps(Row& row, int rounds);
    [[nodiscard]] std::vector<Row>& rows() { return rows_; }

private:
    void make_balancers(const std::vector<Case>& cases);
    [[nodiscard]] Row make_row(const Case& what, std::size_t number);
    void make_floor(Row& row);
    void make_not_ours(Row& row) const;
    void make_established(Row& row, std::size_t number);
    void make_opening(Row& row) const;
    void establish_all();
    void find_bases(Row& row);

    double measure(Row& row, std::uint32_t packets);
    void before(const Row& row); // brings the flow table into the state that the case finds
    void verify(Row& row);
    void verify_flow(Row& row, std::uint32_t flow);
    [[nodiscard]] static Frame packet(const Row& row, std::uint32_t flow, bool right_checksums);
    void must_be_right(const Row& row, View in, const Output& out) const;

    Effort effort_;
    Runner runner_;
    std::map<std::string, std::unique_ptr<Balancer>> balancers_; // by Case::balancer_key()
    std::map<const Balancer*, std::uint64_t> opened_;            // connections that must be there
    std::map<int, CountedProgram> counted_;                      // by the program that it is a copy of
    std::vector<Row> rows_;
};

} // namespace featherlb::bench
