// SPDX-License-Identifier: Apache-2.0
#include "network.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <stdexcept>

#include <sys/socket.h>

namespace featherlb::packet {
namespace {

bool forwarding = true;

} // namespace

const Surroundings& Surroundings::get()
{
    static const Surroundings surroundings;
    return surroundings;
}

// Numbers that no loop over interfaces meets by chance.
Surroundings::Surroundings()
    : clients_{"clients0", 4099, {0x02, 0, 0, 0, 0, 1}}, backends_{"backends0", 4102, {0x02, 0, 0, 0, 0, 2}}
{
}

void Surroundings::set_forwarding(bool on) const
{
    forwarding = on;
}

Inside::Inside() = default;
Inside::~Inside() = default;

void run_command(const std::string& command)
{
    throw std::runtime_error("there is no network here to run this in: " + command);
}

namespace host {

const Interface* interface_at(unsigned index)
{
    const Surroundings& all = Surroundings::get();
    if (index == all.clients().index)
        return &all.clients();
    return index == all.backends().index ? &all.backends() : nullptr;
}

// 10.1.0.1/16 and fd00:1::1/64 are ours on the side of the clients; of its neighbours one is known, :5.
long look_up_route(bpf_fib_lookup& parameters)
{
    constexpr std::uint16_t mtu = 1500;
    constexpr std::array<std::uint8_t, 2> network4 = {10, 1};
    constexpr std::array<std::uint8_t, 8> network6 = {0xfd, 0, 0, 1};
    constexpr std::uint8_t ourselves = 1, neighbour = 5;
    constexpr std::array<std::uint8_t, 6> neighbour_mac = {0x02, 0, 0, 0x01, 0, 0x05};
    const bool v6 = parameters.family == AF_INET6;
    std::array<std::uint8_t, 16> to{};
    const std::size_t size = v6 ? 16 : 4;
    std::memcpy(to.data(), v6 ? static_cast<const void*>(parameters.ipv6_dst) : &parameters.ipv4_dst, size);
    const auto network = v6 ? std::span<const std::uint8_t>(network6) : std::span<const std::uint8_t>(network4);
    if (!interface_at(parameters.ifindex))
        return -ENODEV;
    if (!forwarding)
        return BPF_FIB_LKUP_RET_FWD_DISABLED;
    if (!std::equal(network.begin(), network.end(), to.begin()))
        return BPF_FIB_LKUP_RET_NOT_FWDED;
    const auto rest = std::span(to).subspan(network.size(), size - network.size());
    const bool small = std::all_of(rest.begin(), rest.end() - 1, [](std::uint8_t byte) { return byte == 0; });
    if (small && rest.back() == ourselves)
        return BPF_FIB_LKUP_RET_NOT_FWDED;
    if (parameters.tot_len > mtu) {
        parameters.mtu_result = mtu;
        return BPF_FIB_LKUP_RET_FRAG_NEEDED;
    }
    const Interface& out = Surroundings::get().clients();
    parameters.ifindex = out.index;
    if (!small || rest.back() != neighbour)
        return BPF_FIB_LKUP_RET_NO_NEIGH;
    std::memcpy(parameters.dmac, neighbour_mac.data(), neighbour_mac.size());
    std::memcpy(parameters.smac, out.mac.data(), out.mac.size());
    return BPF_FIB_LKUP_RET_SUCCESS;
}

} // namespace host
} // namespace featherlb::packet
