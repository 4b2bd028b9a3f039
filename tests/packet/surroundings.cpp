// SPDX-License-Identifier: Apache-2.0
#include "surroundings.h"

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <system_error>

#include <fcntl.h>
#include <net/if.h>
#include <sched.h>

#include <fmt/format.h>

namespace featherlb::packet {
namespace {

[[noreturn]] void fail_with_errno(const std::string& what)
{
    throw std::system_error(errno, std::generic_category(), what);
}

int open_namespace()
{
    const int fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        fail_with_errno("/proc/thread-self/ns/net");
    return fd;
}

// A suite that cannot get back would go on in the wrong namespace: that ends the process.
void enter(const Fd& network) noexcept
{
    if (setns(network.get(), CLONE_NEWNET) == 0)
        return;
    std::perror("the packet tests cannot change their network namespace");
    std::abort();
}

Interface interface(const std::string& name, std::uint8_t number)
{
    return {name, if_nametoindex(name.c_str()), {0x02, 0, 0, 0, 0, number}};
}

void make_network()
{
    run_command("ip link set lo up && "
                "ip link add clients0 address 02:00:00:00:00:01 type veth peer name clients1 && "
                "ip link add backends0 address 02:00:00:00:00:02 type veth peer name backends1 && "
                "for i in clients0 clients1 backends0 backends1; do ip link set $i up; done && "
                "ip addr add 10.1.0.1/16 dev clients0 && ip -6 addr add fd00:1::1/64 dev clients0 nodad && "
                "ip neigh add 10.1.0.5 lladdr 02:00:00:01:00:05 dev clients0 nud permanent && "
                "ip -6 neigh add fd00:1::5 lladdr 02:00:00:01:00:05 dev clients0 nud permanent && "
                "echo 1 >/proc/sys/net/ipv4/ip_forward && echo 1 >/proc/sys/net/ipv6/conf/all/forwarding");
}

} // namespace

void run_command(const std::string& command)
{
    FILE* pipe = popen(("exec 2>&1; " + command).c_str(), "re");
    if (!pipe)
        fail_with_errno("cannot run a shell");
    std::string output;
    std::array<char, 512> buffer{};
    while (std::fgets(buffer.data(), buffer.size(), pipe))
        output += buffer.data();
    if (const int status = pclose(pipe); status != 0)
        throw std::runtime_error(fmt::format("{}: status {}: {}", command, status, output));
}

const Surroundings& Surroundings::get()
{
    static const Surroundings surroundings;
    return surroundings;
}

Surroundings::Surroundings() : outside_(open_namespace())
{
    if (unshare(CLONE_NEWNET) != 0)
        fail_with_errno("the packet tests need root: cannot make a network namespace");
    try {
        inside_ = Fd(open_namespace());
        make_network();
        clients_ = interface("clients0", 1);
        backends_ = interface("backends0", 2);
    } catch (...) {
        enter(outside_);
        throw;
    }
    enter(outside_);
}

void Surroundings::set_forwarding(bool on) const
{
    run_command(fmt::format(
        "echo {0} >/proc/sys/net/ipv4/ip_forward && echo {0} >/proc/sys/net/ipv6/conf/all/forwarding", on ? 1 : 0));
}

Inside::Inside()
{
    enter(Surroundings::get().inside());
}

Inside::~Inside()
{
    enter(Surroundings::get().outside());
}

} // namespace featherlb::packet
