// SPDX-License-Identifier: Apache-2.0
// Machine: what packet programs that were compiled for this machine run on: maps in plain memory, constants, a clock.
// A program is a function of a shared object (host_xdp.so and others: host.cmake), whose maps are found by their names.
// For one thread.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "../engine.h"
#include "maps.h"
#include "run.h"

namespace featherlb::packet::host {

// What came of one run.
struct Result {
    Outcome outcome;
    __sk_buff skb{}; // afterwards
    std::uint32_t partial_at = 0, partial_field = 0;
    unsigned calls = 0;
    std::vector<unsigned> meetings;
    std::uint64_t trace = 0;
    bool counter_failed = false;
};

// An interface of number 0 is one to whose address every packet is sent. The others are those of network.h. Both throw
// std::system_error for what the kernel would refuse.
class Machine {
public:
    explicit Machine(std::uint32_t processor) : processor_(processor) {}

    // Makes a map unless there is one of this name.
    Map& add(const MapDefinition& definition);
    [[nodiscard]] Map& map(const std::string& name) { return *maps_.at(name); }
    [[nodiscard]] const std::map<std::string, std::unique_ptr<Map>>& maps() const { return maps_; }

    // Loads an object, after its maps have been added. A library is there once however many machines load it, and
    // stays: its counts of branches are written at the end.
    void load(const std::string& file);
    // A constant (`const volatile`) of all objects that have it; written anew before each run.
    void set_constant(const std::string& name, const void* bytes, std::size_t size);

    Result run_xdp(const char* program, const Bytes& in, const xdp_md& context, const Conditions& conditions);
    Result run_skb(const char* program, const Bytes& in, const __sk_buff& context, bool tags_in_packet,
        const Conditions& conditions);
    // A program that sees no packet, with one argument.
    Result run_raw(const char* program, std::uint64_t argument, const Conditions& conditions);
    // A variable of an object.
    [[nodiscard]] void* variable(const char* name) const;

    void set_clock(std::uint64_t nanoseconds) { chance_.nanoseconds = nanoseconds; }

    // From watch() to unwatch(), restore() makes undone what runs did.
    void watch();
    void restore();
    void unwatch();

private:
    struct Library {
        void* handle = nullptr;
        std::unordered_map<const void*, Map*> maps; // by address
    };
    // The entry of a program, and the library that it is in.
    [[nodiscard]] std::pair<void*, const Library*> find(const char* program) const;
    void write_constants(const Library& library) const;
    Result run(const Library& library, const Bytes& in, const Conditions& conditions, Run& run,
        const std::function<int()>& enter);

    std::map<std::string, std::unique_ptr<Map>> maps_;
    std::vector<Library> libraries_;
    std::map<std::string, Bytes> constants_;
    std::uint32_t processor_ = 0;
    Chance chance_, chance_before_;
};

} // namespace featherlb::packet::host
