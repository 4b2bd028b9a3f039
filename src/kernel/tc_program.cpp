// SPDX-License-Identifier: Apache-2.0
#include "kernel/tc_program.h"

#include <cstdlib>
#include <utility>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fmt/format.h>
#include <net/if.h>

#include "kernel/dataplane_hooks.h"
#include "kernel/map.h"

namespace featherlb {

namespace {

// Linux 6.6; the headers that this is built with are older.
constexpr auto bpf_tcx_ingress = static_cast<bpf_attach_type>(46);
constexpr auto bpf_tcx_egress = static_cast<bpf_attach_type>(47);

bool tcx_is_usable(std::uint32_t ifindex)
{
    const char* forbidden = std::getenv("FEATHERLB_NO_TCX");
    return (!forbidden || std::string_view(forbidden) != "1") && hooks::has_tcx(ifindex);
}

std::string_view to_string(TcSide side)
{
    return side == TcSide::ingress ? "ingress" : "egress";
}

bpf_tc_hook hook_of(const TcPlace& place)
{
    bpf_tc_hook hook{};
    hook.sz = sizeof(hook);
    hook.ifindex = static_cast<int>(place.ifindex);
    hook.attach_point = place.side == TcSide::ingress ? BPF_TC_INGRESS : BPF_TC_EGRESS;
    return hook;
}

bpf_tc_opts filter_of(const TcPlace& place)
{
    bpf_tc_opts options{};
    options.sz = sizeof(options);
    options.handle = place.handle;
    options.priority = place.priority;
    return options;
}

} // namespace

struct TcProgram::State {
    TcPlace place;
    Fd link; // TCX; else a filter
    bool made_qdisc = false;
};

TcProgram::TcProgram(std::unique_ptr<State> state) : state_(std::move(state))
{
}
TcProgram::TcProgram(TcProgram&&) noexcept = default;
TcProgram& TcProgram::operator=(TcProgram&& other) noexcept
{
    std::swap(state_, other.state_);
    return *this;
}

TcProgram::~TcProgram()
{
    if (!state_)
        return;
    if (state_->link.valid()) {
        (void)hooks::detach_link(state_->link); // at once: the kernel drops a closed link only some time later
        return;
    }
    const auto hook = hook_of(state_->place);
    const auto filter = filter_of(state_->place);
    bpf_tc_detach(&hook, &filter);
    if (state_->made_qdisc)
        (void)hooks::remove_idle_clsact(state_->place.ifindex);
}

Hook TcProgram::hook() const
{
    return state_->link.valid() ? Hook::tcx : Hook::clsact;
}

Result<TcProgram> TcProgram::attach(const TcPlace& place, int program)
{
    auto state = std::make_unique<State>();
    state->place = place;
    const std::string doing = fmt::format("attaching to the {} of {}", to_string(place.side), place.interface);
    if (tcx_is_usable(place.ifindex)) {
        LIBBPF_OPTS(bpf_link_create_opts, options);
        const int fd = bpf_link_create(program, static_cast<int>(place.ifindex),
            place.side == TcSide::ingress ? bpf_tcx_ingress : bpf_tcx_egress, &options);
        if (fd < 0)
            return fail(bpf_error(doing, -fd));
        state->link = Fd(fd);
        return TcProgram(std::move(state));
    }
    bool made = false;
    if (const int error = hooks::make_clsact(place.ifindex, made))
        return fail(bpf_error("adding the clsact qdisc to " + place.interface, error));
    const auto hook = hook_of(place);
    auto filter = filter_of(place);
    filter.prog_fd = program;
    filter.flags = BPF_TC_F_REPLACE;
    if (const int error = bpf_tc_attach(&hook, &filter)) {
        if (made)
            (void)hooks::remove_idle_clsact(place.ifindex);
        return fail(bpf_error(doing, -error));
    }
    state->made_qdisc = made;
    return TcProgram(std::move(state));
}

Result<Hook> TcPrograms::attach(const TcPlace& place, int program)
{
    auto attached = TcProgram::attach(place, program);
    if (!attached)
        return fail(attached.error());
    programs_.push_back(std::move(*attached));
    return programs_.back().hook();
}

void remove_left_filters(const TcPlace& place, std::string_view name)
{
    struct if_nameindex* interfaces = ::if_nameindex();
    for (const auto* entry = interfaces; entry != nullptr && entry->if_index != 0; entry++) {
        TcPlace here = place;
        here.ifindex = entry->if_index;
        for (const TcSide side : {TcSide::ingress, TcSide::egress}) {
            here.side = side;
            const bool ours =
                hooks::filter_named(here.ifindex, side == TcSide::egress, place.handle, place.priority, name);
            if (!ours || !hooks::claim_filter(here.ifindex).valid())
                continue;
            const auto hook = hook_of(here);
            const auto filter = filter_of(here);
            bpf_tc_detach(&hook, &filter);
        }
    }
    if (interfaces != nullptr)
        ::if_freenameindex(interfaces);
}

} // namespace featherlb
