// SPDX-License-Identifier: Apache-2.0
// One BPF map as an object: its descriptor, its shape and, for arrays, its memory mapped into ours. Reading and
// writing mapped memory needs no system call; what the programs read at the same moment is written by single
// aligned stores (std::atomic_ref), which `publish` does. Hash maps are read and written by system calls.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/fd.h"
#include "base/result.h"

namespace featherlb {

// Shape of a map, as declared in bpf/maps.h or as the kernel tells it.
struct MapShape {
    std::string name;
    std::uint32_t type = 0;
    std::uint32_t key_size = 0;
    std::uint32_t value_size = 0;
    std::uint32_t max_entries = 0;
    std::uint32_t flags = 0;
};

// "creating the map flows4: Operation not permitted (EPERM)" with what to do about the usual numbers.
[[nodiscard]] Error bpf_error(const std::string& doing, int error_number);

// A shared mapping of a map's values, unmapped with the object.
class Mapping {
public:
    Mapping() = default;
    Mapping(void* memory, std::size_t bytes) : memory_(memory), bytes_(bytes) {}
    Mapping(Mapping&& other) noexcept
        : memory_(std::exchange(other.memory_, nullptr)), bytes_(std::exchange(other.bytes_, 0))
    {
    }
    Mapping& operator=(Mapping&& other) noexcept
    {
        std::swap(memory_, other.memory_);
        std::swap(bytes_, other.bytes_);
        return *this;
    }
    Mapping(const Mapping&) = delete;
    Mapping& operator=(const Mapping&) = delete;
    ~Mapping();

    [[nodiscard]] void* memory() const { return memory_; }

private:
    void* memory_ = nullptr;
    std::size_t bytes_ = 0;
};

class Map {
public:
    Map() = default;
    // Makes the map; an array with BPF_F_MMAPABLE is mapped at once.
    [[nodiscard]] static Result<Map> create(const MapShape& shape);
    // Takes over what is pinned there. The shape's name is the pin's last component.
    [[nodiscard]] static Result<Map> open_pinned(const std::string& path);

    [[nodiscard]] Result<void> pin(const std::string& path) const;
    // Another object for the same map.
    [[nodiscard]] Result<Map> share() const;
    [[nodiscard]] bool same_map(const Map& other) const;
    [[nodiscard]] bool is_mapped() const { return mapping_.memory() != nullptr; }
    [[nodiscard]] int fd() const { return fd_.get(); }
    [[nodiscard]] const MapShape& shape() const { return shape_; }

    // All values of a mapped array. T must have the size of a value, which the kernel does not pad: value sizes
    // are multiples of 8.
    template <typename T>
    [[nodiscard]] std::span<T> values() const
    {
        check_size(sizeof(T));
        return {static_cast<T*>(mapping_.memory()), shape_.max_entries};
    }

    // One value of a mapped array, whatever it is.
    [[nodiscard]] std::span<std::byte> value(std::uint32_t index) const;
    [[nodiscard]] std::span<std::byte> bytes() const; // all of them, as they lie there

    // Hash maps and tries.
    [[nodiscard]] Result<void> put(const void* key, const void* value) const;
    [[nodiscard]] bool get(const void* key, void* value) const; // false: it is not there
    [[nodiscard]] Result<void> remove(const void* key) const;   // nothing there is no error
    template <typename Key, typename Value>
    [[nodiscard]] Result<std::vector<std::pair<Key, Value>>> entries() const
    {
        std::vector<std::pair<Key, Value>> result;
        auto done = for_each_entry(sizeof(Key), sizeof(Value), [&](const std::byte* key, const std::byte* value) {
            auto& [k, v] = result.emplace_back();
            std::copy_n(key, sizeof(Key), reinterpret_cast<std::byte*>(&k));
            std::copy_n(value, sizeof(Value), reinterpret_cast<std::byte*>(&v));
        });
        if (!done)
            return fail(done.error());
        return result;
    }

    // Where a walk over the map has got to.
    struct Walk {
        std::uint32_t batch = 4096;    // entries at a time
        std::vector<std::byte> cursor; // the kernel's; empty: at the beginning
    };
    // Reads the next batch behind the first `count` keys and values, and adds to `count`. True at the end: `walk` is at
    // the beginning again.
    [[nodiscard]] Result<bool> read_batch(
        Walk& walk, std::vector<std::byte>& keys, std::vector<std::byte>& values, std::size_t& count) const;

private:
    Fd fd_;
    MapShape shape_;
    Mapping mapping_;

    [[nodiscard]] Result<void> map_memory();
    void check_size(std::size_t value_size) const; // throws where it is not the map's
    template <typename Use>
    [[nodiscard]] Result<void> for_each_entry(std::size_t key_size, std::size_t value_size, Use use) const
    {
        check_size(value_size);
        std::vector<std::byte> keys, values;
        std::size_t count = 0;
        if (auto done = read_all(keys, values, count); !done)
            return done;
        for (std::size_t i = 0; i < count; i++)
            use(keys.data() + i * key_size, values.data() + i * value_size);
        return {};
    }
    [[nodiscard]] Result<void> read_all(
        std::vector<std::byte>& keys, std::vector<std::byte>& values, std::size_t& count) const;
};

// One store that a program on another processor sees whole, after everything written before it.
template <typename T>
void publish(T& where, std::type_identity_t<T> value)
{
    static_assert(std::atomic_ref<T>::is_always_lock_free);
    std::atomic_ref<T>(where).store(value, std::memory_order_release);
}

// Two or more neighbouring fields that form one aligned word of 32 or 64 bits, written by one store.
template <typename Word>
void publish_word(void* where, std::type_identity_t<Word> value)
{
    using Any __attribute__((may_alias)) = Word;
    __atomic_store_n(static_cast<Any*>(where), value, __ATOMIC_RELEASE);
}

} // namespace featherlb
