// SPDX-License-Identifier: Apache-2.0
// Stands in for the part of libbpf that talks to the kernel, for user space that loads programs by a skeleton (those of
// decapsulation and of health checks): such a program becomes one of this machine. The functions have libbpf's names
// and are found before it; what only reads objects stays libbpf's. A file descriptor stands for each map and program.
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>

#include <dlfcn.h>
#include <fcntl.h>

#include "../plane.h"
#include "machine.h"
#include "variants.h"

namespace featherlb::packet {
namespace host {
namespace {

struct Object {
    Machine machine{0};
    std::vector<Fd> fds;
};

struct Loaded {
    std::shared_ptr<Object> object;
    Map* map = nullptr; // one of the two
    std::string name;   // of the program
    bool is_xdp = false;
    bool tag_in_metadata = false; // a front program: see tc_front.cpp
};

struct Registry {
    std::map<const void*, int> fds; // of bpf_map and bpf_program
    std::map<int, Loaded> loaded;
    std::map<const bpf_object*, std::shared_ptr<Object>> objects;
};

Registry& registry()
{
    static Registry all;
    return all;
}

Fd some_fd()
{
    Fd fd(open("/dev/null", O_RDONLY | O_CLOEXEC));
    if (!fd.valid())
        throw std::system_error(errno, std::generic_category(), "/dev/null");
    return fd;
}

int enlist(const void* of, Loaded loaded)
{
    Object& object = *loaded.object;
    object.fds.push_back(some_fd());
    const int fd = object.fds.back().get();
    registry().fds[of] = fd;
    registry().loaded[fd] = std::move(loaded);
    return fd;
}

// Constants by name, as libbpf has prepared them for the kernel.
void copy_constants(const bpf_object* object, const bpf_map* map, Machine& machine)
{
    const btf* types = bpf_object__btf(object);
    std::size_t size = 0;
    const auto* bytes = static_cast<const std::uint8_t*>(bpf_map__initial_value(const_cast<bpf_map*>(map), &size));
    const int section = btf__find_by_name_kind(types, ".rodata", BTF_KIND_DATASEC);
    if (section < 0 || !bytes)
        return;
    const btf_type* all = btf__type_by_id(types, static_cast<std::uint32_t>(section));
    const btf_var_secinfo* variable = btf_var_secinfos(all);
    for (unsigned i = 0; i < btf_vlen(all); i++, variable++)
        machine.set_constant(btf__name_by_offset(types, btf__type_by_id(types, variable->type)->name_off),
            bytes + variable->offset, variable->size);
}

Outcome run(const Loaded& loaded, const bpf_test_run_opts& options, __sk_buff& skb)
{
    Machine& machine = loaded.object->machine;
    const auto* bytes = static_cast<const std::uint8_t*>(options.data_in);
    const Bytes in(bytes, bytes + options.data_size_in);
    xdp_md xdp{};
    if (options.ctx_in)
        std::memcpy(loaded.is_xdp ? static_cast<void*>(&xdp) : &skb, options.ctx_in, options.ctx_size_in);
    const Once once = [&](const Conditions& conditions) {
        return loaded.is_xdp ? machine.run_xdp(loaded.name.c_str(), in, xdp, conditions)
                             : machine.run_skb(loaded.name.c_str(), in, skb, !loaded.tag_in_metadata, conditions);
    };
    machine.set_clock(static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count()));
    if (variants_wanted() && options.ctx_in)
        try_variants(machine, in, loaded.is_xdp ? Hook::xdp : Hook::tc, once, nullptr);
    const Result result = once({});
    if (!loaded.is_xdp)
        skb = result.skb;
    return result.outcome;
}

} // namespace
} // namespace host

TcFront make_tc_front(int program)
{
    TcFront front;
    front.program = host::some_fd();
    host::Loaded loaded = host::registry().loaded.at(program);
    loaded.tag_in_metadata = true;
    host::registry().loaded[front.program.get()] = std::move(loaded);
    return front;
}

} // namespace featherlb::packet

using featherlb::packet::host::registry;

extern "C" {

int bpf_object__load_skeleton(bpf_object_skeleton* skeleton)
{
    using namespace featherlb::packet::host;
    bpf_object* from = *skeleton->obj;
    auto object = std::make_shared<Object>();
    const bpf_map* map = nullptr;
    bpf_object__for_each_map(map, from)
    {
        if (!bpf_map__is_internal(map))
            enlist(map, {.object = object, .map = &object->machine.add(definition_of(map))});
    }
    const std::string name = skeleton->name; // decap_bpf
    object->machine.load("host_" + name.substr(0, name.find("_bpf")) + ".so");
    bpf_object__for_each_map(map, from)
    {
        if (std::string_view(bpf_map__name(map)).ends_with(".rodata"))
            copy_constants(from, map, object->machine);
    }
    bpf_program* program = nullptr;
    bpf_object__for_each_program(program, from)
    {
        enlist(program, {.object = object,
                            .name = bpf_program__name(program),
                            .is_xdp = bpf_program__type(program) == BPF_PROG_TYPE_XDP});
    }
    registry().objects[from] = object;
    return 0;
}

void bpf_object__destroy_skeleton(bpf_object_skeleton* skeleton)
{
    if (skeleton && skeleton->obj && *skeleton->obj)
        registry().objects.erase(*skeleton->obj);
    using Destroy = void (*)(bpf_object_skeleton*);
    reinterpret_cast<Destroy>(dlsym(RTLD_NEXT, "bpf_object__destroy_skeleton"))(skeleton);
}

int bpf_map__fd(const bpf_map* map)
{
    return registry().fds.at(map);
}

int bpf_program__fd(const bpf_program* program)
{
    return registry().fds.at(program);
}

int bpf_map_update_elem(int fd, const void* key, const void* value, __u64 flags)
{
    return registry().loaded.at(fd).map->update(key, value, flags);
}

int bpf_map_delete_elem(int fd, const void* key)
{
    return registry().loaded.at(fd).map->erase(key);
}

int bpf_map_lookup_elem(int fd, const void* key, void* value)
{
    featherlb::packet::host::Map& map = *registry().loaded.at(fd).map;
    const void* found = map.find(key);
    if (!found)
        return -ENOENT;
    if (map.definition().type == BPF_MAP_TYPE_PERCPU_ARRAY) // the other processors have counted nothing
        std::memset(value, 0, std::size_t{map.definition().value_size} * libbpf_num_possible_cpus());
    std::memcpy(value, found, map.definition().value_size);
    return 0;
}

int bpf_prog_test_run_opts(int fd, bpf_test_run_opts* options)
{
    __sk_buff skb{};
    featherlb::packet::Outcome outcome;
    try {
        outcome = featherlb::packet::host::run(registry().loaded.at(fd), *options, skb);
    } catch (const std::system_error& error) {
        errno = error.code().value();
        return -errno;
    }
    options->retval = static_cast<std::uint32_t>(outcome.code);
    if (options->data_out) {
        std::memcpy(options->data_out, outcome.bytes.data(), outcome.bytes.size());
        options->data_size_out = static_cast<std::uint32_t>(outcome.bytes.size());
    }
    if (options->ctx_out && !registry().loaded.at(fd).is_xdp)
        std::memcpy(options->ctx_out, &skb, sizeof(skb));
    return 0;
}

} // extern "C"
