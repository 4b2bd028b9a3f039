// SPDX-License-Identifier: Apache-2.0
// Loads a skeleton whose maps exist already and whose constants are an flb_load.
#pragma once

#include <cerrno>
#include <cstring>
#include <functional>
#include <memory>
#include <string>

#include <bpf/libbpf.h>

#include "base/result.h"
#include "featherlb/abi.h"
#include "kernel/map.h"

namespace featherlb {

template <typename Skeleton>
struct DestroySkeleton {
    void operator()(Skeleton* skeleton) const { Skeleton::destroy(skeleton); }
};
template <typename Skeleton>
using OwnedSkeleton = std::unique_ptr<Skeleton, DestroySkeleton<Skeleton>>;

namespace load_skeleton_detail {

// The name of the map that belongs in the place of this one; empty for constants.
[[nodiscard]] std::string shared_name(const bpf_map* map);
[[nodiscard]] Result<void> reuse_maps(bpf_object* object, const std::function<int(const std::string&)>& fd_of);
void forget_messages();
[[nodiscard]] Error load_error(const std::string& program, int error);

} // namespace load_skeleton_detail

// `fd_of` gives the descriptor of the map with a name, -1 where it is missing. What the verifier said last is in the
// error.
template <typename Skeleton>
Result<OwnedSkeleton<Skeleton>> load_skeleton(
    const std::string& name, const std::function<int(const std::string&)>& fd_of, const flb_load& constants)
{
    OwnedSkeleton<Skeleton> skeleton(Skeleton::open());
    if (!skeleton)
        return fail(bpf_error("reading the program " + name, errno));
    if (auto reused = load_skeleton_detail::reuse_maps(skeleton->obj, fd_of); !reused)
        return fail(reused.error());
    // The skeleton's own type of flb_load is generated from the same header.
    static_assert(sizeof(skeleton->rodata->flb_load) == sizeof(flb_load));
    std::memcpy(const_cast<void*>(static_cast<const volatile void*>(&skeleton->rodata->flb_load)), &constants,
        sizeof(constants));
    load_skeleton_detail::forget_messages();
    if (const int error = Skeleton::load(skeleton.get()); error < 0)
        return fail(load_skeleton_detail::load_error(name, -error));
    return skeleton;
}

} // namespace featherlb
