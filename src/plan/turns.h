// SPDX-License-Identifier: Apache-2.0
// Turns: who takes the next slot when takers of different weight share slots out among themselves.
// Everyone takes one first; from then on the k-th of a taker is due at (2k + 1) / (2 * weight) and the earliest goes
// first. That is the divisor method of Webster and Sainte-Lague: after any number of turns each taker's count is its
// exact share, rounded, give or take one, and takers of one weight differ by at most one.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <utility>
#include <vector>

namespace featherlb {

struct Taker {
    std::uint32_t weight = 0; // 0 takes nothing
    std::uint32_t taken = 0;  // what it has by now: turns go on from there
};

namespace turns_detail {

// Takers that are due at the same moment because they have the same weight and as many slots.
struct Group {
    std::uint64_t weight = 0;
    std::uint64_t taken = 0;
    std::vector<std::size_t> members;

    [[nodiscard]] std::uint64_t numerator() const { return taken == 0 ? 0 : 2 * taken + 1; }
};

struct DueLater {
    bool operator()(const Group& a, const Group& b) const
    {
        const std::uint64_t left = a.numerator() * b.weight;
        const std::uint64_t right = b.numerator() * a.weight;
        if (left != right)
            return left > right;
        return a.weight != b.weight ? a.weight < b.weight : a.members.front() > b.members.front();
    }
};

} // namespace turns_detail

// Calls take(position) `turns` times and counts in `takers`. Nothing happens where nobody has weight.
template <typename Take>
void take_turns(std::vector<Taker>& takers, std::size_t turns, Take&& take)
{
    using turns_detail::Group;
    std::map<std::pair<std::uint32_t, std::uint32_t>, Group> by_state;
    for (std::size_t i = 0; i < takers.size(); ++i) {
        if (takers[i].weight == 0)
            continue;
        Group& group = by_state[{takers[i].weight, takers[i].taken}];
        group.weight = takers[i].weight;
        group.taken = takers[i].taken;
        group.members.push_back(i);
    }
    if (by_state.empty())
        return;
    std::vector<Group> heap;
    for (auto& [state, group] : by_state)
        heap.push_back(std::move(group));
    const turns_detail::DueLater due_later;
    std::make_heap(heap.begin(), heap.end(), due_later);
    while (turns > 0) {
        std::pop_heap(heap.begin(), heap.end(), due_later);
        Group& group = heap.back();
        for (const std::size_t member : group.members) {
            if (turns == 0)
                return;
            take(member);
            ++takers[member].taken;
            --turns;
        }
        ++group.taken;
        std::push_heap(heap.begin(), heap.end(), due_later);
    }
}

} // namespace featherlb
