// SPDX-License-Identifier: Apache-2.0
#include "instructions/counted.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>
#include <vector>

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <fmt/format.h>

#include "base/fd.h"
#include "kernel/load_skeleton.h"
#include "xdp.skel.h"

namespace featherlb::bench {

namespace {

// What the compiler noted of each line goes to the kernel together with the instructions and cannot be asked for later.
// The handler stays: libbpf 1.1 frees its list of handlers and goes on using it when the last one is taken away.
class LinesOfALoad {
public:
    LinesOfALoad()
    {
        static const int handler = take_part();
        (void)handler; // negative: no line is known
        listening = this;
    }
    ~LinesOfALoad() { listening = nullptr; }
    LinesOfALoad(const LinesOfALoad&) = delete;
    LinesOfALoad& operator=(const LinesOfALoad&) = delete;

    [[nodiscard]] std::vector<std::string> places(const bpf_object* object, std::size_t instructions) const
    {
        std::vector<std::string> result(instructions, "?");
        for (std::size_t i = 0; i < lines_.size(); i++) {
            const char* name = btf__name_by_offset(bpf_object__btf(object), lines_[i].file_name_off);
            const std::string_view path = name ? name : "?";
            const std::size_t end = i + 1 < lines_.size() ? lines_[i + 1].insn_off : instructions;
            for (std::size_t at = lines_[i].insn_off; at < std::min(end, instructions); at++)
                result[at] =
                    fmt::format("{}:{}", path.substr(path.rfind('/') + 1), BPF_LINE_INFO_LINE_NUM(lines_[i].line_col));
        }
        return result;
    }

private:
    static int take_part()
    {
        libbpf_prog_handler_opts options{};
        options.sz = sizeof(options);
        options.prog_prepare_load_fn = [](bpf_program*, bpf_prog_load_opts* load, long) {
            if (!listening || !load->line_info)
                return 0;
            const auto* all = static_cast<const char*>(load->line_info);
            for (std::size_t i = 0; i < load->line_info_cnt; i++)
                std::memcpy(
                    &listening->lines_.emplace_back(), all + i * load->line_info_rec_size, sizeof(bpf_line_info));
            return 0;
        };
        return libbpf_register_prog_handler("xdp", BPF_PROG_TYPE_XDP, BPF_XDP, &options);
    }

    static inline LinesOfALoad* listening = nullptr;
    std::vector<bpf_line_info> lines_;
};

} // namespace

struct CountedProgram::State {
    OwnedSkeleton<xdp_bpf> skeleton;
    std::vector<std::string> places;
};

CountedProgram::CountedProgram(std::unique_ptr<State> state) : state_(std::move(state))
{
}
CountedProgram::~CountedProgram() = default;
CountedProgram::CountedProgram(CountedProgram&&) noexcept = default;
CountedProgram& CountedProgram::operator=(CountedProgram&&) noexcept = default;

Result<flb_load> constants_of(int fd)
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
    return constants;
}

Result<CountedProgram> CountedProgram::copy(int fd, const std::function<int(const std::string&)>& fd_of)
{
    const auto constants = constants_of(fd);
    if (!constants)
        return fail(constants.error());
    const LinesOfALoad lines;
    auto skeleton = load_skeleton<xdp_bpf>("flb_xdp", fd_of, *constants);
    if (!skeleton)
        return fail(skeleton.error());
    auto state = std::make_unique<State>();
    state->skeleton = std::move(*skeleton);
    state->places = lines.places(state->skeleton->obj, bpf_program__insn_cnt(state->skeleton->progs.flb_xdp));
    return CountedProgram(std::move(state));
}

std::span<const bpf_insn> CountedProgram::instructions() const
{
    const bpf_program* program = state_->skeleton->progs.flb_xdp;
    return {bpf_program__insns(program), bpf_program__insn_cnt(program)};
}

std::span<const std::string> CountedProgram::places() const
{
    return state_->places;
}

} // namespace featherlb::bench
