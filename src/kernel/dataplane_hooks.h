// SPDX-License-Identifier: Apache-2.0
// The single steps of attaching, one kernel call each: links for XDP and TCX, filters for clsact, and questions
// about who is there. Policy (which hook, what to replace, what to pin) is attach.cpp's. Errors are plain errno
// numbers, since the caller decides which of them are expected.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "kernel/attach.h"

namespace featherlb::hooks {

// 0 for success, else a positive errno.
using Errno = int;

struct LinkInfo {
    std::uint32_t type = 0;    // BPF_LINK_TYPE_*
    std::uint32_t ifindex = 0; // 0: the interface is gone
    std::uint32_t program_id = 0;
};
[[nodiscard]] Errno create_link(Hook hook, std::uint32_t ifindex, int program, Fd& link);
[[nodiscard]] Errno update_link(const Fd& link, int program);
[[nodiscard]] Errno detach_link(const Fd& link);
[[nodiscard]] std::optional<LinkInfo> link_info(const Fd& link);
[[nodiscard]] Fd open_pinned_link(const std::string& path);
[[nodiscard]] Errno pin_link(const Fd& link, const std::string& path);
// Is it a link of this hook, on an interface that is still there?
[[nodiscard]] bool link_is(const Fd& link, Hook hook, std::uint32_t ifindex);

// Our place among the clsact filters of an interface's ingress.
inline constexpr std::uint32_t filter_handle = 0xf1b;
inline constexpr std::uint32_t filter_priority = 10;

[[nodiscard]] Errno make_clsact(std::uint32_t ifindex, bool& made); // made: it was not there before
[[nodiscard]] Errno put_filter(std::uint32_t ifindex, int program); // replaces without a gap what is at our place
[[nodiscard]] Errno remove_filter(std::uint32_t ifindex);
// The program at our place, 0 where there is none.
[[nodiscard]] std::uint32_t filter_program(std::uint32_t ifindex);
// Whether featherlb put it there. Unlike program_name, this needs no more than CAP_NET_ADMIN.
[[nodiscard]] bool filter_is_ours(std::uint32_t ifindex);
// A filter at any place of either side, whose program's name begins with `name`.
[[nodiscard]] bool filter_named(
    std::uint32_t ifindex, bool egress, std::uint32_t handle, std::uint32_t priority, std::string_view name);
// Removes the clsact qdisc, unless somebody has a filter on it.
[[nodiscard]] bool remove_idle_clsact(std::uint32_t ifindex);

[[nodiscard]] std::vector<std::uint32_t> xdp_programs(std::uint32_t ifindex);
// Whether this kernel knows TCX at all.
[[nodiscard]] bool has_tcx(std::uint32_t ifindex);
[[nodiscard]] std::vector<std::uint32_t> tcx_programs(std::uint32_t ifindex);
// "flb_tc"; empty where there is no such program, or no right to ask (the kernel wants CAP_SYS_ADMIN).
[[nodiscard]] std::string program_name(std::uint32_t id);

// Says to other processes in this network namespace that a clsact filter on the interface belongs to a living
// process; invalid where another one says so already. Filters, unlike links, do not go with their process.
[[nodiscard]] Fd claim_filter(std::uint32_t ifindex);

} // namespace featherlb::hooks
