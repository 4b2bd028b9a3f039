// SPDX-License-Identifier: Apache-2.0
// Maps of the packet programs as plain memory. What a look-up gives stays where it is, also when the entry is deleted,
// until sweep() says that no program runs. For one thread.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

struct bpf_map;

namespace featherlb::packet::host {

struct MapDefinition {
    std::string name;
    std::uint32_t type = 0, key_size = 0, value_size = 0, entries = 0, flags = 0;
};

// As a compiled program declares it.
[[nodiscard]] MapDefinition definition_of(const bpf_map* map);

class Map {
public:
    explicit Map(MapDefinition definition) : definition_(std::move(definition)) {}
    virtual ~Map() = default;
    Map(const Map&) = delete;
    Map& operator=(const Map&) = delete;

    [[nodiscard]] const MapDefinition& definition() const { return definition_; }

    [[nodiscard]] virtual void* find(const void* key) = 0; // null: none
    virtual int update(const void* key, const void* value, std::uint64_t flags) = 0;
    virtual int erase(const void* key) = 0;
    virtual int next_key(const void* key, void* next) = 0;
    [[nodiscard]] virtual std::span<std::uint8_t> memory() { return {}; } // an array's
    // A ring buffer's; null: it has no room. A record is there once it is reserved: nothing reads while a program runs.
    [[nodiscard]] virtual void* reserve(std::uint64_t) { return nullptr; }
    virtual std::vector<std::vector<std::uint8_t>> take() { return {}; }
    virtual void sweep() {}

    // From watch() on, what programs get at is noted, and restore() puts it back as it was, any number of times.
    virtual void watch() = 0;
    virtual void restore() = 0;
    virtual void unwatch() = 0;

private:
    MapDefinition definition_;
};

// Throws where there is none of this type here.
[[nodiscard]] std::unique_ptr<Map> make_map(const MapDefinition& definition);

} // namespace featherlb::packet::host
