// SPDX-License-Identifier: Apache-2.0
#include "instructions/counted.h"

#include <cerrno>
#include <string_view>
#include <utility>
#include <vector>

#include <bpf/bpf.h>

#include "base/fd.h"
#include "kernel/load_skeleton.h"
#include "xdp.skel.h"

namespace featherlb::bench {

struct CountedProgram::State {
    OwnedSkeleton<xdp_bpf> skeleton;
};

CountedProgram::CountedProgram(std::unique_ptr<State> state) : state_(std::move(state))
{
}
CountedProgram::~CountedProgram() = default;
CountedProgram::CountedProgram(CountedProgram&&) noexcept = default;
CountedProgram& CountedProgram::operator=(CountedProgram&&) noexcept = default;

Result<CountedProgram> CountedProgram::copy(int fd, const std::function<int(const std::string&)>& fd_of)
{
    std::vector<__u32> ids(64);
    bpf_prog_info info{};
    info.nr_map_ids = static_cast<__u32>(ids.size());
    info.map_ids = reinterpret_cast<__u64>(ids.data());
    __u32 length = sizeof(info);
    if (bpf_obj_get_info_by_fd(fd, &info, &length))
        return fail(bpf_error("asking about the program", errno));
    ids.resize(std::min<std::size_t>(ids.size(), info.nr_map_ids));
    flb_load constants{};
    for (const __u32 id : ids) {
        const Fd map(bpf_map_get_fd_by_id(id));
        bpf_map_info about{};
        length = sizeof(about);
        if (!map.valid() || bpf_obj_get_info_by_fd(map.get(), &about, &length))
            return fail(bpf_error("asking about a map", errno));
        const __u32 zero = 0;
        if (std::string_view(about.name).ends_with(".rodata") && about.value_size == sizeof(constants) &&
            bpf_map_lookup_elem(map.get(), &zero, &constants))
            return fail(bpf_error("reading the constants", errno));
    }
    auto skeleton = load_skeleton<xdp_bpf>("flb_xdp", fd_of, constants);
    if (!skeleton)
        return fail(skeleton.error());
    auto state = std::make_unique<State>();
    state->skeleton = std::move(*skeleton);
    return CountedProgram(std::move(state));
}

std::span<const bpf_insn> CountedProgram::instructions() const
{
    const bpf_program* program = state_->skeleton->progs.flb_xdp;
    return {bpf_program__insns(program), bpf_program__insn_cnt(program)};
}

} // namespace featherlb::bench
