// SPDX-License-Identifier: Apache-2.0
// The daemon's part of bpf/bounds.h: where slots are said to be, and that bounds are forgotten where they may be wrong.
#include <numeric>
#include <optional>

#include "dataplane_fixture.h"

#include "featherlb/bounds.h"

namespace featherlb {
namespace {

constexpr BackendId first_id = 100;

// Service 3 picks the least loaded of so many.
Tables least_of(std::uint32_t backends)
{
    Tables want = example();
    std::vector<BackendId> ids(backends);
    std::iota(ids.begin(), ids.end(), first_id);
    for (const BackendId id : ids) {
        want.backends[id] = want.backends.at(2);
        want.backends[id].endpoint.port = static_cast<std::uint16_t>(9000 + id);
    }
    want.services.at(3).pick = FLB_PICK_LEAST;
    want.services.at(3).slots = std::move(ids);
    return want;
}

class DataPlaneBounds : public DataPlaneTest {
protected:
    static std::uint32_t first_slot(const DataPlane& plane)
    {
        flb_service record{};
        const std::uint32_t service = 3;
        EXPECT_EQ(bpf_map_lookup_elem(plane.map_fd("services"), &service, &record), 0);
        return static_cast<std::uint32_t>(record.slots >> 32);
    }
    // Of the backend; nothing: it is said to be in none.
    static std::optional<std::uint32_t> chunk_of(const DataPlane& plane, BackendId id)
    {
        std::uint64_t chunk = 0;
        EXPECT_EQ(bpf_map_lookup_elem(plane.map_fd("backend_chunks"), &id, &chunk), 0);
        return chunk == 0 ? std::nullopt : std::optional(static_cast<std::uint32_t>(chunk - 1));
    }
    static flb_slot_bounds bounds_of(const DataPlane& plane, std::uint32_t index)
    {
        flb_slot_bounds bounds{};
        EXPECT_EQ(bpf_map_lookup_elem(plane.map_fd("slot_bounds"), &index, &bounds), 0);
        return bounds;
    }
    static std::uint64_t bound(const DataPlane& plane, std::uint32_t chunk)
    {
        return bounds_of(plane, chunk / FLB_CHUNKS_BOUNDED).chunk[chunk % FLB_CHUNKS_BOUNDED] & ~FLB_BOUND_VERSIONS;
    }
    static void set_bound(const DataPlane& plane, std::uint32_t chunk, std::uint64_t word)
    {
        const std::uint32_t index = chunk / FLB_CHUNKS_BOUNDED;
        flb_slot_bounds bounds = bounds_of(plane, index);
        bounds.chunk[chunk % FLB_CHUNKS_BOUNDED] = word;
        ASSERT_EQ(bpf_map_update_elem(plane.map_fd("slot_bounds"), &index, &bounds, BPF_ANY), 0);
    }
    static void expect_placed(const DataPlane& plane, const Tables& want)
    {
        std::uint32_t slot = first_slot(plane);
        EXPECT_EQ(slot % FLB_SLOTS_PER_CHUNK, 0u) << "another service's slots in the same chunk";
        for (const BackendId id : want.services.at(3).slots.ids()) {
            EXPECT_EQ(chunk_of(plane, id), slot / FLB_SLOTS_PER_CHUNK) << id;
            slot++;
        }
    }
};

TEST_F(DataPlaneBounds, SlotsAreFoundAndAreForgottenWhereOneChunkHoldsThem)
{
    auto plane = open(ephemeral());
    apply(plane, least_of(40));
    expect_placed(plane, least_of(40));
    set_bound(plane, chunk_of(plane, first_id).value(), 7);
    apply(plane, least_of(33)); // other slots
    expect_placed(plane, least_of(33));
    EXPECT_EQ(bound(plane, chunk_of(plane, first_id).value()), 0u);
    apply(plane, least_of(16));
    EXPECT_EQ(chunk_of(plane, first_id), std::nullopt);
    apply(plane, least_of(17));
    expect_placed(plane, least_of(17));
}

TEST_F(DataPlaneBounds, AServiceThatBeginsToCompareWithTheSlotsThatItHas)
{
    auto plane = open(ephemeral());
    Tables want = least_of(40);
    want.services.at(3).pick = FLB_PICK_TURN;
    apply(plane, want);
    EXPECT_EQ(chunk_of(plane, first_id), std::nullopt);
    apply(plane, least_of(40));
    expect_placed(plane, least_of(40));
}

TEST_F(DataPlaneBounds, AWeightThatChangesForgetsTheBoundOfItsChunkAlone)
{
    auto plane = open(ephemeral());
    Tables want = least_of(40);
    apply(plane, want);
    const std::uint32_t chunk = chunk_of(plane, first_id + 20).value();
    for (const std::uint32_t each : {chunk - 1, chunk, chunk + 1})
        set_bound(plane, each, 7);
    want.backends.at(first_id + 20).load_weight = 250;
    apply(plane, want);
    EXPECT_EQ(bound(plane, chunk - 1), 7u);
    EXPECT_EQ(bound(plane, chunk), 0u);
    EXPECT_EQ(bound(plane, chunk + 1), 7u);
}

TEST_F(DataPlaneBounds, ALaterDaemonKnowsNothingOfBoundsAndFindsTheSlots)
{
    {
        auto plane = open(options());
        apply(plane, least_of(40));
        set_bound(plane, chunk_of(plane, first_id).value(), 7);
    }
    {
        auto plane = open(options());
        EXPECT_TRUE(plane.adopted());
        expect_placed(plane, least_of(40));
        EXPECT_EQ(bound(plane, chunk_of(plane, first_id).value()), 0u) << "programs of another version may have run";
    }
    for (const char* name : {"slot_bounds", "backend_chunks", "pick_memory"}) // as a version without them leaves it
        EXPECT_TRUE(std::filesystem::remove(options().pins + "/maps/" + name)) << name;
    auto plane = open(options());
    EXPECT_TRUE(plane.adopted());
    expect_placed(plane, least_of(40));
    set_bound(plane, chunk_of(plane, first_id).value(), 7);
    attach(plane, Attach::xdp); // in the place of a program that has never heard of bounds
    EXPECT_EQ(bound(plane, chunk_of(plane, first_id).value()), 0u);
}

} // namespace
} // namespace featherlb
