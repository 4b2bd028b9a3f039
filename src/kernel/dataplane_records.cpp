// SPDX-License-Identifier: Apache-2.0
#include "kernel/dataplane_records.h"

#include <algorithm>
#include <stdexcept>

#include <arpa/inet.h>

#include "kernel/clock.h"

namespace featherlb {

flb_listener_key to_record(const ListenerKey& key)
{
    flb_listener_key record{};
    record.address = key.address.to_abi();
    record.port = htons(key.port);
    record.protocol = static_cast<std::uint8_t>(key.protocol);
    record.family = static_cast<std::uint8_t>(key.address.family());
    return record;
}

ListenerKey from_record(const flb_listener_key& record)
{
    const unsigned family = record.family & ~static_cast<unsigned>(FLB_FAMILY_ADDRESS);
    return {.address = IpAddress::from_abi(record.address, static_cast<Family>(family)),
        .port = ntohs(record.port),
        .protocol = static_cast<Protocol>(record.protocol)};
}

flb_listener_key to_own_address(const ListenerKey& key)
{
    flb_listener_key record = to_record(key);
    record.family |= FLB_FAMILY_ADDRESS;
    return record;
}

bool is_own_address(const flb_listener_key& record)
{
    return record.family & FLB_FAMILY_ADDRESS;
}

flb_prefix_key to_record(ServiceId service, const NetworkPrefix& network)
{
    flb_prefix_key record{};
    record.bits = 32u + network.bits;
    record.service = service;
    record.address = network.address.to_abi();
    return record;
}

NetworkPrefix from_record(const flb_prefix_key& record, Family family)
{
    return {IpAddress::from_abi(record.address, family), static_cast<std::uint8_t>(record.bits - 32)};
}

flb_source to_record(const SourceRow& row)
{
    flb_source record{};
    record.address = row.service.address.to_abi();
    record.port = htons(row.service.port);
    record.backend = row.backend;
    return record;
}

SourceRow from_record(const flb_source& record, Family family)
{
    return {.service = {.address = IpAddress::from_abi(record.address, family), .port = ntohs(record.port)},
        .backend = record.backend};
}

flb_service to_record(const ServiceRow& row, const flb_settings& settings)
{
    flb_service record{};
    record.flags = FLB_SERVICE_VALID | (row.refuse ? FLB_SERVICE_REFUSE : 0u) |
                   (row.syn_failover ? FLB_SERVICE_SYN_FAILOVER : 0u) | (row.lists ? FLB_SERVICE_LISTS : 0u) |
                   (row.measure == Measure::first_byte ? FLB_SERVICE_MEASURE_FIRST_BYTE : 0u) |
                   (row.measure == Measure::handshake ? FLB_SERVICE_MEASURE_HANDSHAKE : 0u);
    if (row.avoid_refused > std::chrono::seconds{0})
        record.refused_ticks = to_ticks(row.avoid_refused, settings.hz, settings.tick_shift);
    if (row.affinity > std::chrono::seconds{0})
        record.affinity_ticks = to_ticks(row.affinity, settings.hz, settings.tick_shift);
    record.family = static_cast<std::uint8_t>(row.family);
    record.forward = static_cast<std::uint8_t>(row.forward);
    record.pick = static_cast<std::uint8_t>(row.pick);
    record.pick_seed = row.pick_seed;
    record.affinity_prefix = row.affinity_prefix;
    record.source_rate = row.limits.new_a_minute;
    record.source_burst = row.limits.burst;
    record.source_connections = row.limits.connections;
    return record;
}

ServiceRow from_record(const flb_service& record, const flb_name& name, const flb_settings& settings)
{
    return {.name = std::string(name.text, ::strnlen(name.text, sizeof(name.text))),
        .family = static_cast<Family>(record.family),
        .forward = static_cast<Forward>(record.forward),
        .pick = static_cast<flb_pick>(record.pick),
        .measure = record.flags & FLB_SERVICE_MEASURE_FIRST_BYTE  ? Measure::first_byte
                   : record.flags & FLB_SERVICE_MEASURE_HANDSHAKE ? Measure::handshake
                                                                  : Measure::none,
        .pick_seed = record.pick_seed,
        .affinity = from_ticks(record.affinity_ticks, settings.hz, settings.tick_shift),
        .affinity_prefix = record.affinity_prefix,
        .limits = {.new_a_minute = record.source_rate,
            .burst = record.source_burst,
            .connections = record.source_connections},
        .lists = (record.flags & FLB_SERVICE_LISTS) != 0,
        .slots = {},
        .refuse = (record.flags & FLB_SERVICE_REFUSE) != 0,
        .syn_failover = (record.flags & FLB_SERVICE_SYN_FAILOVER) != 0,
        .avoid_refused = from_ticks(record.refused_ticks, settings.hz, settings.tick_shift)};
}

flb_backend to_record(const BackendRow& row, std::uint32_t snat_first)
{
    flb_backend record{};
    record.address = row.endpoint.address.to_abi();
    record.hop = row.hop;
    record.port = htons(row.endpoint.port);
    record.mtu = row.mtu;
    record.flags = FLB_BACKEND_VALID | (row.up ? FLB_BACKEND_UP : 0u) | (row.draining ? FLB_BACKEND_DRAINING : 0u) |
                   (row.endpoint.address.is_ipv4() ? 0u : FLB_BACKEND_IPV6) | (row.down ? FLB_BACKEND_DOWN : 0u) |
                   (row.reset ? FLB_BACKEND_RESET : 0u) | (row.rehash_tcp ? FLB_BACKEND_REHASH_TCP : 0u) |
                   (row.rehash_udp ? FLB_BACKEND_REHASH_UDP : 0u) | (row.any_side ? FLB_BACKEND_ANY_SIDE : 0u) |
                   (row.one_way == Forward::dsr ? FLB_BACKEND_DSR : 0u) |
                   (row.one_way == Forward::ipip ? FLB_BACKEND_IPIP : 0u);
    record.service = row.service;
    record.snat_count = static_cast<std::uint32_t>(row.snat_addresses.size());
    record.snat_first = record.snat_count > 0 ? snat_first : 0;
    return record;
}

BackendRow from_record(const flb_backend& record)
{
    std::optional<Forward> one_way;
    if (record.flags & FLB_BACKEND_ONE_WAY)
        one_way = record.flags & FLB_BACKEND_DSR ? Forward::dsr : Forward::ipip;
    return {.service = record.service,
        .endpoint = {.address = IpAddress::from_abi(record.address, family_of(record.flags)),
            .port = ntohs(record.port)},
        .up = (record.flags & FLB_BACKEND_UP) != 0,
        .draining = (record.flags & FLB_BACKEND_DRAINING) != 0,
        .down = (record.flags & FLB_BACKEND_DOWN) != 0,
        .reset = (record.flags & FLB_BACKEND_RESET) != 0,
        .rehash_tcp = (record.flags & FLB_BACKEND_REHASH_TCP) != 0,
        .rehash_udp = (record.flags & FLB_BACKEND_REHASH_UDP) != 0,
        .any_side = (record.flags & FLB_BACKEND_ANY_SIDE) != 0,
        .one_way = one_way,
        .hop = record.hop,
        .mtu = record.mtu,
        .snat_addresses = {}};
}

void write_name(flb_name& where, const std::string& name)
{
    if (name.size() >= sizeof(where.text))
        throw std::logic_error("the service name is too long: " + name);
    flb_name padded{};
    std::ranges::copy(name, padded.text);
    where = padded;
}

void put_hop(flb_hop& where, const flb_hop& hop)
{
    static_assert(sizeof(where.vlan) == sizeof(std::uint32_t));
    std::uint32_t tags = 0;
    std::uint64_t head = 0;
    std::memcpy(&tags, hop.vlan, sizeof(tags));
    std::memcpy(&head, &hop, sizeof(head));
    publish_word<std::uint32_t>(where.vlan, tags);
    publish_word<std::uint64_t>(&where, head);
}

} // namespace featherlb
