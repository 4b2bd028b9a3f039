// SPDX-License-Identifier: Apache-2.0
#include "kernel/map.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <stdexcept>

#include <bpf/bpf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>

namespace featherlb {

namespace {

std::string remedy_for(int error_number)
{
    switch (error_number) {
    case EPERM:
    case EACCES:
        return "run as root, or with the capabilities CAP_NET_ADMIN, CAP_BPF and CAP_PERFMON (below Docker 20.10.8: "
               "CAP_NET_ADMIN and CAP_SYS_ADMIN)";
    case ENOMEM:
        return "lower flows.max, or give the machine or the control group more memory";
    case E2BIG:
        return "lower flows.max";
    case ENOSPC:
        return "remove what is not needed, or `featherlb detach` and start again with larger sizes";
    case ENOSYS:
        return "featherlb needs Linux 6.1 or newer with CONFIG_BPF_SYSCALL";
    default:
        return {};
    }
}

std::size_t mapped_bytes(const MapShape& shape)
{
    const std::size_t value = (std::size_t{shape.value_size} + 7) / 8 * 8;
    return value * shape.max_entries;
}

} // namespace

Error bpf_error(const std::string& doing, int error_number)
{
    return {fmt::format("{}: {}", doing, std::strerror(error_number)), remedy_for(error_number)};
}

Mapping::~Mapping()
{
    if (memory_)
        ::munmap(memory_, bytes_);
}

Result<Map> Map::create(const MapShape& shape)
{
    Map map;
    map.shape_ = shape;
    LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = shape.flags);
    const int fd = bpf_map_create(static_cast<bpf_map_type>(shape.type), shape.name.substr(0, 15).c_str(),
        shape.key_size, shape.value_size, shape.max_entries, &options);
    if (fd < 0)
        return fail(bpf_error(
            fmt::format("making the map {} ({} entries of {} bytes)", shape.name, shape.max_entries, shape.value_size),
            -fd));
    map.fd_ = Fd(fd);
    if (auto mapped = map.map_memory(); !mapped)
        return fail(mapped.error());
    return map;
}

Result<Map> Map::open_pinned(const std::string& path)
{
    Map map;
    const int fd = bpf_obj_get(path.c_str());
    if (fd < 0)
        return fail(bpf_error("opening " + path, -fd));
    map.fd_ = Fd(fd);
    bpf_map_info info{};
    std::uint32_t length = sizeof(info);
    if (const int error = bpf_obj_get_info_by_fd(fd, &info, &length); error < 0)
        return fail(bpf_error("asking what is pinned at " + path, -error));
    map.shape_ = {.name = path.substr(path.rfind('/') + 1),
        .type = info.type,
        .key_size = info.key_size,
        .value_size = info.value_size,
        .max_entries = info.max_entries,
        .flags = info.map_flags};
    if (auto mapped = map.map_memory(); !mapped)
        return fail(mapped.error());
    return map;
}

Result<void> Map::map_memory()
{
    if (!(shape_.flags & BPF_F_MMAPABLE))
        return {};
    const std::size_t bytes = mapped_bytes(shape_);
    void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd_.get(), 0);
    if (memory == MAP_FAILED)
        return fail(bpf_error("mapping " + shape_.name, errno));
    mapping_ = Mapping(memory, bytes);
    return {};
}

Result<Map> Map::share() const
{
    Map map;
    map.fd_ = Fd(::fcntl(fd_.get(), F_DUPFD_CLOEXEC, 0));
    if (!map.fd_.valid())
        return fail(bpf_error("sharing the map " + shape_.name, errno));
    map.shape_ = shape_;
    if (auto mapped = map.map_memory(); !mapped)
        return fail(mapped.error());
    return map;
}

bool Map::same_map(const Map& other) const
{
    bpf_map_info mine{}, its{};
    std::uint32_t length = sizeof(mine);
    if (bpf_obj_get_info_by_fd(fd_.get(), &mine, &length) < 0)
        return false;
    length = sizeof(its);
    return bpf_obj_get_info_by_fd(other.fd_.get(), &its, &length) == 0 && mine.id == its.id;
}

std::span<std::byte> Map::value(std::uint32_t index) const
{
    const std::size_t stride = (std::size_t{shape_.value_size} + 7) / 8 * 8;
    return {static_cast<std::byte*>(mapping_.memory()) + index * stride, shape_.value_size};
}

std::span<std::byte> Map::bytes() const
{
    const std::size_t stride = (std::size_t{shape_.value_size} + 7) / 8 * 8;
    return {static_cast<std::byte*>(mapping_.memory()), stride * shape_.max_entries};
}

Result<void> Map::pin(const std::string& path) const
{
    if (const int error = bpf_obj_pin(fd_.get(), path.c_str()); error < 0)
        return fail(bpf_error("pinning " + path, -error));
    return {};
}

void Map::check_size(std::size_t value_size) const
{
    if (value_size != shape_.value_size)
        throw std::logic_error(
            fmt::format("map {} has values of {} bytes, not {}", shape_.name, shape_.value_size, value_size));
}

Result<void> Map::put(const void* key, const void* value) const
{
    if (const int error = bpf_map_update_elem(fd_.get(), key, value, BPF_ANY); error < 0)
        return fail(bpf_error("writing to the map " + shape_.name, -error));
    return {};
}

bool Map::get(const void* key, void* value) const
{
    return bpf_map_lookup_elem(fd_.get(), key, value) == 0;
}

Result<void> Map::remove(const void* key) const
{
    const int error = bpf_map_delete_elem(fd_.get(), key);
    if (error < 0 && error != -ENOENT)
        return fail(bpf_error("removing from the map " + shape_.name, -error));
    return {};
}

Result<bool> Map::read_batch(
    Walk& walk, std::vector<std::byte>& keys, std::vector<std::byte>& values, std::size_t& count) const
{
    const bool first = walk.cursor.empty();
    // A hash map's is the number of a bucket, a trie's the key that was read last.
    walk.cursor.resize(std::max<std::size_t>(shape_.key_size, sizeof(std::uint32_t)));
    for (;; walk.batch *= 2) {
        keys.resize((count + walk.batch) * shape_.key_size);
        values.resize((count + walk.batch) * shape_.value_size);
        std::uint32_t got = walk.batch;
        const int error = bpf_map_lookup_batch(fd_.get(), first ? nullptr : walk.cursor.data(), walk.cursor.data(),
            keys.data() + count * shape_.key_size, values.data() + count * shape_.value_size, &got, nullptr);
        if (error == -ENOSPC && walk.batch <= shape_.max_entries)
            continue; // a batch must have room for the fullest bucket
        if (error < 0 && error != -ENOENT)
            return fail(bpf_error("reading the map " + shape_.name, -error));
        count += got;
        if (error == -ENOENT) // the end; `got` still counts
            walk.cursor.clear();
        return error == -ENOENT;
    }
}

Result<void> Map::read_all(std::vector<std::byte>& keys, std::vector<std::byte>& values, std::size_t& count) const
{
    Walk walk;
    for (;;) {
        const auto end = read_batch(walk, keys, values, count);
        if (!end)
            return fail(end.error());
        if (*end)
            return {};
    }
}

} // namespace featherlb
