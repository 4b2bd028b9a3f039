// SPDX-License-Identifier: Apache-2.0
#include "kernel/netlink_socket.h"

#include <cerrno>
#include <cstring>
#include <utility>

#include <fcntl.h>
#include <linux/netlink.h>
#include <sys/socket.h>
#include <sys/time.h>

namespace featherlb {

namespace {

// The kernel fills dumps in pieces of at most 32 KiB.
constexpr std::size_t buffer_size = 65536;
constexpr timeval answer_timeout{.tv_sec = 1, .tv_usec = 0};
// Room for a burst of events, e.g. all neighbours of a large segment at once, until the loop comes round.
constexpr int event_buffer_size = 4 * 1024 * 1024;
constexpr int dump_attempts = 5;

NetlinkError error_of(int number, bool from_kernel)
{
    return {number, std::strerror(number), from_kernel};
}

// The text that the kernel attaches to an error (NETLINK_EXT_ACK); empty where there is none.
std::string extended_message(const nlmsghdr& header)
{
    const auto* error = static_cast<const nlmsgerr*>(mnl_nlmsg_get_payload(&header));
    if ((header.nlmsg_flags & NLM_F_ACK_TLVS) == 0)
        return {};
    std::size_t offset = sizeof(nlmsgerr);
    if ((header.nlmsg_flags & NLM_F_CAPPED) == 0)
        offset += mnl_nlmsg_get_payload_len(&error->msg);
    std::string text;
    if (MNL_NLMSG_HDRLEN + offset > header.nlmsg_len)
        return {};
    const auto* at = static_cast<const char*>(mnl_nlmsg_get_payload(&header)) + MNL_ALIGN(offset);
    mnl_attr_parse_payload(
        at, header.nlmsg_len - MNL_NLMSG_HDRLEN - MNL_ALIGN(offset),
        [](const nlattr* attribute, void* out) {
            if (mnl_attr_get_type(attribute) == NLMSGERR_ATTR_MSG &&
                mnl_attr_validate(attribute, MNL_TYPE_NUL_STRING) == 0)
                *static_cast<std::string*>(out) = mnl_attr_get_str(attribute);
            return MNL_CB_OK;
        },
        &text);
    return text;
}

// The error of an NLMSG_ERROR message; number 0 is the acknowledgement.
NetlinkError error_of(const nlmsghdr& header)
{
    if (header.nlmsg_len < mnl_nlmsg_size(sizeof(nlmsgerr)))
        return error_of(EBADMSG, false);
    const auto* error = static_cast<const nlmsgerr*>(mnl_nlmsg_get_payload(&header));
    if (error->error == 0)
        return {};
    NetlinkError result = error_of(-error->error, true);
    if (std::string text = extended_message(header); !text.empty())
        result.message = std::move(text);
    return result;
}

Error describe(const char* what)
{
    return {std::string("cannot ") + what + " a netlink socket: " + std::strerror(errno), {}};
}

} // namespace

NetlinkSocket::NetlinkSocket(mnl_socket* socket) : socket_(socket), buffer_(buffer_size)
{
}

NetlinkSocket::NetlinkSocket(NetlinkSocket&& other) noexcept
    : socket_(std::exchange(other.socket_, nullptr)), sequence_(other.sequence_), buffer_(std::move(other.buffer_))
{
}

NetlinkSocket& NetlinkSocket::operator=(NetlinkSocket&& other) noexcept
{
    std::swap(socket_, other.socket_);
    std::swap(sequence_, other.sequence_);
    std::swap(buffer_, other.buffer_);
    return *this;
}

NetlinkSocket::~NetlinkSocket()
{
    if (socket_ != nullptr)
        mnl_socket_close(socket_);
}

Result<NetlinkSocket> NetlinkSocket::open(std::span<const unsigned> groups, bool blocking)
{
    mnl_socket* raw = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC | (blocking ? 0 : SOCK_NONBLOCK));
    if (raw == nullptr)
        return fail(describe("open"));
    NetlinkSocket socket(raw);
    if (mnl_socket_bind(raw, 0, MNL_SOCKET_AUTOPID) < 0)
        return fail(describe("bind"));
    int on = 1;
    // Old kernels give their errors without words then.
    (void)mnl_socket_setsockopt(raw, NETLINK_EXT_ACK, &on, sizeof(on));
    const int fd = mnl_socket_get_fd(raw);
    if (blocking && setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &answer_timeout, sizeof(answer_timeout)) != 0)
        return fail(describe("set the timeout of"));
    if (!groups.empty()) {
        // FORCE goes beyond net.core.rmem_max but needs CAP_NET_ADMIN; a smaller buffer only loses events sooner.
        if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &event_buffer_size, sizeof(event_buffer_size)) != 0)
            (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &event_buffer_size, sizeof(event_buffer_size));
    }
    for (unsigned group : groups) {
        int number = static_cast<int>(group);
        if (mnl_socket_setsockopt(raw, NETLINK_ADD_MEMBERSHIP, &number, sizeof(number)) < 0)
            return fail(describe("join the events of"));
    }
    return socket;
}

NetlinkResult<NetlinkSocket::Answer> NetlinkSocket::ask_once(nlmsghdr& request, const OnMessage& on_message)
{
    const unsigned sequence = ++sequence_;
    const unsigned port = mnl_socket_get_portid(socket_);
    const bool dump = (request.nlmsg_flags & NLM_F_DUMP) == NLM_F_DUMP;
    const bool acknowledged = (request.nlmsg_flags & NLM_F_ACK) != 0;
    request.nlmsg_seq = sequence;
    if (mnl_socket_sendto(socket_, &request, request.nlmsg_len) < 0)
        return tl::unexpected(error_of(errno, false));
    bool interrupted = false;
    for (;;) {
        ssize_t size = mnl_socket_recvfrom(socket_, buffer_.data(), buffer_.size());
        if (size < 0 && errno == EINTR)
            continue;
        if (size < 0)
            return tl::unexpected(error_of(errno == EAGAIN ? ETIMEDOUT : errno, false));
        int left = static_cast<int>(size);
        for (auto* header = reinterpret_cast<const nlmsghdr*>(buffer_.data()); mnl_nlmsg_ok(header, left);
             header = mnl_nlmsg_next(header, &left)) {
            // A late answer to a request that was given up.
            if (header->nlmsg_seq != sequence || header->nlmsg_pid != port)
                continue;
            interrupted |= (header->nlmsg_flags & NLM_F_DUMP_INTR) != 0;
            if (header->nlmsg_type == NLMSG_ERROR) {
                NetlinkError error = error_of(*header);
                if (error.number != 0)
                    return tl::unexpected(std::move(error));
                return Answer::complete;
            }
            if (header->nlmsg_type == NLMSG_DONE)
                return interrupted ? Answer::interrupted : Answer::complete;
            if (header->nlmsg_type < NLMSG_MIN_TYPE)
                continue;
            on_message(*header);
            if (!dump && !acknowledged)
                return Answer::complete;
        }
    }
}

NetlinkResult<void> NetlinkSocket::ask(
    nlmsghdr& request, const OnMessage& on_message, const std::function<void()>& on_restart)
{
    for (int attempt = 1;; ++attempt) {
        auto answer = ask_once(request, on_message);
        if (!answer)
            return tl::unexpected(answer.error());
        // A table that never stands still is taken as it came; the event that it changed is on its way.
        if (*answer == Answer::complete || attempt == dump_attempts)
            return {};
        if (on_restart)
            on_restart();
    }
}

bool NetlinkSocket::read_events(const OnMessage& on_message)
{
    bool all = true;
    for (;;) {
        const ssize_t size = mnl_socket_recvfrom(socket_, buffer_.data(), buffer_.size());
        if (size < 0 && errno == EINTR)
            continue;
        if (size < 0 && errno == EAGAIN)
            return all;
        if (size < 0) {
            all = false;
            // Lost messages leave the socket usable, anything else does not.
            if (errno == ENOBUFS || errno == ENOSPC)
                continue;
            return all;
        }
        int left = static_cast<int>(size);
        for (auto* header = reinterpret_cast<const nlmsghdr*>(buffer_.data()); mnl_nlmsg_ok(header, left);
             header = mnl_nlmsg_next(header, &left)) {
            if (header->nlmsg_type >= NLMSG_MIN_TYPE)
                on_message(*header);
        }
    }
}

int NetlinkSocket::fd() const
{
    return mnl_socket_get_fd(socket_);
}

} // namespace featherlb
