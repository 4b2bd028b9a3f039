// SPDX-License-Identifier: Apache-2.0
#include "plan/maglev.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <deque>
#include <limits>
#include <memory>
#include <mutex>
#include <numeric>
#include <utility>

#include "plan/turns.h"

namespace featherlb {

namespace {

// Each the largest prime below a power of four: coarse, so that a table keeps its size, and with it most of its
// slots, while backends are added one by one.
constexpr std::array<std::uint32_t, 8> ladder{1021, 4093, 16381, 65521, 262139, 1048573, 4194301, 16777213};
constexpr std::uint64_t slots_per_backend = 100;
constexpr std::uint64_t slots_of_the_lightest = 10;
constexpr std::uint64_t largest_for_weights = 1048573;

constexpr std::size_t worth_remembering = 65521;
constexpr std::size_t most_remembered = 1u << 21; // slots of all such tables together: 8 MiB
constexpr std::size_t bits = 64;

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

bool any_share(const std::vector<WeightedBackend>& backends)
{
    return std::any_of(backends.begin(), backends.end(), [](auto& b) { return b.share < full_share; });
}

// The last large tables for all backends, by these and their weights. One backend that goes down or comes back changes
// a few slots of such a table; making it takes a hundred times as long.
class Remembered {
public:
    struct Filled {
        std::vector<std::uint32_t> owners;
        std::vector<Taker> takers; // where their turns have come to
    };
    using Shared = std::shared_ptr<const Filled>;

    [[nodiscard]] static Shared get(const std::vector<WeightedBackend>& backends)
    {
        const std::lock_guard guard(lock_);
        const auto found = std::ranges::find_if(tables_, [&](const One& one) { return is_of(one, backends); });
        return found == tables_.end() ? nullptr : found->filled;
    }
    static void put(const std::vector<WeightedBackend>& backends, Filled filled)
    {
        One one{.backends = {}, .filled = std::make_shared<const Filled>(std::move(filled))};
        for (const WeightedBackend& backend : backends)
            one.backends.emplace_back(backend.endpoint, backend.weight);
        const std::lock_guard guard(lock_);
        tables_.push_back(std::move(one));
        std::size_t slots = 0;
        for (const One& each : tables_)
            slots += each.filled->owners.size();
        for (; slots > most_remembered; tables_.pop_front())
            slots -= tables_.front().filled->owners.size();
    }

private:
    struct One {
        std::vector<std::pair<Endpoint, std::uint32_t>> backends;
        Shared filled;
    };
    static inline std::mutex lock_;
    static inline std::deque<One> tables_;

    static bool is_of(const One& one, const std::vector<WeightedBackend>& backends)
    {
        return std::ranges::equal(one.backends, backends,
            [](const auto& a, const WeightedBackend& b) { return a.first == b.endpoint && a.second == b.weight; });
    }
};

class Table {
public:
    // `backends` in the order of their identities.
    explicit Table(const std::vector<WeightedBackend>& backends)
        : backends_(backends), owners_(maglev_size(backends), nobody), ranks_(any_share(backends) ? owners_.size() : 0),
          counts_(backends.size()), preferences_(backends.size()), takers_(backends.size()),
          taken_((owners_.size() + bits - 1) / bits)
    {
        const auto size = static_cast<std::uint32_t>(owners_.size());
        const auto weight_of_none = static_cast<std::uint32_t>(lightest(backends));
        for (std::size_t i = 0; i < backends.size(); ++i) {
            preferences_[i].offset = static_cast<std::uint32_t>(hash(backends[i].endpoint, 1) % size);
            preferences_[i].skip = static_cast<std::uint32_t>(hash(backends[i].endpoint, 2) % (size - 1) + 1);
            takers_[i].weight = backends[i].weight > 0 ? backends[i].weight : weight_of_none;
        }
    }

    // Whoever is up: the same as long as the backends and their weights are, so that of large tables it is remembered.
    void fill_for_all()
    {
        const bool large = owners_.size() >= worth_remembering && ranks_.empty();
        if (large) {
            if (const auto remembered = Remembered::get(backends_)) {
                owners_ = remembered->owners;
                takers_ = remembered->takers;
                std::ranges::fill(taken_, ~std::uint64_t{0});
                return;
            }
        }
        fill(owners_.size());
        if (large)
            Remembered::put(backends_, {.owners = owners_, .takers = takers_});
    }

    // Only the slots of those that are down change hands.
    void refill_for_those_up()
    {
        std::size_t free = 0;
        for (std::size_t at = 0; at < owners_.size(); ++at) {
            if (!takes_part(owners_[at])) {
                taken_[at / bits] &= ~(std::uint64_t{1} << at % bits);
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

    // Those who have a share only keep that part of their slots; the others go to whom they belong in `otherwise`.
    void give_up_to(const Table& otherwise)
    {
        std::vector<std::uint64_t> kept(backends_.size(), 0);
        for (std::size_t i = 0; i < kept.size(); ++i)
            kept[i] = (std::uint64_t{counts_[i]} * backends_[i].share + full_share - 1) / full_share;
        for (std::size_t at = 0; at < owners_.size(); ++at) {
            const std::uint32_t owner = owners_[at];
            if (backends_[owner].share < full_share && ranks_[at] >= kept[owner])
                owners_[at] = otherwise.owners_[at];
        }
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
            while ((taken_[at / bits] >> at % bits & 1) != 0) {
                at += preference.skip;
                at -= at >= size ? size : 0;
            }
            taken_[at / bits] |= std::uint64_t{1} << at % bits;
            owners_[at] = static_cast<std::uint32_t>(i);
            if (!ranks_.empty())
                ranks_[at] = counts_[i]++;
            preference.at = at;
        });
    }

    const std::vector<WeightedBackend>& backends_;
    std::vector<std::uint32_t> owners_; // positions in backends_
    std::vector<std::uint32_t>
        ranks_; // how many slots the owner had before this one; empty where nobody has a share only
    std::vector<std::uint32_t> counts_; // how many each has taken
    std::vector<Preference> preferences_;
    std::vector<Taker> takers_;
    std::vector<std::uint64_t> taken_; // a bit for each slot: many more of them lie near the processor than of owners
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
    std::vector<WeightedBackend> others = sorted;
    bool any_part = false;
    bool any_other = false;
    for (WeightedBackend& backend : others) {
        const bool takes_part = backend.up && backend.weight > 0;
        backend.up = takes_part && backend.share >= full_share;
        any_part = any_part || (takes_part && !backend.up);
        any_other = any_other || backend.up;
    }
    if (any_part && any_other) {
        Table without(others);
        without.fill_for_all();
        without.refill_for_those_up();
        table.give_up_to(without);
    }
    return table.ids();
}

} // namespace featherlb
