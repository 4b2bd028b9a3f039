// SPDX-License-Identifier: Apache-2.0
#include "kernel/client_walk.h"

#include <atomic>

#include <arpa/inet.h>
#include <netinet/in.h>

namespace featherlb {

namespace {

std::uint64_t load(__u64& word)
{
    return std::atomic_ref(word).load(std::memory_order_acquire);
}

std::uint32_t state_of(std::uint64_t control)
{
    return static_cast<std::uint32_t>(control >> FLB_CTL_STATE_SHIFT) & 0x7f;
}

// Proven and not over: somebody may sit in a read.
bool may_wait(std::uint32_t state)
{
    return state == FLB_FLOW_ESTABLISHED || state == FLB_FLOW_FIN_CLIENT || state == FLB_FLOW_FIN_BACKEND;
}

bool same_entry(std::uint64_t a, std::uint64_t b)
{
    return a >> FLB_CTL_GENERATION_SHIFT == b >> FLB_CTL_GENERATION_SHIFT;
}

IpAddress address_of(__be32 address)
{
    flb_addr bytes{};
    __builtin_memcpy(bytes.bytes, &address, sizeof(address));
    return IpAddress::from_abi(bytes, Family::ipv4);
}

IpAddress address_of(const flb_addr& address)
{
    return IpAddress::from_abi(address, Family::ipv6);
}

template <typename Set>
void look_at(Set& set, const std::set<BackendId>& backends, std::vector<WaitingClient>& found)
{
    for (auto& entry : set.way) {
        const std::uint64_t before = load(entry.f.ctl);
        if (!may_wait(state_of(before)) || !backends.contains(entry.f.backend) || entry.key.protocol != IPPROTO_TCP)
            continue;
        const WaitingClient client{.client = {address_of(entry.key.saddr), ntohs(entry.key.sport)},
            .service = {address_of(entry.key.daddr), ntohs(entry.key.dport)},
            .hop = entry.f.hop};
        std::atomic_thread_fence(std::memory_order_acquire);
        const std::uint64_t after = load(entry.f.ctl);
        if (same_entry(before, after) && may_wait(state_of(after)))
            found.push_back(client);
    }
}

} // namespace

bool ClientWalk::step(
    std::uint32_t sets, std::size_t most, const std::set<BackendId>& backends, std::vector<WaitingClient>& found)
{
    const std::size_t all = sets4_.size() + sets6_.size();
    for (std::uint32_t i = 0; i < sets && position_ < all && found.size() < most; i++, position_++) {
        if (position_ < sets4_.size())
            look_at(sets4_[position_], backends, found);
        else
            look_at(sets6_[position_ - sets4_.size()], backends, found);
    }
    if (position_ < all)
        return false;
    position_ = 0;
    return true;
}

} // namespace featherlb
