// SPDX-License-Identifier: Apache-2.0
// CopyProgram, of flow_copy.h.
#include "kernel/flow_copy.h"

#include <algorithm>
#include <cerrno>
#include <cstdint>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "copy.skel.h"
#include "kernel/load_skeleton.h"

namespace featherlb {

struct CopyProgram::Skeleton {
    OwnedSkeleton<copy_bpf> bpf;
};

CopyProgram::CopyProgram(std::unique_ptr<Skeleton> skeleton) : skeleton_(std::move(skeleton))
{
}
CopyProgram::~CopyProgram() = default;
CopyProgram::CopyProgram(CopyProgram&&) noexcept = default;
CopyProgram& CopyProgram::operator=(CopyProgram&&) noexcept = default;

Result<CopyProgram> CopyProgram::load(const std::function<int(const std::string&)>& fd_of, const flb_load& constants)
{
    auto bpf = load_skeleton<copy_bpf>("flb_copy", fd_of, constants);
    if (!bpf)
        return fail(bpf.error());
    return CopyProgram(std::make_unique<Skeleton>(Skeleton{std::move(*bpf)}));
}

Result<void> CopyProgram::put(std::span<flb_copy> copies) const
{
    auto& memory = skeleton_->bpf->bss->flb_copies;
    static_assert(sizeof(memory[0]) == sizeof(flb_copy));
    if (copies.size() > std::size(memory))
        return fail("too many connections to copy at once");
    std::memcpy(memory, copies.data(), copies.size_bytes());
    std::uint64_t count = copies.size();
    LIBBPF_OPTS(bpf_test_run_opts, options, .ctx_in = &count, .ctx_size_in = sizeof(count));
    if (const int error = bpf_prog_test_run_opts(bpf_program__fd(skeleton_->bpf->progs.flb_copy), &options); error < 0)
        return fail(bpf_error("copying connections", -error));
    std::memcpy(copies.data(), memory, copies.size_bytes());
    return {};
}

} // namespace featherlb
