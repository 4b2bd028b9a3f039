// SPDX-License-Identifier: Apache-2.0
#include "plan/maglev.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <numeric>

#include "plan/turns.h"

namespace featherlb {

namespace {

// Each the largest prime below a power of four: coarse, so that a table keeps its size, and with it most of its
// slots, while backends are added one by one.
constexpr std::array<std::uint32_t, 8> ladder{1021, 4093, 16381, 65521, 262139, 1048573, 4194301, 16777213};
constexpr std::uint64_t slots_per_backend = 100;
constexpr std::uint64_t slots_of_the_lightest = 10;
constexpr std::uint64_t largest_for_weights = 1048573;

constexpr std::uint32_t nobody = std::numeric_limits<std::uint32_t>::max();

// The finishing steps of splitmix64 (Steele, Lea, Flood, OOPSLA 2014): every bit of the input moves every bit.
std::uint64_t mix(std::uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
    return x ^ (x >> 31);
}

// Byte by byte, so that it is the same on machines of either byte order.
std::uint64_t hash(const Endpoint& endpoint, std::uint64_t seed)
{
    const flb_addr address = endpoint.address.to_abi();
    std::uint64_t high = 0;
    std::uint64_t low = 0;
    for (std::size_t i = 0; i < 8; ++i) {
        high = high << 8 | address.bytes[i];
        low = low << 8 | address.bytes[i + 8];
    }
    const auto family = static_cast<std::uint64_t>(endpoint.address.family());
    return mix(mix(mix(seed ^ high) ^ low) ^ (family << 16 | endpoint.port));
}

// A backend's preference list: a permutation of all slots, because the table's size is a prime.
struct Preference {
    std::uint32_t offset = 0;
    std::uint32_t skip = 1;
    std::uint32_t at = 0; // where in the table its list has come to
};

std::uint64_t lightest(const std::vector<WeightedBackend>& backends)
{
    std::uint64_t least = 0;
    for (const WeightedBackend& backend : backends) {
        if (backend.weight > 0 && (least == 0 || backend.weight < least))
            least = backend.weight;
    }
    return least;
}

class Table {
public:
    // `backends` in the order of their identities.
    explicit Table(const std::vector<WeightedBackend>& backends)
        : backends_(backends), owners_(maglev_size(backends), nobody), preferences_(backends.size()),
          takers_(backends.size())
    {
        const auto size = static_cast<std::uint32_t>(owners_.size());
        const auto weight_of_none = static_cast<std::uint32_t>(lightest(backends));
        for (std::size_t i = 0; i < backends.size(); ++i) {
            preferences_[i].offset = static_cast<std::uint32_t>(hash(backends[i].endpoint, 1) % size);
            preferences_[i].skip = static_cast<std::uint32_t>(hash(backends[i].endpoint, 2) % (size - 1) + 1);
            takers_[i].weight = backends[i].weight > 0 ? backends[i].weight : weight_of_none;
        }
    }

    void fill_for_all() { fill(owners_.size()); }

    // Only the slots of those that are down change hands.
    void refill_for_those_up()
    {
        std::size_t free = 0;
        for (std::uint32_t& owner : owners_) {
            if (!takes_part(owner)) {
                owner = nobody;
                ++free;
            }
        }
        if (free == 0)
            return;
        for (std::size_t i = 0; i < takers_.size(); ++i) {
            if (!takes_part(i))
                takers_[i].weight = 0;
        }
        fill(free);
    }

    [[nodiscard]] std::vector<BackendId> ids() const
    {
        std::vector<BackendId> result(owners_.size());
        std::transform(owners_.begin(), owners_.end(), result.begin(), [this](auto i) { return backends_[i].id; });
        return result;
    }

private:
    [[nodiscard]] bool takes_part(std::size_t i) const { return backends_[i].up && backends_[i].weight > 0; }

    // Every list begins anew: a slot that went to another one when the table was full may be free now.
    void fill(std::size_t free)
    {
        for (Preference& preference : preferences_)
            preference.at = preference.offset;
        const auto size = static_cast<std::uint32_t>(owners_.size());
        take_turns(takers_, free, [this, size](std::size_t i) {
            Preference& preference = preferences_[i];
            std::uint32_t at = preference.at;
            while (owners_[at] != nobody) {
                at += preference.skip;
                at -= at >= size ? size : 0;
            }
            owners_[at] = static_cast<std::uint32_t>(i);
            preference.at = at;
        });
    }

    const std::vector<WeightedBackend>& backends_;
    std::vector<std::uint32_t> owners_; // positions in backends_
    std::vector<Preference> preferences_;
    std::vector<Taker> takers_;
};

} // namespace

std::size_t maglev_size(const std::vector<WeightedBackend>& backends)
{
    const std::uint64_t least = lightest(backends);
    if (least == 0)
        return 0;
    const std::uint64_t total = std::accumulate(backends.begin(), backends.end(), std::uint64_t{0},
        [least](std::uint64_t sum, const WeightedBackend& b) { return sum + (b.weight > 0 ? b.weight : least); });
    const std::uint64_t for_weights = (total * slots_of_the_lightest + least - 1) / least;
    const std::uint64_t enough =
        std::max(slots_per_backend * backends.size(), std::min(for_weights, largest_for_weights));
    const auto* rung = std::find_if(ladder.begin(), ladder.end(), [enough](auto size) { return size >= enough; });
    return rung == ladder.end() ? ladder.back() : *rung;
}

std::vector<BackendId> maglev_slots(const std::vector<WeightedBackend>& backends)
{
    const bool any = std::any_of(backends.begin(), backends.end(), [](auto& b) { return b.up && b.weight > 0; });
    if (!any)
        return {};
    std::vector<WeightedBackend> sorted = backends;
    std::sort(sorted.begin(), sorted.end(), [](auto& a, auto& b) { return a.endpoint < b.endpoint; });
    Table table(sorted);
    table.fill_for_all();
    table.refill_for_those_up();
    return table.ids();
}

} // namespace featherlb
