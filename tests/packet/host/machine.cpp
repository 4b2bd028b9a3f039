// SPDX-License-Identifier: Apache-2.0
#include "machine.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <system_error>

#include <dlfcn.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <sys/mman.h>
#include <unistd.h>

#include "network.h"
#include "variants.h"

namespace featherlb::packet::host {
namespace {

Run* current_run = nullptr;

constexpr std::uint32_t room_size = Run::headroom + Run::largest + Run::tailroom;

// Below 4 GiB, as the fields of contexts that hold addresses have 32 bits.
std::uint8_t* packet_room()
{
    static std::uint8_t* room = [] {
        void* memory = mmap(nullptr, room_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
        if (memory == MAP_FAILED)
            throw std::system_error(errno, std::generic_category(), "memory below 4 GiB");
        return static_cast<std::uint8_t*>(memory);
    }();
    return room;
}

[[noreturn]] void refuse(const char* what)
{
    throw std::system_error(EINVAL, std::generic_category(), what);
}

// Of a frame that comes by this interface: PACKET_HOST, or what else eth_type_trans() says.
std::uint32_t packet_type(const Bytes& in, const Interface& by)
{
    constexpr std::uint32_t to_us = 0, broadcast = 1, multicast = 2, to_another = 3;
    if (std::equal(by.mac.begin(), by.mac.end(), in.begin()))
        return to_us;
    if (std::all_of(in.begin(), in.begin() + ETH_ALEN, [](std::uint8_t byte) { return byte == 0xff; }))
        return broadcast;
    return in[0] & 1 ? multicast : to_another;
}

} // namespace

Run& Run::current()
{
    return *current_run;
}

Map& Machine::add(const MapDefinition& definition)
{
    std::unique_ptr<Map>& map = maps_[definition.name];
    if (!map)
        map = make_map(definition);
    return *map;
}

void Machine::load(const std::string& file)
{
    Library library;
    library.handle = dlopen((std::string(FEATHERLB_HOST_PROGRAMS "/") + file).c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!library.handle)
        throw std::runtime_error(dlerror());
    for (const auto& [name, map] : maps_)
        if (const void* address = dlsym(library.handle, name.c_str()))
            library.maps[address] = map.get();
    libraries_.push_back(std::move(library));
}

void Machine::set_constant(const std::string& name, const void* bytes, std::size_t size)
{
    const auto* first = static_cast<const std::uint8_t*>(bytes);
    constants_[name] = Bytes(first, first + size);
    const auto page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
    for (const Library& library : libraries_) {
        void* at = dlsym(library.handle, name.c_str());
        const std::uintptr_t into = reinterpret_cast<std::uintptr_t>(at) % page;
        if (at && mprotect(static_cast<std::uint8_t*>(at) - into, into + size, PROT_READ | PROT_WRITE) != 0)
            throw std::system_error(errno, std::generic_category(), "the constants of a program");
    }
}

void Machine::write_constants(const Library& library) const
{
    for (const auto& [name, bytes] : constants_)
        if (void* at = dlsym(library.handle, name.c_str()))
            std::memcpy(at, bytes.data(), bytes.size());
}

std::pair<void*, const Machine::Library*> Machine::find(const char* program) const
{
    for (const Library& library : libraries_)
        if (void* entry = dlsym(library.handle, program))
            return {entry, &library};
    throw std::runtime_error(std::string("no such program: ") + program);
}

void Machine::watch()
{
    chance_before_ = chance_;
    for (const auto& [name, map] : maps_)
        map->watch();
}

void Machine::restore()
{
    chance_ = chance_before_;
    for (const auto& [name, map] : maps_)
        map->restore();
}

void Machine::unwatch()
{
    for (const auto& [name, map] : maps_)
        map->unwatch();
}

Result Machine::run(
    const Library& library, const Bytes& in, const Conditions& conditions, Run& run, const std::function<int()>& enter)
{
    if (in.size() < ETH_HLEN || in.size() > Run::largest)
        refuse("a frame of this size");
    run.map_at = [&library](const void* address) { return library.maps.at(address); };
    run.processor = processor_;
    run.chance = &chance_;
    run.conditions = conditions;
    run.room = packet_room();
    run.data = run.room + Run::headroom;
    run.length = static_cast<std::uint32_t>(in.size());
    run.readable = std::min(run.length, conditions.readable);
    std::memcpy(run.data, in.data(), in.size());
    write_constants(library);
    if (conditions.partial)
        leave_to_device(run);
    run.show();
    current_run = &run;
    Result result;
    result.outcome.code = enter();
    current_run = nullptr;
    result.outcome.bytes.assign(run.data, run.data + run.length);
    result.calls = run.calls;
    result.meetings = run.meetings;
    result.trace = run.trace;
    result.counter_failed = run.counter_failed;
    result.partial_at = run.partial_at;
    result.partial_field = run.partial_field;
    for (const auto& [name, map] : maps_)
        map->sweep();
    return result;
}

Result Machine::run_xdp(const char* program, const Bytes& in, const xdp_md& context, const Conditions& conditions)
{
    static const std::map<int, Verdict> verdicts = {{XDP_PASS, Verdict::pass}, {XDP_DROP, Verdict::drop},
        {XDP_TX, Verdict::transmit}, {XDP_REDIRECT, Verdict::redirect}};
    if (!interface_at(context.ingress_ifindex))
        refuse("an interface that there is");
    const auto [entry, library] = find(program);
    xdp_md seen = context;
    Run state;
    state.xdp = &seen;
    Result result = run(*library, in, conditions, state,
        [&, enter = reinterpret_cast<int (*)(xdp_md*)>(entry)] { return enter(&seen); });
    if (const auto found = verdicts.find(result.outcome.code); found != verdicts.end())
        result.outcome.verdict = found->second;
    return result;
}

Result Machine::run_skb(
    const char* program, const Bytes& in, const __sk_buff& context, bool tags_in_packet, const Conditions& conditions)
{
    static const std::map<int, Verdict> verdicts = {
        {TC_ACT_UNSPEC, Verdict::pass}, {TC_ACT_SHOT, Verdict::drop}, {TC_ACT_REDIRECT, Verdict::redirect}};
    const Interface* by = interface_at(context.ifindex);
    if ((context.ifindex && !by) || in.size() <= ETH_HLEN)
        refuse("an interface that there is");
    const auto [entry, library] = find(program);
    __sk_buff seen = context;
    seen.pkt_type = by ? packet_type(in, *by) : 0;
    std::uint16_t protocol_be = 0;
    std::memcpy(&protocol_be, &in[2UL * ETH_ALEN], sizeof(protocol_be));
    seen.protocol = protocol_be;
    if (!tags_in_packet && context.cb[0]) {
        seen.vlan_present = 1;
        seen.vlan_proto = context.cb[0] >> 16;
        seen.vlan_tci = context.cb[0] & 0xffff;
    }
    Run state;
    state.skb = &seen;
    Result result = run(*library, in, conditions, state,
        [&, enter = reinterpret_cast<int (*)(__sk_buff*)>(entry)] { return enter(&seen); });
    if (const auto found = verdicts.find(result.outcome.code); found != verdicts.end())
        result.outcome.verdict = found->second;
    seen.cb[0] = tags_in_packet ? context.cb[0] : seen.vlan_present;
    seen.cb[1] = seen.vlan_tci;
    seen.cb[2] = seen.vlan_proto;
    result.skb = seen;
    return result;
}

Result Machine::run_raw(const char* program, std::uint64_t argument, const Conditions& conditions)
{
    const auto [entry, library] = find(program);
    xdp_md unused{};
    Run state;
    state.xdp = &unused;
    return run(*library, Bytes(ETH_ZLEN), conditions, state,
        [&, enter = reinterpret_cast<int (*)(std::uint64_t*)>(entry)] { return enter(&argument); });
}

void* Machine::variable(const char* name) const
{
    return find(name).first;
}

} // namespace featherlb::packet::host
