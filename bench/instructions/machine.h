// SPDX-License-Identifier: Apache-2.0
// Machine: executes a loaded BPF program's instructions one by one in user space, on the program's own maps, and
// counts what it does. What a packet costs in instructions is the same on every run and every machine, so that a
// test can hold it to a figure; nanoseconds cannot be. Knows what the packet programs use on their usual ways
// (RFC 9669 without the legacy packet access); anything else ends it with a message.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <span>
#include <string>
#include <vector>

#include <linux/bpf.h>

namespace featherlb::bench {

struct Cost {
    std::uint64_t instructions = 0;
    std::uint64_t lookups = 0;         // of maps; arrays, which the kernel inlines, among them
    std::set<std::uint64_t> lines;     // cache lines of maps that were read or written
    std::vector<std::uint32_t> visits; // of each instruction of the program
};

class Machine {
public:
    // `program`: as libbpf hands it to the kernel, with descriptors of maps in it, and `jiffies` the time that it is
    // told.
    Machine(std::span<const bpf_insn> program, std::uint64_t jiffies);
    ~Machine();
    Machine(const Machine&) = delete;
    Machine& operator=(const Machine&) = delete;

    // Runs it as an XDP program on the frame, which changes; the verdict. Throws std::runtime_error on what it cannot
    // do.
    std::uint32_t run(std::vector<std::uint8_t>& frame, std::uint32_t ifindex, Cost& cost);

private:
    struct Map {
        int fd = -1;
        std::uint32_t type = 0, key_bytes = 0, value_bytes = 0, entries = 0;
        std::uint8_t* memory = nullptr; // mapped from the kernel, or a copy of one value
        std::size_t bytes = 0;
        std::vector<std::uint8_t> copy;
    };
    struct Frame { // of a call between functions
        std::size_t back = 0;
        std::uint64_t saved[4] = {};
        std::uint64_t stack = 0;
    };

    Map& map_of(int fd);
    std::uint64_t look_up(Map& map, const void* key);
    std::uint64_t execute(std::size_t at); // until the function that it is in returns; what it returns
    std::uint64_t call(std::uint32_t helper);
    std::uint64_t loop();
    std::uint64_t load(std::uint64_t address, unsigned bytes);
    void store(std::uint64_t address, unsigned bytes, std::uint64_t value);
    void atomic(const bpf_insn& insn);
    void check(std::uint64_t address, unsigned bytes);
    [[nodiscard]] std::uint64_t wide_immediate(std::size_t at);
    [[nodiscard]] std::uint64_t operand(const bpf_insn& insn) const;
    void compute(const bpf_insn& insn);

    std::span<const bpf_insn> program_;
    std::uint64_t jiffies_;
    std::map<int, Map> maps_;
    std::uint64_t r_[11] = {};
    std::uint32_t random_ = 1;
    std::vector<std::uint8_t> stack_;
    std::vector<std::uint8_t> packet_; // headroom, frame, tailroom
    xdp_md context_{};
    std::uint64_t data_ = 0, data_end_ = 0;
    Cost* cost_ = nullptr;
};

} // namespace featherlb::bench
