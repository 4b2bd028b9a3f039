// SPDX-License-Identifier: Apache-2.0
// The helpers that the packet programs call (there without host_: libbpf has functions of the same names), as Linux
// does them to a packet without a socket. Functions of C, found by the compiled programs when they are loaded. What a
// helper does is described in bpf-helpers(7); what it refuses is here as far as the programs can come across it.
#include <algorithm>
#include <cerrno>
#include <cstring>

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>

#include "network.h"
#include "run.h"

namespace {

using featherlb::packet::host::Map;
using featherlb::packet::host::Run;

Map* map_of(const void* address)
{
    return Run::current().map_at(address);
}

std::uint16_t fold(std::uint64_t sum)
{
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return static_cast<std::uint16_t>(sum);
}

std::uint16_t load16(const std::uint8_t* at)
{
    std::uint16_t value = 0;
    std::memcpy(&value, at, sizeof(value));
    return value;
}

void store16(std::uint8_t* at, std::uint16_t value)
{
    std::memcpy(at, &value, sizeof(value));
}

bool is_tag(std::uint16_t protocol_be)
{
    return protocol_be == htons(ETH_P_8021Q) || protocol_be == htons(ETH_P_8021AD);
}

constexpr std::uint32_t ethernet = sizeof(ethhdr), protocol_at = 2 * ETH_ALEN, tag_bytes = 4;

// Makes the first `bytes` readable.
bool reach(Run& run, std::uint32_t bytes)
{
    if (bytes > run.length)
        return false;
    run.readable = std::max(run.readable, bytes);
    return true;
}

long done(Run& run, bool well)
{
    if (well)
        run.show();
    return well ? 0 : -EINVAL;
}

} // namespace

extern "C" {

// ---- maps

void* host_bpf_map_lookup_elem(void* map, const void* key)
{
    Map* found = map_of(map);
    Run& run = Run::current();
    if (run.fails("lookup", found))
        return nullptr;
    void* value = found->find(key);
    const std::string& name = found->definition().name;
    if (name == "flows4" || name == "flows6") {
        run.flows = value;
        run.flows_are_v6 = name == "flows6";
    }
    return value;
}

long host_bpf_map_update_elem(void* map, const void* key, const void* value, std::uint64_t flags)
{
    Map* found = map_of(map);
    return Run::current().fails("update", found) ? -ENOMEM : found->update(key, value, flags);
}

long host_bpf_map_delete_elem(void* map, const void* key)
{
    Map* found = map_of(map);
    return Run::current().fails("delete", found) ? -ENOENT : found->erase(key);
}

void* host_bpf_ringbuf_reserve(void* map, std::uint64_t size, std::uint64_t)
{
    Map* found = map_of(map);
    return Run::current().fails("reserve", found) ? nullptr : found->reserve(size);
}

void host_bpf_ringbuf_submit(void*, std::uint64_t)
{
}

// ---- time, chance, place

std::uint64_t host_bpf_ktime_get_ns()
{
    return Run::current().chance->nanoseconds;
}

std::uint64_t host_bpf_ktime_get_boot_ns()
{
    return Run::current().chance->nanoseconds;
}

std::uint64_t host_bpf_ktime_get_coarse_ns()
{
    return Run::current().chance->nanoseconds;
}

std::uint64_t host_bpf_jiffies64()
{
    constexpr std::uint64_t nanoseconds_each = 4'000'000;
    return featherlb::packet::host::jiffies_at_start + Run::current().chance->nanoseconds / nanoseconds_each;
}

std::uint32_t host_bpf_get_prandom_u32()
{
    auto& random = Run::current().chance->random;
    return static_cast<std::uint32_t>(random() << 16 ^ random());
}

std::uint32_t host_bpf_get_smp_processor_id()
{
    return Run::current().processor;
}

long host_bpf_loop(std::uint32_t count, void* callback, void* context, std::uint64_t flags)
{
    constexpr std::uint32_t most = 1u << 23;
    auto* each = reinterpret_cast<long (*)(std::uint32_t, void*)>(callback);
    if (flags)
        return -EINVAL;
    if (count > most)
        return -E2BIG;
    for (std::uint32_t i = 0; i < count; i++)
        if (each(i, context))
            return i + 1;
    return count;
}

// ---- where a packet goes

long host_bpf_redirect(std::uint32_t, std::uint64_t)
{
    return Run::current().xdp ? static_cast<long>(XDP_REDIRECT) : static_cast<long>(TC_ACT_REDIRECT);
}

long host_bpf_redirect_peer(std::uint32_t, std::uint64_t)
{
    return static_cast<long>(TC_ACT_REDIRECT);
}

long host_bpf_fib_lookup(void*, struct bpf_fib_lookup* parameters, int, std::uint32_t)
{
    if (Run::current().fails("fib_lookup"))
        return -EINVAL;
    return featherlb::packet::host::look_up_route(*parameters);
}

// ---- XDP

long host_bpf_xdp_adjust_head(xdp_md*, int delta)
{
    Run& run = Run::current();
    if (run.fails("adjust_head") || delta > static_cast<int>(run.length - ethernet) || run.data + delta < run.room)
        return -EINVAL;
    run.data += delta;
    run.length -= static_cast<std::uint32_t>(delta);
    run.readable = run.length;
    run.show();
    return 0;
}

long host_bpf_xdp_adjust_tail(xdp_md*, int delta)
{
    Run& run = Run::current();
    const auto length = static_cast<std::int64_t>(run.length) + delta;
    if (run.fails("adjust_tail") || length < ethernet || run.data + length > run.room + run.headroom + run.largest)
        return -EINVAL;
    if (delta > 0)
        std::memset(run.data + run.length, 0, static_cast<std::size_t>(delta));
    run.length = run.readable = static_cast<std::uint32_t>(length);
    run.show();
    return 0;
}

// ---- TC: bytes

long host_bpf_skb_pull_data(__sk_buff*, std::uint32_t length)
{
    Run& run = Run::current();
    return done(run, !run.fails("pull_data") && reach(run, length ? length : run.readable));
}

long host_bpf_skb_load_bytes(const void*, std::uint32_t offset, void* to, std::uint32_t length)
{
    const Run& run = Run::current();
    if (Run::current().fails("load_bytes") || offset > run.length || length > run.length - offset) {
        std::memset(to, 0, length);
        return -EFAULT;
    }
    std::memcpy(to, run.data + offset, length);
    return 0;
}

long host_bpf_skb_store_bytes(__sk_buff*, std::uint32_t offset, const void* from, std::uint32_t length, std::uint64_t)
{
    Run& run = Run::current();
    if (run.fails("store_bytes") || offset > run.length || length > run.length - offset)
        return -EFAULT;
    std::memcpy(run.data + offset, from, length);
    return done(run, reach(run, offset + length));
}

long host_bpf_l4_csum_replace(
    __sk_buff*, std::uint32_t offset, std::uint64_t from, std::uint64_t to, std::uint64_t flags)
{
    Run& run = Run::current();
    const std::uint64_t size = flags & BPF_F_HDR_FIELD_MASK;
    if (run.fails("l4_csum_replace") || offset & 1 || !reach(run, offset + 2) || (size == 0 && from) ||
        (size != 0 && size != 2 && size != 4))
        return -EINVAL;
    std::uint8_t* at = run.data + offset;
    const std::uint16_t before = load16(at);
    std::uint64_t delta = to;
    if (size == 2)
        delta = std::uint64_t{static_cast<std::uint16_t>(~from)} + (to & 0xffff);
    else if (size == 4)
        delta = std::uint64_t{static_cast<std::uint32_t>(~from)} + (to & 0xffffffff);
    if ((flags & BPF_F_MARK_MANGLED_0) && !(flags & BPF_F_MARK_ENFORCE) && !before)
        return done(run, true);
    if (!run.partial_at)
        store16(
            at, static_cast<std::uint16_t>(~fold(std::uint64_t{static_cast<std::uint16_t>(~before)} + fold(delta))));
    else if (flags & BPF_F_PSEUDO_HDR)
        store16(at, fold(std::uint64_t{before} + fold(delta)));
    if ((flags & BPF_F_MARK_MANGLED_0) && !load16(at))
        store16(at, 0xffff);
    return done(run, true);
}

std::int64_t host_bpf_csum_diff(const std::uint8_t* from, std::uint32_t from_size, const std::uint8_t* to,
    std::uint32_t to_size, std::uint32_t seed)
{
    (void)Run::current().fails("csum_diff"); // it does not
    if (from_size % 4 || to_size % 4)
        return -EINVAL;
    std::uint64_t sum = seed;
    for (std::uint32_t i = 0; i < from_size; i += 2)
        sum += static_cast<std::uint16_t>(~load16(from + i));
    for (std::uint32_t i = 0; i < to_size; i += 2)
        sum += load16(to + i);
    return fold(sum);
}

long host_bpf_l3_csum_replace(
    __sk_buff*, std::uint32_t offset, std::uint64_t from, std::uint64_t to, std::uint64_t flags)
{
    Run& run = Run::current();
    const std::uint64_t size = flags & BPF_F_HDR_FIELD_MASK;
    if (run.fails("l3_csum_replace") || offset & 1 || !reach(run, offset + 2) || (size == 0 && from))
        return -EINVAL;
    std::uint8_t* at = run.data + offset;
    std::uint64_t delta = to;
    if (size == 2)
        delta = std::uint64_t{static_cast<std::uint16_t>(~from)} + (to & 0xffff);
    else if (size == 4)
        delta = std::uint64_t{static_cast<std::uint32_t>(~from)} + (to & 0xffffffff);
    store16(
        at, static_cast<std::uint16_t>(~fold(std::uint64_t{static_cast<std::uint16_t>(~load16(at))} + fold(delta))));
    return done(run, true);
}

// ---- TC: length and layers

long host_bpf_skb_change_tail(__sk_buff* skb, std::uint32_t length, std::uint64_t flags)
{
    Run& run = Run::current();
    if (run.fails("change_tail") || flags || length < ethernet ||
        run.data + length > run.room + run.headroom + run.largest)
        return -EINVAL;
    if (length > run.length)
        std::memset(run.data + run.length, 0, length - run.length);
    else
        skb->gso_size = 0;
    run.length = length;
    run.readable = length; // the kernel makes all of it writable first
    return done(run, true);
}

long host_bpf_skb_adjust_room(__sk_buff* skb, std::int32_t difference, std::uint32_t mode, std::uint64_t flags)
{
    constexpr std::int32_t most = 0xfff;
    constexpr std::uint64_t decap_ipv4 = 1u << 7, decap_ipv6 = 1u << 8; // Linux 6.3
    Run& run = Run::current();
    const bool v6 = skb->protocol == htons(ETH_P_IPV6);
    const std::uint32_t least = v6 ? 40 : 20;
    std::uint32_t at = ethernet;
    if (run.fails("adjust_room") || difference > most || difference < -most)
        return -EFAULT;
    if (!v6 && skb->protocol != htons(ETH_P_IP))
        return -ENOTSUP;
    if (mode == BPF_ADJ_ROOM_NET)
        at += least;
    else if (mode != BPF_ADJ_ROOM_MAC)
        return -ENOTSUP;
    if (difference < 0 && static_cast<std::uint32_t>(-difference) + least > run.length - ethernet)
        return -ENOTSUP;
    if (!run.grow(at, difference))
        return -ENOMEM;
    if (difference > 0)
        std::memset(run.data + at, 0, static_cast<std::size_t>(difference));
    if (flags & (BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 | decap_ipv4))
        skb->protocol = htons(ETH_P_IP);
    else if (flags & (BPF_F_ADJ_ROOM_ENCAP_L3_IPV6 | decap_ipv6))
        skb->protocol = htons(ETH_P_IPV6);
    // Without this flag the segments get smaller, by as much as the packet grew.
    if (skb->gso_size && !(flags & BPF_F_ADJ_ROOM_FIXED_GSO))
        skb->gso_size -= static_cast<std::uint32_t>(difference);
    return done(run, true);
}

// The header is moved, not made: what is new is zero, what is too much has gone from its beginning.
long host_bpf_skb_change_proto(__sk_buff* skb, std::uint16_t protocol, std::uint64_t flags)
{
    Run& run = Run::current();
    const bool to_v6 = protocol == htons(ETH_P_IPV6);
    if (flags || skb->protocol == protocol)
        return -EINVAL;
    if (run.fails("change_proto") || !run.grow(ethernet, to_v6 ? 20 : -20))
        return -ENOMEM;
    if (to_v6)
        std::memset(run.data + ethernet, 0, 20);
    skb->protocol = protocol;
    return done(run, true);
}

// ---- TC: the outer tag is in metadata, an inner one in the packet

long host_bpf_skb_vlan_pop(__sk_buff* skb)
{
    Run& run = Run::current();
    if (run.fails("vlan_pop"))
        return -ENOMEM;
    const auto take = [&] {
        const std::uint16_t tci = ntohs(load16(run.data + ethernet));
        run.grow(protocol_at, -static_cast<std::int32_t>(tag_bytes));
        return tci;
    };
    if (skb->vlan_present)
        skb->vlan_present = skb->vlan_tci = skb->vlan_proto = 0;
    else if (is_tag(load16(run.data + protocol_at)))
        take();
    else
        return done(run, true);
    if (const std::uint16_t next = load16(run.data + protocol_at); is_tag(next)) {
        skb->vlan_tci = take();
        skb->vlan_proto = next;
        skb->vlan_present = 1;
    }
    skb->protocol = load16(run.data + protocol_at);
    return done(run, true);
}

long host_bpf_skb_vlan_push(__sk_buff* skb, std::uint16_t protocol_be, std::uint16_t tci)
{
    Run& run = Run::current();
    if (run.fails("vlan_push"))
        return -ENOMEM;
    if (skb->vlan_present) {
        if (!run.grow(protocol_at, tag_bytes))
            return -ENOMEM;
        store16(run.data + protocol_at, static_cast<std::uint16_t>(skb->vlan_proto));
        store16(run.data + protocol_at + 2, htons(static_cast<std::uint16_t>(skb->vlan_tci)));
    }
    skb->vlan_present = 1;
    skb->vlan_tci = tci;
    skb->vlan_proto = is_tag(protocol_be) ? protocol_be : htons(ETH_P_8021Q);
    skb->protocol = load16(run.data + protocol_at);
    return done(run, true);
}

} // extern "C"
