// SPDX-License-Identifier: Apache-2.0
// TableStore: Tables <-> maps. read() turns what the programs see into a value; apply() carries out a difference
// under traffic. What a program may read at the same moment changes by one aligned store, after everything that it
// leads to has been written: slot tables and lists of source addresses are written to fresh slices and then
// switched to; a record becomes valid last and invalid first.
//
// The maps are the truth: slices in use are found from the records that name them, so a store made on adopted maps,
// or after a change that failed half-way, knows as much as the one that wrote them.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/result.h"
#include "kernel/dataplane_maps.h"
#include "kernel/slot_allocator.h"
#include "plan/tables.h"

namespace featherlb {

class TableStore {
public:
    // Fails where records name slices that overlap or do not exist. `maps` must outlive the store; where it moves,
    // say use().
    [[nodiscard]] static Result<TableStore> open(const MapSet& maps);
    void use(const MapSet& maps) { maps_ = &maps; }

    [[nodiscard]] Result<Tables> read() const;
    [[nodiscard]] Result<void> apply(const Tables& want, const std::vector<Change>& changes);
    // The changes of a PartialPlan, which leave addresses as they are.
    [[nodiscard]] Result<void> apply_rows(const Tables& want, const std::vector<Change>& changes);
    // Says anew where the slots of backends are that are compared (bpf/bounds.h), and forgets what is known of them:
    // also under traffic.
    void place_slots() const;

private:
    // A list of source addresses in `snat_addresses`; backends with the same list share it. bits: flb_snat_address.
    struct Sources {
        std::vector<IpAddress> addresses;
        std::uint8_t bits = 0;
        friend auto operator<=>(const Sources&, const Sources&) = default;
    };
    struct Pool {
        std::uint32_t first = 0;
        std::uint32_t references = 0;
    };
    using Pools = std::map<Sources, Pool>;

    explicit TableStore(const MapSet& maps);
    const MapSet* maps_;
    SlotAllocator slots_;
    SlotAllocator addresses_;
    Pools pools_;
    std::set<ListenerKey> own_addresses_; // rows of `listeners` for fragments, as make_own_addresses gives them

    [[nodiscard]] Result<void> find_slices();
    [[nodiscard]] Result<void> find_own_addresses();
    // As with the prefilter: what `want` has is there before the tables change, the rest goes after.
    [[nodiscard]] Result<void> add_own_addresses(const std::set<ListenerKey>& want);
    [[nodiscard]] Result<void> drop_own_addresses(const std::set<ListenerKey>& want);
    [[nodiscard]] Result<void> carry_out(const Tables& want, const Change& change);
    [[nodiscard]] Result<void> put_backend(BackendId id, const BackendRow& row);
    void remove_backend(BackendId id);
    [[nodiscard]] Result<void> forget_pins(const std::vector<Change>& changes);
    [[nodiscard]] Result<void> put_service(ServiceId id, const ServiceRow& row);
    [[nodiscard]] Result<void> put_slots(ServiceId id, const ServiceRow& row);
    void remove_service(ServiceId id);
    [[nodiscard]] Result<void> put_listener(const Tables& want, const ListenerKey& key);
    [[nodiscard]] Result<void> put_prefix(ServiceId id, const AccessRule& rule);
    [[nodiscard]] Result<void> remove_prefix(ServiceId id, const AccessRule& rule);
    [[nodiscard]] Result<void> read_access(Tables& tables) const;
    [[nodiscard]] Result<void> put_source(const Tables& want, const ListenerKey& key);
    void put_settings(const Tables& want);

    [[nodiscard]] Sources pool_of(const flb_backend& record) const;
    [[nodiscard]] Result<std::uint32_t> take_pool(const Sources& sources);
    void drop_pool(const Sources& sources);
    [[nodiscard]] std::span<std::uint32_t> slot_numbers() const;
    void write_ports_and_stride(std::uint16_t first, std::uint16_t count, std::uint32_t stride);
    void choose_stride(const Tables& want);
};

} // namespace featherlb
