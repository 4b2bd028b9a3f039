// SPDX-License-Identifier: Apache-2.0
#include "kernel/dataplane_programs.h"

#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <mutex>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "kernel/dataplane.h"
#include "kernel/dataplane_choice.h"
#include "kernel/load_skeleton.h"
#include "tc.skel.h"
#include "xdp.skel.h"

namespace featherlb {

namespace {

// libbpf's printer has no user pointer, so what it said last is kept here. Loads are rare and one at a time.
constexpr std::size_t remembered_bytes = 4096;
std::mutex remembered_lock;
std::string remembered;

int print_libbpf(libbpf_print_level, const char* format, va_list arguments)
{
    va_list again;
    va_copy(again, arguments);
    const int length = std::vsnprintf(nullptr, 0, format, again);
    va_end(again);
    if (length <= 0)
        return 0;
    std::string text(static_cast<std::size_t>(length) + 1, '\0');
    std::vsnprintf(text.data(), text.size(), format, arguments);
    text.pop_back();
    {
        const std::lock_guard guard(remembered_lock);
        remembered += text;
        if (remembered.size() > remembered_bytes)
            remembered.erase(0, remembered.size() - remembered_bytes);
    }
    while (!text.empty() && text.back() == '\n')
        text.pop_back();
    spdlog::debug("{}", text);
    return 0;
}

// The last lines, of which the verifier's complaint is one of the last.
std::string last_messages(int lines)
{
    const std::lock_guard guard(remembered_lock);
    std::string text = remembered;
    while (!text.empty() && text.back() == '\n')
        text.pop_back();
    std::size_t position = text.size();
    for (int i = 0; i < lines && position != std::string::npos && position > 0; i++)
        position = text.rfind('\n', position - 1);
    return position == std::string::npos ? text : text.substr(position == 0 ? 0 : position + 1);
}

} // namespace

namespace load_skeleton_detail {

void forget_messages()
{
    const std::lock_guard guard(remembered_lock);
    remembered.clear();
}

std::string shared_name(const bpf_map* map)
{
    const std::string name = bpf_map__name(map);
    if (name.starts_with(FLB_DIRECT_SECTION))
        return name.substr(std::strlen(FLB_DIRECT_SECTION));
    return bpf_map__is_internal(map) ? "" : name;
}

Result<void> reuse_maps(bpf_object* object, const std::function<int(const std::string&)>& fd_of)
{
    bpf_map* map = nullptr;
    bpf_object__for_each_map(map, object)
    {
        const std::string name = shared_name(map);
        if (name.empty())
            continue;
        // A map declared for pinning by name would leave a stray pin, also when it is reused.
        bpf_map__set_pin_path(map, nullptr);
        if (const int error = bpf_map__reuse_fd(map, fd_of(name)); error < 0)
            return fail(bpf_error("giving the map " + name + " to the programs", -error));
    }
    return {};
}

Error load_error(const std::string& program, int error)
{
    Error result = bpf_error("loading the program " + program, error);
    const std::string said = last_messages(12);
    if (!said.empty())
        result.message += "; the kernel's last words:\n" + said;
    if (error == EINVAL || error == EACCES)
        result.remedy = "featherlb needs Linux 6.1 or newer; if it is, please report this with the text above";
    return result;
}

} // namespace load_skeleton_detail

struct Programs::State {
    std::map<std::string, int> maps;
    flb_load constants{};
    OwnedSkeleton<xdp_bpf> xdp = {};
    OwnedSkeleton<tc_bpf> tc = {};

    Result<int> load_xdp()
    {
        return load(xdp, "flb_xdp", [](const xdp_bpf& loaded) { return loaded.progs.flb_xdp; });
    }
    Result<int> load_tc()
    {
        return load(tc, "flb_tc", [](const tc_bpf& loaded) { return loaded.progs.flb_tc; });
    }

private:
    template <typename Skeleton, typename Program>
    Result<int> load(OwnedSkeleton<Skeleton>& slot, const std::string& name, const Program& program)
    {
        if (!slot) {
            const auto fd_of = [this](const std::string& map) {
                const auto found = maps.find(map);
                return found == maps.end() ? -1 : found->second;
            };
            auto loaded = load_skeleton<Skeleton>(name, fd_of, constants);
            if (!loaded)
                return fail(loaded.error());
            slot = std::move(*loaded);
        }
        return bpf_program__fd(program(*slot));
    }
};

Programs::Programs(std::unique_ptr<State> state) : state_(std::move(state))
{
}
Programs::~Programs() = default;
Programs::Programs(Programs&&) noexcept = default;
Programs& Programs::operator=(Programs&&) noexcept = default;

Result<std::vector<MapShape>> Programs::declared_maps()
{
    const OwnedSkeleton<xdp_bpf> xdp(xdp_bpf::open());
    if (!xdp)
        return fail(bpf_error("reading the packet programs", errno));
    std::vector<MapShape> result;
    const bpf_map* map = nullptr;
    while ((map = bpf_object__next_map(xdp->obj, map)) != nullptr) {
        if (bpf_map__is_internal(map))
            continue;
        result.push_back({.name = bpf_map__name(map),
            .type = bpf_map__type(map),
            .key_size = bpf_map__key_size(map),
            .value_size = bpf_map__value_size(map),
            .max_entries = bpf_map__max_entries(map),
            .flags = bpf_map__map_flags(map)});
    }
    return result;
}

namespace {

ProgramInfo info_of(int fd)
{
    ProgramInfo result;
    bpf_prog_info info{};
    std::uint32_t length = sizeof(info);
    if (bpf_obj_get_info_by_fd(fd, &info, &length) < 0)
        return result;
    result.name = info.name;
    result.id = info.id;
    for (const unsigned char byte : info.tag)
        result.tag += fmt::format("{:02x}", byte);
    result.instructions = info.verified_insns;
    return result;
}

} // namespace

Result<Programs> Programs::load(std::map<std::string, int> maps, const flb_load& constants, const ProgramChoice& now)
{
    Programs programs(std::make_unique<State>(State{.maps = std::move(maps), .constants = constants}));
    if (now.xdp)
        if (auto loaded = programs.xdp(); !loaded)
            return fail(loaded.error());
    if (now.tc)
        if (auto loaded = programs.tc(); !loaded)
            return fail(loaded.error());
    return programs;
}

Result<int> Programs::xdp() const
{
    return state_->load_xdp();
}

Result<int> Programs::tc() const
{
    return state_->load_tc();
}

ProgramOf Programs::by_hook() const
{
    return [state = state_.get()](Hook hook) { return is_xdp(hook) ? state->load_xdp() : state->load_tc(); };
}

std::vector<ProgramInfo> Programs::info() const
{
    std::vector<ProgramInfo> result;
    if (state_->xdp)
        result.push_back(info_of(bpf_program__fd(state_->xdp->progs.flb_xdp)));
    if (state_->tc)
        result.push_back(info_of(bpf_program__fd(state_->tc->progs.flb_tc)));
    return result;
}

void route_libbpf_messages()
{
    libbpf_set_print(print_libbpf);
}

} // namespace featherlb
