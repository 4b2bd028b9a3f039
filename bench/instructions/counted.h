// SPDX-License-Identifier: Apache-2.0
// CountedProgram: a copy of a loaded XDP program, on the same maps and with the same constants, as instructions that a
// Machine can execute. The kernel gives a program's own instructions back only as it has rewritten them.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <linux/bpf.h>

#include "base/result.h"
#include "featherlb/abi.h"

namespace featherlb::bench {

// What a loaded packet program was given as constants.
[[nodiscard]] Result<flb_load> constants_of(int fd);

class CountedProgram {
public:
    // `fd`: of flb_xdp as a data plane has loaded it; `fd_of` gives the descriptor of the map with a name.
    [[nodiscard]] static Result<CountedProgram> copy(int fd, const std::function<int(const std::string&)>& fd_of);
    ~CountedProgram();
    CountedProgram(CountedProgram&&) noexcept;
    CountedProgram& operator=(CountedProgram&&) noexcept;

    [[nodiscard]] std::span<const bpf_insn> instructions() const;
    // Where in bpf/ each instruction comes from, inlined functions included: "flow.h:81".
    [[nodiscard]] std::span<const std::string> places() const;

private:
    struct State;
    explicit CountedProgram(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

} // namespace featherlb::bench
