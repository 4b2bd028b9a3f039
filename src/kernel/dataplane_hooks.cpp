// SPDX-License-Identifier: Apache-2.0
#include "kernel/dataplane_hooks.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <memory>
#include <utility>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <libmnl/libmnl.h>
#include <linux/if_link.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>
#include <sys/un.h>

namespace featherlb::hooks {

namespace {

// Linux 6.6; the headers that this is built with are older.
constexpr auto bpf_tcx_ingress = static_cast<bpf_attach_type>(46);
constexpr std::uint32_t bpf_link_type_tcx = 11;

bpf_tc_hook ingress_of(std::uint32_t ifindex, bpf_tc_attach_point point = BPF_TC_INGRESS)
{
    bpf_tc_hook hook{};
    hook.sz = sizeof(hook);
    hook.ifindex = static_cast<int>(ifindex);
    hook.attach_point = point;
    return hook;
}

bpf_tc_opts our_filter()
{
    bpf_tc_opts options{};
    options.sz = sizeof(options);
    options.handle = filter_handle;
    options.priority = filter_priority;
    return options;
}

} // namespace

Errno create_link(Hook hook, std::uint32_t ifindex, int program, Fd& link)
{
    LIBBPF_OPTS(bpf_link_create_opts, options);
    if (hook == Hook::xdp)
        options.flags = XDP_FLAGS_DRV_MODE;
    else if (hook == Hook::xdp_generic)
        options.flags = XDP_FLAGS_SKB_MODE;
    const auto type = hook == Hook::tcx ? bpf_tcx_ingress : BPF_XDP;
    const int fd = bpf_link_create(program, static_cast<int>(ifindex), type, &options);
    if (fd < 0)
        return -fd;
    link = Fd(fd);
    return 0;
}

Errno update_link(const Fd& link, int program)
{
    return -bpf_link_update(link.get(), program, nullptr);
}

Errno detach_link(const Fd& link)
{
    return -bpf_link_detach(link.get());
}

std::optional<LinkInfo> link_info(const Fd& link)
{
    bpf_link_info info{};
    std::uint32_t length = sizeof(info);
    if (bpf_obj_get_info_by_fd(link.get(), &info, &length) < 0)
        return std::nullopt;
    // TCX links tell their interface in the same place as XDP links.
    return LinkInfo{.type = info.type, .ifindex = info.xdp.ifindex, .program_id = info.prog_id};
}

Fd open_pinned_link(const std::string& path)
{
    return Fd(bpf_obj_get(path.c_str()));
}

Errno pin_link(const Fd& link, const std::string& path)
{
    return -bpf_obj_pin(link.get(), path.c_str());
}

bool link_is(const Fd& link, Hook hook, std::uint32_t ifindex)
{
    if (!link.valid())
        return false;
    const auto info = link_info(link);
    const std::uint32_t type = hook == Hook::tcx ? bpf_link_type_tcx : static_cast<std::uint32_t>(BPF_LINK_TYPE_XDP);
    return info && info->type == type && info->ifindex == ifindex;
}

Errno make_clsact(std::uint32_t ifindex, bool& made)
{
    auto hook = ingress_of(ifindex);
    const int error = bpf_tc_hook_create(&hook);
    made = error == 0;
    return error == -EEXIST ? 0 : -error;
}

Errno put_filter(std::uint32_t ifindex, int program)
{
    const auto hook = ingress_of(ifindex);
    auto options = our_filter();
    options.prog_fd = program;
    options.flags = BPF_TC_F_REPLACE;
    return -bpf_tc_attach(&hook, &options);
}

Errno remove_filter(std::uint32_t ifindex)
{
    const auto hook = ingress_of(ifindex);
    const auto options = our_filter();
    return -bpf_tc_detach(&hook, &options);
}

std::uint32_t filter_program(std::uint32_t ifindex)
{
    const auto hook = ingress_of(ifindex);
    auto options = our_filter();
    return bpf_tc_query(&hook, &options) == 0 ? options.prog_id : 0;
}

namespace {

struct CloseSocket {
    void operator()(mnl_socket* socket) const { mnl_socket_close(socket); }
};
using Filters = std::vector<std::pair<tcmsg, std::string>>; // the string: what a BPF filter calls itself

std::string name_of(const nlmsghdr* message)
{
    const auto find_name = [](const nlattr* option, void* name) {
        if (mnl_attr_get_type(option) == TCA_BPF_NAME)
            *static_cast<std::string*>(name) = mnl_attr_get_str(option);
        return MNL_CB_OK;
    };
    const auto find_options = [](const nlattr* attribute, void* options) {
        if (mnl_attr_get_type(attribute) == TCA_OPTIONS)
            *static_cast<const nlattr**>(options) = attribute;
        return MNL_CB_OK;
    };
    const nlattr* options = nullptr;
    std::string name;
    mnl_attr_parse(message, sizeof(tcmsg), find_options, &options);
    if (options)
        mnl_attr_parse_nested(options, find_name, &name);
    return name;
}

// Filters on one side of the clsact qdisc; nothing where the kernel did not answer. A classifier without filters is
// listed too, and counts as somebody's.
std::optional<Filters> list_filters(std::uint32_t ifindex, std::uint32_t side)
{
    const std::unique_ptr<mnl_socket, CloseSocket> socket(mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC));
    if (!socket || mnl_socket_bind(socket.get(), 0, MNL_SOCKET_AUTOPID) < 0)
        return std::nullopt;
    alignas(nlmsghdr) std::array<char, 32768> buffer{};
    nlmsghdr* header = mnl_nlmsg_put_header(buffer.data());
    header->nlmsg_type = RTM_GETTFILTER;
    header->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
    header->nlmsg_seq = 1;
    auto* request = static_cast<tcmsg*>(mnl_nlmsg_put_extra_header(header, sizeof(tcmsg)));
    request->tcm_family = AF_UNSPEC;
    request->tcm_ifindex = static_cast<int>(ifindex);
    request->tcm_parent = TC_H_MAKE(TC_H_CLSACT, side);
    if (mnl_socket_sendto(socket.get(), header, header->nlmsg_len) < 0)
        return std::nullopt;
    Filters filters;
    const auto collect = [](const nlmsghdr* message, void* data) {
        const auto* filter = static_cast<const tcmsg*>(mnl_nlmsg_get_payload(message));
        static_cast<Filters*>(data)->emplace_back(*filter, name_of(message));
        return MNL_CB_OK;
    };
    for (int status = MNL_CB_OK; status > MNL_CB_STOP;) {
        const auto length = mnl_socket_recvfrom(socket.get(), buffer.data(), buffer.size());
        if (length <= 0)
            return std::nullopt;
        status = mnl_cb_run(
            buffer.data(), static_cast<std::size_t>(length), 1, mnl_socket_get_portid(socket.get()), collect, &filters);
        if (status < 0)
            return std::nullopt;
    }
    return filters;
}

} // namespace

bool filter_named(
    std::uint32_t ifindex, bool egress, std::uint32_t handle, std::uint32_t priority, std::string_view name)
{
    const auto filters = list_filters(ifindex, egress ? TC_H_MIN_EGRESS : TC_H_MIN_INGRESS);
    return filters && std::ranges::any_of(*filters, [=](const auto& filter) {
        return filter.first.tcm_handle == handle && filter.first.tcm_info >> 16 == priority &&
               filter.second.starts_with(name);
    });
}

bool filter_is_ours(std::uint32_t ifindex)
{
    // libbpf names a filter after its program: "flb_tc:[12]".
    return filter_named(ifindex, false, filter_handle, filter_priority, "flb_tc:");
}

bool remove_idle_clsact(std::uint32_t ifindex)
{
    for (const std::uint32_t side : {TC_H_MIN_INGRESS, TC_H_MIN_EGRESS}) {
        const auto filters = list_filters(ifindex, side);
        if (!filters || !filters->empty())
            return false;
    }
    auto hook = ingress_of(ifindex, static_cast<bpf_tc_attach_point>(BPF_TC_INGRESS | BPF_TC_EGRESS));
    return bpf_tc_hook_destroy(&hook) == 0;
}

std::vector<std::uint32_t> xdp_programs(std::uint32_t ifindex)
{
    bpf_xdp_query_opts options{};
    options.sz = sizeof(options);
    if (bpf_xdp_query(static_cast<int>(ifindex), 0, &options) < 0)
        return {};
    std::vector<std::uint32_t> result;
    for (const std::uint32_t id : {options.prog_id, options.drv_prog_id, options.hw_prog_id, options.skb_prog_id})
        if (id != 0 && std::ranges::find(result, id) == result.end())
            result.push_back(id);
    return result;
}

bool has_tcx(std::uint32_t ifindex)
{
    // An unknown attach type is EINVAL; a known one without programs is success or ENOENT.
    LIBBPF_OPTS(bpf_prog_query_opts, options);
    return bpf_prog_query_opts(static_cast<int>(ifindex), bpf_tcx_ingress, &options) != -EINVAL;
}

std::vector<std::uint32_t> tcx_programs(std::uint32_t ifindex)
{
    std::array<std::uint32_t, 64> ids{};
    LIBBPF_OPTS(bpf_prog_query_opts, options, .prog_ids = ids.data(), .prog_cnt = ids.size());
    if (bpf_prog_query_opts(static_cast<int>(ifindex), bpf_tcx_ingress, &options) < 0)
        return {};
    return {ids.begin(), ids.begin() + std::min<std::size_t>(options.prog_cnt, ids.size())};
}

std::string program_name(std::uint32_t id)
{
    const Fd program(bpf_prog_get_fd_by_id(id));
    bpf_prog_info info{};
    std::uint32_t length = sizeof(info);
    if (!program.valid() || bpf_obj_get_info_by_fd(program.get(), &info, &length) < 0)
        return {};
    return info.name;
}

Fd claim_filter(std::uint32_t ifindex)
{
    Fd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    // A name that begins with a zero byte lives in the network namespace and goes with its process.
    const int length =
        std::snprintf(address.sun_path + 1, sizeof(address.sun_path) - 1, "featherlb-filter-%u", ifindex);
    if (!socket.valid() ||
        ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address),
            static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + static_cast<std::size_t>(length))) != 0)
        return {};
    return socket;
}

} // namespace featherlb::hooks
