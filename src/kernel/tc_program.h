// SPDX-License-Identifier: Apache-2.0
// A TC program of ours that stands beside the balancer's, on ingress or egress of an interface, for as long as the
// object lives: by TCX, or on Linux before 6.6 as a clsact filter. Never pinned. A TCX link goes with the process,
// however that ends; a filter that a killed process left is replaced by the next one at the same place.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "kernel/attach.h"

namespace featherlb {

enum class TcSide { ingress, egress };

struct TcPlace {
    std::uint32_t ifindex = 0;
    std::string interface; // for messages
    TcSide side = TcSide::ingress;
    std::uint32_t handle =
        0; // of a clsact filter, and its priority: behind the balancer's own (hooks::filter_priority)
    std::uint32_t priority = 0;
};

class TcProgram {
public:
    // The program's descriptor stays the caller's.
    [[nodiscard]] static Result<TcProgram> attach(const TcPlace& place, int program);
    ~TcProgram();
    TcProgram(TcProgram&&) noexcept;
    TcProgram& operator=(TcProgram&&) noexcept;

    [[nodiscard]] Hook hook() const; // tcx or clsact

private:
    struct State;
    explicit TcProgram(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

// Programs that go in the reverse order of their coming, so that the one that made the qdisc finds it idle.
class TcPrograms {
public:
    TcPrograms() = default;
    TcPrograms(TcPrograms&&) noexcept = default;
    TcPrograms& operator=(TcPrograms&& other) noexcept
    {
        programs_.swap(other.programs_);
        return *this;
    }
    ~TcPrograms()
    {
        while (!programs_.empty())
            programs_.pop_back();
    }
    [[nodiscard]] Result<Hook> attach(const TcPlace& place, int program);

private:
    std::vector<TcProgram> programs_;
};

// Takes off filters at this place whose program's name begins with `name`, from all interfaces: what a process that was
// killed has left. Interfaces on which a living featherlb has filters are left alone.
void remove_left_filters(const TcPlace& place, std::string_view name);

} // namespace featherlb
