// SPDX-License-Identifier: Apache-2.0
#include "maps.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <stdexcept>
#include <system_error>
#include <unordered_map>
#include <utility>

#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <sys/mman.h>

#include <fmt/format.h>

namespace featherlb::packet::host {
namespace {

using Octets = std::vector<std::uint8_t>;

// For each processor alike: programs here run on one.
class ArrayMap : public Map {
public:
    explicit ArrayMap(const MapDefinition& d) : Map(d), step_((d.value_size + 7) / 8 * 8)
    {
        const std::size_t size = std::size_t{step_} * d.entries;
        void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED)
            throw std::system_error(errno, std::generic_category(), d.name);
        memory_ = {static_cast<std::uint8_t*>(memory), size};
    }
    ~ArrayMap() override { munmap(memory_.data(), memory_.size()); }

    [[nodiscard]] void* find(const void* key) override
    {
        std::uint32_t index = 0;
        std::memcpy(&index, key, sizeof(index));
        if (index >= definition().entries)
            return nullptr;
        std::uint8_t* at = &memory_[std::size_t{index} * step_];
        if (watched_ && !before_.contains(at))
            before_.emplace(at, Octets(at, at + step_));
        return at;
    }
    int update(const void* key, const void* value, std::uint64_t flags) override
    {
        void* at = find(key);
        if (!at)
            return -E2BIG;
        if (flags == BPF_NOEXIST)
            return -EEXIST;
        std::memcpy(at, value, definition().value_size);
        return 0;
    }
    int erase(const void*) override { return -EINVAL; }
    int next_key(const void*, void*) override { return -ENOENT; }
    [[nodiscard]] std::span<std::uint8_t> memory() override { return memory_; }
    void watch() override { watched_ = true; }
    void restore() override
    {
        for (const auto& [at, value] : before_)
            if (std::memcmp(at, value.data(), value.size()) != 0)
                std::memcpy(at, value.data(), value.size());
    }
    void unwatch() override
    {
        watched_ = false;
        before_.clear();
    }

private:
    std::uint32_t step_ = 0;
    std::span<std::uint8_t> memory_;
    bool watched_ = false;
    std::unordered_map<std::uint8_t*, Octets> before_;
};

// Hash and LRU hash. Which entry the kernel's LRU evicts is nobody's to know; here it is the oldest.
class HashMap : public Map {
public:
    explicit HashMap(const MapDefinition& d) : Map(d) {}

    [[nodiscard]] void* find(const void* key) override
    {
        const auto found = entries_.find(bytes(key, definition().key_size));
        return found == entries_.end() ? nullptr : shown(*found);
    }
    int update(const void* key, const void* value, std::uint64_t flags) override
    {
        const Octets k = bytes(key, definition().key_size);
        const auto found = entries_.find(k);
        if (found != entries_.end() && flags == BPF_NOEXIST)
            return -EEXIST;
        if (found == entries_.end() && flags == BPF_EXIST)
            return -ENOENT;
        if (found == entries_.end() && entries_.size() >= definition().entries) {
            if (definition().type != BPF_MAP_TYPE_LRU_HASH)
                return -E2BIG;
            keep_all();
            remove(entries_.find(order_.front()));
        }
        keep_all();
        if (found != entries_.end())
            remove(found);
        insert(k, bytes(value, definition().value_size));
        return 0;
    }
    int erase(const void* key) override
    {
        const auto found = entries_.find(bytes(key, definition().key_size));
        if (found == entries_.end())
            return -ENOENT;
        keep_all();
        remove(found);
        return 0;
    }
    int next_key(const void* key, void* next) override
    {
        auto at = entries_.begin();
        if (key) {
            at = entries_.find(bytes(key, definition().key_size));
            at = at == entries_.end() ? entries_.begin() : std::next(at); // as the kernel does it
        }
        if (at == entries_.end())
            return -ENOENT;
        std::memcpy(next, at->first.data(), at->first.size());
        return 0;
    }
    void sweep() override { removed_.clear(); }
    void watch() override { watched_ = true; }
    void restore() override
    {
        if (all_before_) {
            entries_.clear();
            order_.clear();
            for (const auto& [key, value] : *all_before_)
                insert(key, value);
        }
        for (const auto& [key, value] : before_)
            *entries_.at(key).value = value;
    }
    void unwatch() override
    {
        watched_ = false;
        before_.clear();
        all_before_.reset();
    }

protected:
    static Octets bytes(const void* at, std::size_t size)
    {
        const auto* first = static_cast<const std::uint8_t*>(at);
        return {first, first + size};
    }
    struct Slot {
        std::unique_ptr<Octets> value;
        std::list<Octets>::iterator place; // in order_
    };
    using Entries = std::map<Octets, Slot>;
    [[nodiscard]] Entries& entries() { return entries_; }
    // The value of an entry, which its reader may write to.
    [[nodiscard]] void* shown(Entries::value_type& entry)
    {
        if (watched_ && !all_before_)
            before_.try_emplace(entry.first, *entry.second.value);
        return entry.second.value->data();
    }

private:
    // Before entries come or go. What was read before is noted as it was.
    void keep_all()
    {
        if (!watched_ || all_before_)
            return;
        all_before_.emplace();
        for (const Octets& key : order_) {
            const auto read = before_.find(key);
            all_before_->emplace_back(key, read == before_.end() ? *entries_.at(key).value : read->second);
        }
        before_.clear();
    }
    void insert(const Octets& key, const Octets& value)
    {
        entries_[key] = {std::make_unique<Octets>(value), order_.insert(order_.end(), key)};
    }
    void remove(Entries::iterator at)
    {
        order_.erase(at->second.place);
        removed_.push_back(std::move(at->second.value));
        entries_.erase(at);
    }

    Entries entries_;
    std::list<Octets> order_; // oldest first
    std::vector<std::unique_ptr<Octets>> removed_;
    bool watched_ = false;
    std::map<Octets, Octets> before_;
    std::optional<std::vector<std::pair<Octets, Octets>>> all_before_; // replaces before_
};

// A key begins with the bits of its prefix, a __u32.
class PrefixMap : public HashMap {
public:
    explicit PrefixMap(const MapDefinition& d) : HashMap(d) {}

    [[nodiscard]] void* find(const void* key) override
    {
        const Octets wanted = bytes(key, definition().key_size);
        Entries::value_type* best = nullptr;
        for (auto& entry : entries())
            if (bits(entry.first) <= bits(wanted) && begins_with(wanted, entry.first) &&
                (!best || bits(entry.first) > bits(best->first)))
                best = &entry;
        return best ? shown(*best) : nullptr;
    }

private:
    static std::uint32_t bits(const Octets& key)
    {
        std::uint32_t number = 0;
        std::memcpy(&number, key.data(), sizeof(number));
        return number;
    }
    static bool begins_with(const Octets& address, const Octets& prefix)
    {
        for (std::uint32_t bit = 0; bit < bits(prefix); bit++) {
            const std::size_t at = sizeof(std::uint32_t) + bit / 8;
            if ((address[at] ^ prefix[at]) & (0x80 >> bit % 8))
                return false;
        }
        return true;
    }
};

class RingMap : public Map {
public:
    explicit RingMap(const MapDefinition& d) : Map(d) {}

    [[nodiscard]] void* find(const void*) override { return nullptr; }
    int update(const void*, const void*, std::uint64_t) override { return -EINVAL; }
    int erase(const void*) override { return -EINVAL; }
    int next_key(const void*, void*) override { return -EINVAL; }
    [[nodiscard]] void* reserve(std::uint64_t size) override
    {
        constexpr std::size_t header = 8;
        const std::uint64_t taken = records_.size() * (size + header); // all are of one size
        if (taken + size + header > definition().entries)
            return nullptr;
        return records_.emplace_back(size).data();
    }
    std::vector<Octets> take() override { return {std::exchange(records_, {})}; }
    void watch() override { watched_ = records_.size(); }
    void restore() override { records_.resize(watched_); }
    void unwatch() override {}

private:
    std::vector<Octets> records_;
    std::size_t watched_ = 0;
};

} // namespace

MapDefinition definition_of(const bpf_map* map)
{
    return {bpf_map__name(map), bpf_map__type(map), bpf_map__key_size(map), bpf_map__value_size(map),
        bpf_map__max_entries(map), bpf_map__map_flags(map)};
}

std::unique_ptr<Map> make_map(const MapDefinition& definition)
{
    switch (definition.type) {
    case BPF_MAP_TYPE_ARRAY:
    case BPF_MAP_TYPE_PERCPU_ARRAY:
        return std::make_unique<ArrayMap>(definition);
    case BPF_MAP_TYPE_HASH:
    case BPF_MAP_TYPE_LRU_HASH:
        return std::make_unique<HashMap>(definition);
    case BPF_MAP_TYPE_LPM_TRIE:
        return std::make_unique<PrefixMap>(definition);
    case BPF_MAP_TYPE_RINGBUF:
        return std::make_unique<RingMap>(definition);
    default:
        throw std::runtime_error(
            fmt::format("{}: maps of type {} have no stand-in in tests/packet/host", definition.name, definition.type));
    }
}

} // namespace featherlb::packet::host
