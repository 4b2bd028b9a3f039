// SPDX-License-Identifier: Apache-2.0
// Runner: BPF_PROG_TEST_RUN of a program behind the harness (harness.bpf.c): packets, each restored from one frame and
// given the next client of a rotation, and how long they took. Memory floors are loaded here, too, one for each table.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "frame.h"

struct harness_bpf;
struct harness_state;
struct floors_bpf;

namespace featherlb::bench {

enum class Hook { xdp, tc };

struct Rotation {
    std::uint32_t flows = 1;        // clients in turn
    std::uint32_t first = 0;        // which of them comes first
    std::uint32_t destinations = 1; // consecutive service addresses in turn, from the frame's on
};

struct Output {
    double ns = 0; // a packet
    std::uint32_t verdict = 0;
    Bytes bytes; // of the last packet
};

class Runner {
public:
    // `drained`: each packet begins when the harness's stores to it are done; see harness.bpf.c.
    explicit Runner(bool drained);
    ~Runner();
    Runner(const Runner&) = delete;
    Runner& operator=(const Runner&) = delete;

    [[nodiscard]] int empty(Hook hook) const;
    // "header", "memory" or "memory+header"; beside a flow table of so many sets. Stays ours.
    [[nodiscard]] int floor(const std::string& name, std::uint32_t sets);

    [[nodiscard]] Output run(
        Hook hook, int program, const Frame& frame, const Rotation& rotation, std::uint32_t packets);

private:
    struct Run {
        Output output;
        double used_ns = 0;            // of the processor, by the whole call; of XDP about 2 ms are its own
        std::uint32_t duration_ns = 0; // a packet, as the kernel says
    };
    [[nodiscard]] Run start(
        Hook hook, int program, const Frame& frame, const Rotation& rotation, std::uint32_t packets);
    void set_state(const Frame& frame, const Rotation& rotation);

    harness_bpf* harness_;
    harness_state* state_ = nullptr;
    bool drained_;
    std::map<std::uint32_t, floors_bpf*> floors_; // by sets
};

} // namespace featherlb::bench
