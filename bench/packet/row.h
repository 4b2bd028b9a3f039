// SPDX-License-Identifier: Apache-2.0
// Row: a case made ready to be measured: program, first packet, rotation, and what must become of every packet; then
// what was measured. A processor that others use changes its speed within a run by a factor of two, so every figure is
// accompanied by floors that were measured just before it: a ratio is the median of the rounds' ratios.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "case.h"
#include "expectation.h"

namespace featherlb::bench {

struct Row {
    Case what;
    int program = -1;
    Frame frame{}; // of flow 0, checksums right
    Rotation rotation;
    std::uint32_t packets = 0;    // a round
    Balancer* balancer = nullptr; // null: a floor
    Expectation expected;
    std::uint32_t last = 0;                   // the flow that a round ends with, one that is known to be there
    std::uint64_t table_bytes = 0;            // of the flow table of its IP version, or of what stands for it
    std::map<std::string, std::size_t> bases; // rows that it is compared with: "empty", "header", "memory", "ipv4"

    std::vector<double> rounds; // ns a packet
    std::map<std::string, std::vector<double>> ratios;
};

} // namespace featherlb::bench
