// SPDX-License-Identifier: Apache-2.0
#include "engine.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <optional>
#include <stdexcept>
#include <utility>

#include <bpf/libbpf.h>
#include <gtest/gtest.h>

#include "tc.skel.h"
#include "variants.h"
#include "xdp.skel.h"

namespace featherlb::packet {
namespace host {
namespace {

std::optional<Conditions> next_conditions;
class HostEngine;
HostEngine* ran_last = nullptr;

class HostEngine : public Engine {
public:
    HostEngine(const MapSizes& sizes, const flb_load& constants);

    std::map<std::string, std::span<std::uint8_t>> memory() override;
    int update(const char* map, const void* key, const void* value) override
    {
        return machine_.map(map).update(key, value, BPF_ANY);
    }
    int lookup(const char* map, const void* key, void* value) override;
    int next_key(const char* map, const void* key, void* next) override
    {
        return machine_.map(map).next_key(key, next);
    }
    int erase(const char* map, const void* key) override { return machine_.map(map).erase(key); }
    std::vector<flb_sample> take_samples() override;
    Outcome run_xdp(const Bytes& in, xdp_md& context) override;
    Outcome run_skb(const Bytes& in, __sk_buff& context, bool tags_in_packet) override;

    void run_copies(std::span<flb_copy> copies);

private:
    // With what the test asked for, or after the variants.
    Result run(const Bytes& in, Hook hook, const Once& once);
    [[nodiscard]] std::uint64_t drops(); // of all reasons

    Machine machine_;
};

HostEngine::HostEngine(const MapSizes& sizes, const flb_load& constants) : machine_(constants.processors - 1)
{
    const std::unique_ptr<xdp_bpf, decltype(&xdp_bpf__destroy)> xdp(xdp_bpf__open(), &xdp_bpf__destroy);
    const std::unique_ptr<tc_bpf, decltype(&tc_bpf__destroy)> tc(tc_bpf__open(), &tc_bpf__destroy);
    if (!xdp || !tc)
        throw std::runtime_error("cannot read the packet programs");
    for (bpf_object* object : {xdp->obj, tc->obj}) {
        bpf_map* map = nullptr;
        bpf_object__for_each_map(map, object)
        {
            MapDefinition definition = definition_of(map);
            if (const auto size = sizes.find(definition.name); size != sizes.end())
                definition.entries = size->second;
            if (!bpf_map__is_internal(map))
                machine_.add(definition);
        }
    }
    machine_.load("host_xdp.so");
    machine_.load("host_tc.so");
    machine_.load("host_copy.so");
    machine_.set_constant("flb_load", &constants, sizeof(constants));
}

std::map<std::string, std::span<std::uint8_t>> HostEngine::memory()
{
    std::map<std::string, std::span<std::uint8_t>> all;
    for (const auto& [name, map] : machine_.maps())
        if (map->definition().flags & BPF_F_MMAPABLE)
            all[name] = map->memory();
    return all;
}

int HostEngine::lookup(const char* map, const void* key, void* value)
{
    const void* found = machine_.map(map).find(key);
    if (!found)
        return -ENOENT;
    std::memcpy(value, found, machine_.map(map).definition().value_size);
    return 0;
}

std::vector<flb_sample> HostEngine::take_samples()
{
    std::vector<flb_sample> samples;
    for (const auto& record : machine_.map("samples").take())
        std::memcpy(&samples.emplace_back(), record.data(), sizeof(flb_sample));
    return samples;
}

std::uint64_t HostEngine::drops()
{
    const std::span<std::uint8_t> memory = machine_.map("drop_counters").memory();
    const auto* counters = reinterpret_cast<const flb_drop_counters*>(memory.data());
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < memory.size() / sizeof(flb_drop_counters); i++)
        for (const std::uint64_t packets : counters[i].packets)
            sum += packets;
    return sum;
}

Result HostEngine::run(const Bytes& in, Hook hook, const Once& once)
{
    ran_last = this;
    machine_.set_clock(static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count()));
    if (next_conditions)
        return once(*std::exchange(next_conditions, std::nullopt));
    if (variants_wanted())
        try_variants(machine_, in, hook, once, [this] { return drops(); });
    return once({});
}

Outcome HostEngine::run_xdp(const Bytes& in, xdp_md& context)
{
    return run(in, Hook::xdp, [&](const Conditions& conditions) {
        return machine_.run_xdp("flb_xdp", in, context, conditions);
    }).outcome;
}

Outcome HostEngine::run_skb(const Bytes& in, __sk_buff& context, bool tags_in_packet)
{
    Result result = run(in, Hook::tc, [&](const Conditions& conditions) {
        return machine_.run_skb("flb_tc", in, context, tags_in_packet, conditions);
    });
    context = result.skb;
    result.outcome.gso_size = result.skb.gso_size;
    return result.outcome;
}

void HostEngine::run_copies(std::span<flb_copy> copies)
{
    auto* memory = static_cast<flb_copy*>(machine_.variable("flb_copies"));
    const Once once = [&](const Conditions& conditions) {
        std::copy(copies.begin(), copies.end(), memory);
        return machine_.run_raw("flb_copy", copies.size(), conditions);
    };
    machine_.set_clock(static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count()));
    if (variants_wanted())
        try_faults(machine_, once, [&] {
            for (const flb_copy& one : std::span(memory, copies.size()))
                EXPECT_LE(one.result, unsigned{FLB_COPY_CONTENDED});
        });
    (void)once({});
    std::copy(memory, memory + copies.size(), copies.begin());
}

} // namespace

void set_conditions(const Conditions& conditions)
{
    next_conditions = conditions;
}

void run_copies(std::span<flb_copy> copies)
{
    ran_last->run_copies(copies);
}

} // namespace host

std::unique_ptr<Engine> make_engine(const MapSizes& sizes, const flb_load& constants)
{
    return std::make_unique<host::HostEngine>(sizes, constants);
}

} // namespace featherlb::packet
