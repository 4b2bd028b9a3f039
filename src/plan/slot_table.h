// SPDX-License-Identifier: Apache-2.0
// SlotTable: the slot table of a service as an immutable, shared value, with what it was made from. Tables of plans
// that follow each other share it, so that a service of which nothing changed costs a comparison of pointers, and is
// not made again.
#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <utility>
#include <vector>

#include "base/ip.h"
#include "config/config.h"

namespace featherlb {

using BackendId = std::uint32_t; // 0 is no backend

inline constexpr std::uint32_t full_share = 10'000;

struct WeightedBackend {
    Endpoint endpoint; // its identity: the table depends on nothing else, so it is the same on every machine
    BackendId id = 0;
    std::uint32_t weight = 1;
    bool up = true;
    std::uint32_t share = full_share; // of its weight, in ten-thousandths; maglev and ip-hash: no more than full
    friend bool operator==(const WeightedBackend&, const WeightedBackend&) = default;
};

class SlotTable {
public:
    // What a table was made from; the same gives the same.
    struct Recipe {
        Algorithm algorithm = Algorithm::maglev;
        std::vector<WeightedBackend> backends;
        friend bool operator==(const Recipe&, const Recipe&) = default;
    };

    SlotTable() = default;
    SlotTable(std::vector<BackendId> slots) : SlotTable(std::move(slots), nullptr) {}
    SlotTable(std::initializer_list<BackendId> slots) : SlotTable(std::vector<BackendId>(slots)) {}
    SlotTable(std::vector<BackendId> slots, Recipe recipe)
        : SlotTable(std::move(slots), std::make_shared<const Recipe>(std::move(recipe)))
    {
    }

    [[nodiscard]] const std::vector<BackendId>& ids() const
    {
        static const std::vector<BackendId> none;
        return slots_ ? *slots_ : none;
    }
    [[nodiscard]] bool empty() const { return ids().empty(); }
    [[nodiscard]] std::size_t size() const { return ids().size(); }
    [[nodiscard]] auto begin() const { return ids().begin(); }
    [[nodiscard]] auto end() const { return ids().end(); }
    [[nodiscard]] BackendId operator[](std::size_t slot) const { return ids()[slot]; }
    void clear() { *this = SlotTable(); }

    [[nodiscard]] bool made_from(const Recipe& recipe) const { return recipe_ && *recipe_ == recipe; }
    friend bool operator==(const SlotTable& a, const SlotTable& b)
    {
        return a.slots_ == b.slots_ || a.ids() == b.ids();
    }

    using value_type = BackendId; // for those who look into containers
    using const_iterator = std::vector<BackendId>::const_iterator;

private:
    SlotTable(std::vector<BackendId> slots, std::shared_ptr<const Recipe> recipe)
        : slots_(slots.empty() ? nullptr : std::make_shared<const std::vector<BackendId>>(std::move(slots))),
          recipe_(std::move(recipe))
    {
    }
    std::shared_ptr<const std::vector<BackendId>> slots_; // null: empty
    std::shared_ptr<const Recipe> recipe_;                // null: not known, as after reading it from a map
};

} // namespace featherlb
